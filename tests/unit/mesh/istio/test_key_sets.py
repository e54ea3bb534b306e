"""Which keys of a JSON Web Key Set a proxy can use."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.mesh.istio import jwks
from harness.tokens import edwards, elliptic, encoded, key_set, number, signer


def about(*keys):
    return jwks.inspect(key_set(*keys))


def changed(who, **more):
    return {name: value for name, value in (who.jwk | more).items() if value is not None}


def test_public_keys_of_three_kinds_are_usable():
    assert about(signer().jwk, elliptic().jwk, edwards().jwk) == jwks.KeySet(usable=3)


def test_a_key_without_name_and_algorithm_is_usable():
    for who in (signer(), elliptic(), edwards()):
        assert about(changed(who, kid=None, alg=None)).usable == 1


@pytest.mark.parametrize(
    "text", ["", "[]", "7", "{", '{"keys": NaN}', '"keys"', "{'keys': []}", "[" * 100_000, "\ud800", "{}x"]
)
def test_what_is_no_json_object_has_no_keys(text):
    found = jwks.inspect(text)

    assert (found.usable, found.useless) == (0, ("it is not a JSON object",))


@pytest.mark.parametrize("text", ["{}", '{"keys": {}}', '{"keys": null}', '{"key": []}', json.dumps(signer().jwk)])
def test_a_set_has_a_list_of_keys(text):
    assert jwks.inspect(text).useless == ("it has no list 'keys'",)


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("text", "key 0 is not an object"),
        ({}, "key 0 has no 'kty'"),
        (changed(signer(), kty="DSA"), "has the 'kty' 'DSA'"),
        (changed(signer(), alg="HS256"), "key 0 ('one') is an RSA key, and its 'alg' is 'HS256'"),
        (changed(signer(), n=None), "needs 'n' and 'e' in base64url"),
        (changed(signer(), n="a b"), "needs 'n' and 'e' in base64url"),
        (changed(signer(), n=7), "needs 'n' and 'e' in base64url"),
        (changed(signer(), e=number(5)), "has the exponent 5, expected 3 or 65537"),
        (changed(signer(), n=number(2**511 + 1)), "has a modulus of 512 bits"),
        (changed(signer(), n=number(2**2047)), "expected an odd one"),
        (changed(elliptic(), alg="RS256"), "is an elliptic key, and its 'alg' is 'RS256'"),
        (changed(elliptic(), crv="P-384", alg=None), "is no point of the curve 'P-384'"),
        (changed(elliptic(), crv="P-384"), "has the curve 'P-384'"),
        (changed(elliptic(), crv="secp256k1", alg=None), "has the curve 'secp256k1'"),
        (changed(elliptic(), x=encoded(b"1")), "is no point of the curve 'P-256'"),
        (changed(elliptic(), y=None), "needs 'x' and 'y' in base64url"),
        (changed(edwards(), crv="X25519"), "expected the curve 'Ed25519'"),
        (changed(edwards(), x=encoded(b"1")), "needs 32 bytes of 'x'"),
        ({"kty": "oct", "alg": "RS256", "k": "c2VjcmV0"}, "is symmetric, and its 'alg' is 'RS256'"),
        ({"kty": "oct", "k": ""}, "has no 'k' in base64url"),
    ],
)
def test_a_key_that_envoy_leaves_out_is_named_with_what_is_wrong(key, problem):
    found = about(key)

    assert found.usable == 0
    assert problem in found.useless[0]


def test_one_good_key_is_enough():
    found = about({"kty": "odd"}, signer().jwk)

    assert (found.usable, len(found.useless)) == (1, 1)


def test_keys_that_can_sign_are_told():
    found = about(changed(signer(), d="AQAB"), {"kty": "oct", "alg": "HS256", "k": "c2VjcmV0"})

    assert found.usable == 2
    assert found.secrets == (
        "key 0 ('one') has its private part",
        "key 1 is symmetric: it signs tokens as well as it checks them",
    )


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["keys", "kty", "alg", "crv", "n", "e", "x", "y", "k", "kid"]), inner)
    ),
    max_leaves=12,
)


@given(ANYTHING, st.sampled_from(["RSA", "EC", "OKP", "oct"]))
def test_whatever_is_written_is_judged(value, kty):
    jwks.inspect(json.dumps(value))
    jwks.inspect(json.dumps({"keys": [value if not isinstance(value, dict) else value | {"kty": kty}]}))


@given(st.text())
def test_whatever_text_is_judged(text):
    assert jwks.inspect(text).usable == 0
