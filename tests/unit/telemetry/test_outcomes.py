"""What a proxy did itself is told in words; what a function answered is left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.telemetry.query.outcomes import remarks, why

SERVER = "outbound|9180||server.default.svc.cluster.local"
CASES = {
    "a function's own 503": ({"status": "503", "flags": "-", "details": "via_upstream"}, ""),
    "a policy that denies": (
        {"details": "rbac_access_denied_matched_policy[ns[default]-policy[no-admin]-rule[0]]", "flags": "-"},
        "denied by AuthorizationPolicy default/no-admin (rule 1)",
    ),
    "policies that do not allow": (
        {"details": "rbac_access_denied_matched_policy[none]"},
        "denied: no AuthorizationPolicy of the workload allows it",
    ),
    "policies that do not allow, by name": (
        {"details": "rbac_access_denied_matched_policy[none]", "allow_policies": "default/a, default/b"},
        "denied: no AuthorizationPolicy of the workload allows it (ALLOW policies: default/a, default/b)",
    ),
    "policies that do not allow it to a caller": (
        {
            "details": "rbac_access_denied_matched_policy[none]",
            "allow_policies": "default/a",
            "direction": "inbound",
            "peer": "spiffe://cluster.local/ns/default/sa/ids",
        },
        "denied: no AuthorizationPolicy of the workload allows it to cluster.local/ns/default/sa/ids "
        "(ALLOW policies: default/a)",
    ),
    "policies that do not allow it to a caller in plaintext": (
        {"terminal": "rbac_access_denied_matched_policy[none]", "direction": "inbound", "peer": "-"},
        "denied: no AuthorizationPolicy of the workload allows it to a caller without an identity (plaintext)",
    ),
    "nobody answers outside": (
        {
            "flags": "UC",
            "direction": "outbound",
            "upstream_cluster": "outbound|80||api.example",
            "upstream_host": "/run/clover/sdc/out/192.0.2.1_80",
        },
        "api.example:80 cannot be reached from this machine, or closed the connection without an answer",
    ),
    "a server name that no gateway has": (
        {"flags": "NR", "details": "-", "downstream_failure": "-", "direction": "gateway"},
        "no filter chain takes it: plaintext where TLS is taken, or a server name that no Gateway has there",
    ),
    "an authorizer that cannot be asked": (
        {
            "details": "rbac_access_denied_matched_policy[istio-ext-authz-default-ns[foo]-policy[x]-rule[0]"
            "-deny-due-to-bad-CUSTOM-action]"
        },
        "denied by AuthorizationPolicy foo/x (rule 1), whose authorizer cannot be asked",
    ),
    "an authorizer that says no": (
        {
            "details": "ext_authz_denied",
            "flags": "UAEX",
            "asked_for": "istio-ext-authz-mine-ns[default]-policy[ask]-rule[1]",
        },
        "denied by the external authorizer, asked for AuthorizationPolicy default/ask (rule 2)",
    ),
    "an authorizer that says nothing": (
        {"details": "ext_authz_error", "flags": "UAEX"},
        "the external authorizer did not answer",
    ),
    "a policy that closes a connection": (
        {"terminal": "rbac_access_denied_matched_policy[ns[a]-policy[b]-rule[2]]"},
        "denied by AuthorizationPolicy a/b (rule 3)",
    ),
    "a token": (
        {"details": "jwt_authn_access_denied{Jwt_is_expired}"},
        "the token is refused: Jwt is expired",
    ),
    "no route": (
        {"flags": "NR", "details": "route_not_found", "method": "GET", "host": "shop.example"},
        "no route for host 'shop.example' and this path",
    ),
    "plaintext to strict": (
        {"flags": "NR", "details": "filter_chain_not_found", "downstream_failure": "TLS_error:HTTP_REQUEST"},
        "no filter chain takes it: plaintext where only mutual TLS is taken, or an unknown server name",
    ),
    "plaintext where it is taken": (
        {"flags": "-", "details": "-", "filter_chain": "0.0.0.0_9180-http", "downstream_failure": "TLS_error|error:1"},
        "",
    ),
    "a client without a certificate": (
        {"flags": "-", "details": "-", "downstream_failure": "TLS_error:|PEER_DID_NOT_RETURN_A_CERTIFICATE"},
        "TLS with the client failed: no certificate was shown, and one is wanted",
    ),
    "no cluster": (
        {"flags": "NC", "upstream_cluster": SERVER},
        "the route leads to server.default:9180, which this proxy does not know",
    ),
    "no endpoint": (
        {"flags": "UH", "upstream_cluster": SERVER},
        "server.default:9180 has no workload that takes traffic",
    ),
    "a black hole": (
        {"flags": "UH", "upstream_cluster": "BlackHoleCluster", "downstream_local": "1.2.3.4:25"},
        "1.2.3.4:25 is no service of the mesh (REGISTRY_ONLY)",
    ),
    "a wrong certificate": (
        {"flags": "URX,UF", "upstream_cluster": SERVER, "upstream_failure": "TLS_error:|CERTIFICATE_VERIFY_FAILED:x"},
        "the certificate of server.default:9180 is not the one expected (x)",
    ),
    "a certificate of nobody who is known": (
        {
            "flags": "UF",
            "upstream_cluster": SERVER,
            "upstream_failure": "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:"
            "verify_cert_failed:_unable_to_get_local_issuer_certificate:TLS_error_end",
        },
        "the certificate of server.default:9180 is not the one expected "
        "(verify cert failed: unable to get local issuer certificate)",
    ),
    "an alert of the client": (
        {
            "flags": "-",
            "details": "-",
            "downstream_failure": "TLS_error:|268436502:SSL_routines:OPENSSL_internal:SSLV3_ALERT_CERTIFICATE_UNKNOWN:"
            "TLS_error_end",
        },
        "TLS with the client failed: the other side does not accept the certificate that it was shown",
    ),
    "an alert of the server": (
        {
            "flags": "UF",
            "upstream_cluster": SERVER,
            "upstream_failure": "TLS_error:|268436526:SSL_routines:OPENSSL_internal:TLSV1_ALERT_PROTOCOL_VERSION:"
            "TLS_error_end",
        },
        "TLS with server.default:9180 failed: both sides have no version of TLS in common",
    ),
    "a failure of TLS that has no words here": (
        {
            "flags": "UF",
            "upstream_cluster": SERVER,
            "upstream_failure": "TLS_error:|268435646:SSL_routines:OPENSSL_internal:DECRYPTION_FAILED_OR_BAD_RECORD_MAC"
            "|268435600:SSL_routines:OPENSSL_internal:BAD_DECRYPT:TLS_error_end",
        },
        "TLS with server.default:9180 failed: DECRYPTION FAILED OR BAD RECORD MAC, BAD DECRYPT",
    ),
    "a failure of TLS without a reason": (
        {"flags": "-", "details": "-", "downstream_failure": "TLS_error:"},
        "TLS with the client failed: no reason is told",
    ),
    "bytes that are no HTTP at a port that is for it": (
        {
            "flags": "UF,URX",
            "filter_chain": "PassthroughFilterChain",
            "upstream_cluster": "PassthroughCluster",
            "downstream_local": "240.9.9.9:9180",
            "upstream_failure": "remote connection failure|delayed_connect_error:_Connection_refused",
        },
        "what came for port 9180 is neither HTTP/1.1 nor HTTP/2 in plain text, nor TLS to a name that a service has "
        "there; so it was passed on to 240.9.9.9:9180 itself, where nobody listens",
    ),
    "bytes that are no HTTP where only services may be called": (
        {
            "flags": "UH",
            "filter_chain": "PassthroughFilterChain",
            "upstream_cluster": "BlackHoleCluster",
            "downstream_local": "240.9.9.9:9180",
        },
        "what came for port 9180 is neither HTTP/1.1 nor HTTP/2 in plain text, nor TLS to a name that a service has "
        "there; nothing else may be sent (REGISTRY_ONLY)",
    ),
    "an address that nobody has": (
        {
            "flags": "UF,URX",
            "filter_chain": "virtualOutbound-catchall-tcp",
            "upstream_cluster": "PassthroughCluster",
            "downstream_local": "192.0.2.1:9180",
            "upstream_failure": "remote connection failure|delayed_connect_error:_Connection_refused",
        },
        "nobody listens at 192.0.2.1:9180",
    ),
    "nobody there": (
        {"flags": "UF", "upstream_cluster": "inbound|9180||", "upstream_failure": "Connection_refused"},
        "nobody listens at the function",
    ),
    "old HTTP": ({"flags": "DPE", "details": "low_version"}, "HTTP/1.0 is not taken here"),
    "a flag of tomorrow": ({"flags": "XYZ"}, "Envoy's flag XYZ"),
}


@pytest.mark.parametrize(("record", "text"), CASES.values(), ids=CASES)
def test_an_outcome_is_told_in_words(record, text):
    assert why(record) == text


@given(
    st.dictionaries(
        st.sampled_from(["flags", "details", "terminal", "upstream_cluster", "host"]),
        st.text() | st.sampled_from(["outbound|1", "UH", "NC,UF"]),
    )
)
def test_no_record_is_too_strange_to_be_read(record):
    assert isinstance(why(record), str)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"dry_run_deny": "-", "dry_run_allow": "allowed", "audited": "false"}, []),
        (
            {"dry_run_deny": "ns[default]-policy[x]-rule[0]"},
            ["would be denied by AuthorizationPolicy default/x (rule 1), which is only tried"],
        ),
        ({"dry_run_allow": "denied"}, ["no ALLOW policy that is only tried would allow it"]),
        ({"audited": "true"}, ["noted by an AUDIT policy"]),
    ],
    ids=str,
)
def test_what_policies_did_beside_is_told_too(record, said):
    assert list(remarks(record)) == said
