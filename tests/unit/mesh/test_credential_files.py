"""Files of certificates that policies name: read, judged and served, or refused in words."""

import os

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from clover.mesh import credentials
from clover.mesh.credential_files import CredentialFiles
from harness.web_certificates import Issuer, Pair

ISSUER = Issuer()
GATEWAY = ("Gateway/default/edge",)
SHOP, SHOP_ROOTS = "kubernetes://shop", "kubernetes://shop-cacert"


def read(folder, *names, **known):
    held, problems = CredentialFiles(folder).secrets(dict.fromkeys(names, GATEWAY), {}, **known)
    return {secret.name: secret for secret in held}, problems


def only_problem(folder, *names):
    held, (problem,) = read(folder, *names)
    assert held == {}
    return problem


@pytest.fixture
def shop(tmp_path):
    return ISSUER.issue("shop.example").write(tmp_path / "credentials/shop", authority=ISSUER.root)


def test_a_folder_of_credentials_becomes_secrets(tmp_path, shop):
    held, problems = read(tmp_path, SHOP, SHOP_ROOTS)

    assert problems == ()
    assert held.keys() == {SHOP, SHOP_ROOTS}
    assert (shop / "tls.crt").read_bytes() in held[SHOP].body
    assert ISSUER.root in held[SHOP_ROOTS].body


def test_files_are_named_one_by_one_too(tmp_path, shop):
    pair = credentials.identity_name(certificate=str(shop / "tls.crt"), key="credentials/shop/tls.key", credential="")
    roots = credentials.roots_name(certificates=str(shop / "ca.crt"), credential="")

    assert read(tmp_path, pair, roots)[0].keys() == {pair, roots}


def test_the_authorities_of_this_machine_can_be_meant():
    name = credentials.roots_name(certificates="", credential="")

    held, problems = read(None, name)
    assert held.keys() == {name} or "cannot be read" in problems[0].what


def test_a_secret_that_comes_from_no_file_is_left_alone():
    assert read(None, "default", "ROOTCA") == ({}, ())


def test_a_file_that_is_not_there_is_named_with_the_resource_that_needs_it(tmp_path):
    problem = only_problem(tmp_path, "file-root:ca.crt")

    assert (problem.code, problem.where) == ("CLV4234", "Gateway/default/edge")
    assert problem.what == f"the file '{tmp_path}/ca.crt' cannot be read: No such file or directory"


def test_a_relative_path_needs_a_folder_to_begin_at():
    assert "is not absolute" in only_problem(None, "file-root:ca.crt").what


@pytest.mark.parametrize(
    ("pair", "fault"),
    [
        (ISSUER.issue("a", days=(-9, -1)), "the certificate expired on"),
        (ISSUER.issue("a", days=(1, 9)), "the certificate is valid only from"),
        (
            Pair(certificate=ISSUER.issue("a").certificate, key=ISSUER.issue("a").key),
            "the private key does not belong to the certificate",
        ),
        (Pair(certificate=b"nonsense", key=ISSUER.issue("a").key), "the certificate is not one in PEM form"),
        (Pair(certificate=ISSUER.issue("a").certificate, key=b"nonsense"), "the private key is not one in PEM form"),
        (Pair(certificate=b"", key=b""), "the private key is not one in PEM form"),
        (ISSUER.issue("a", key=rsa.generate_private_key(65537, 1024)), "the key has 1024 bits"),
        (ISSUER.issue("a", key=ed25519.Ed25519PrivateKey.generate()), "neither an RSA nor an ECDSA key"),
        (ISSUER.issue("a", key=ec.generate_private_key(ec.SECP256K1())), "the key's curve is secp256k1"),
    ],
)
def test_what_envoy_or_a_client_would_refuse_is_refused_first(tmp_path, pair, fault):
    pair.write(tmp_path / "credentials/shop")
    problem = only_problem(tmp_path, SHOP)

    assert problem.code == "CLV4234"
    assert problem.what.startswith("of 'credentials/shop/tls.crt' and 'credentials/shop/tls.key': ")
    assert fault in problem.what


@pytest.mark.parametrize("content", [b"", b"nonsense", ISSUER.issue("a", days=(-9, -1)).certificate])
def test_authorities_that_nobody_can_believe_are_refused(tmp_path, content):
    (tmp_path / "ca.crt").write_bytes(content)

    assert only_problem(tmp_path, "file-root:ca.crt").code == "CLV4234"


def test_no_message_shows_a_key(tmp_path):
    key = ISSUER.issue("a").key
    Pair(certificate=b"x", key=key).write(tmp_path / "credentials/shop")

    assert key.decode()[30:60] not in str(only_problem(tmp_path, SHOP))


def test_a_key_that_others_can_read_is_a_warning(tmp_path, shop):
    (shop / "tls.key").chmod(0o644)
    held, (problem,) = read(tmp_path, SHOP)

    assert held.keys() == {SHOP}
    assert (problem.code, problem.severity) == ("CLV4235", "warning")
    assert problem.hint == f"chmod 600 {shop}/tls.key"


def test_what_is_known_is_not_read_again(tmp_path, shop):
    first, _ = read(tmp_path, SHOP)
    ISSUER.issue("shop.example").write(shop)
    (shop / "ca.crt").unlink()

    assert read(tmp_path, SHOP, SHOP_ROOTS, known=first | {SHOP_ROOTS: first[SHOP]})[1] == ()
    assert read(tmp_path, SHOP, known=first)[0] == first
    assert read(tmp_path, SHOP)[0] != first


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "ca.crt")

    assert "is no file of at most 1 MiB" in only_problem(tmp_path, "file-root:ca.crt").what


def test_a_file_is_read_whole_or_not_at_all(tmp_path):
    (tmp_path / "ca.crt").write_bytes(ISSUER.root + b"#" * (1 << 20))

    assert "is no file of at most 1 MiB" in only_problem(tmp_path, "file-root:ca.crt").what
