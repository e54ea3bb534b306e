"""Hypothesis strategies for everything about TLS in Istio's documents."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]

_MODES = st.fixed_dictionaries({}, optional={"mode": st.sampled_from(["UNSET", "DISABLE", "PERMISSIVE", "STRICT"])})
_FILES = st.sampled_from(["", "a.crt", "/tmp/b.pem"])
_NAMES = st.lists(
    st.sampled_from(["a.example", "*.example", "10.0.0.1", "::1", "spiffe://cluster.local/ns/a/sa/b", "é", "a b"]),
    max_size=2,
)
_CREDENTIALS = st.sampled_from(["", "shop", "a.b-c"])
_VERSIONS = st.sampled_from(["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"])


def peer_authentications() -> Strategy:
    """Return PeerAuthentications for the mesh, the namespace, or workloads of the sample mesh."""
    labels = st.sampled_from([{"app": "lb"}, {"app": "waf"}, {"version": "v2"}, {}])
    ports = st.dictionaries(st.sampled_from(["9180", "50054", "7000"]), _MODES, max_size=2)
    spec = st.fixed_dictionaries(
        {},
        optional={"selector": st.fixed_dictionaries({"matchLabels": labels}), "mtls": _MODES, "portLevelMtls": ports},
    )

    def document(name: str, namespace: str, found: dict[str, Any]) -> dict[str, Any]:
        if not found.get("selector", {}).get("matchLabels"):
            found = {key: value for key, value in found.items() if key != "portLevelMtls"}
        metadata = {"name": name, "namespace": namespace}
        kind = {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication"}
        return kind | {"metadata": metadata, "spec": found}

    return st.builds(document, st.sampled_from(["default", "one"]), st.sampled_from(["default", "istio-system"]), spec)


def client_tls() -> Strategy:
    """Return the TLS of DestinationRules."""
    return st.fixed_dictionaries(
        {"mode": st.sampled_from(["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"])},
        optional={
            "clientCertificate": _FILES,
            "privateKey": _FILES,
            "caCertificates": _FILES,
            "credentialName": _CREDENTIALS,
            "subjectAltNames": _NAMES,
            "sni": st.sampled_from(["", "api.example", "a b", "é"]),
            "insecureSkipVerify": st.booleans(),
        },
    )


def server_tls() -> Strategy:
    """Return the TLS of Gateways' servers."""
    return st.fixed_dictionaries(
        {"mode": st.sampled_from(["SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", "ISTIO_MUTUAL", "PASSTHROUGH"])},
        optional={
            "serverCertificate": _FILES,
            "privateKey": _FILES,
            "caCertificates": _FILES,
            "credentialName": _CREDENTIALS,
            "subjectAltNames": _NAMES,
            "minProtocolVersion": _VERSIONS,
            "maxProtocolVersion": _VERSIONS,
            "cipherSuites": st.lists(
                st.sampled_from(["AES128-SHA", "ECDHE-RSA-CHACHA20-POLY1305", "RC4-SHA", "ECDHE-ECDSA-AES256-SHA"]),
                max_size=2,
            ),
            "httpsRedirect": st.booleans(),
        },
    )
