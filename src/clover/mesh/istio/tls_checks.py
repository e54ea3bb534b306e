"""Does a policy's TLS have what it needs, and nothing that its mode passes over? For clients and for gateways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clover.mesh.istio.finding import Finding, Path, cut, nearest
from clover.mesh.istio.kinds.destination_rule import ClientTLSSettings
from clover.mesh.istio.kinds.gateway import ServerTLSSettings
from clover.mesh.istio.kinds.part import Part

CIPHERS = (
    "AES128-GCM-SHA256",
    "AES128-SHA",
    "AES256-GCM-SHA384",
    "AES256-SHA",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""Of TLS 1.2 and older, those that Envoy knows; it refuses a listener that names another."""
_VERSIONS = ("TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3")
_OLDEST, _NEWEST = "TLSV1_2", "TLSV1_3"
_FOLDER_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")


def client_findings(tls: ClientTLSSettings, path: Path) -> Iterator[Finding]:
    """Yield what a DestinationRule's TLS lacks, or says in vain."""
    files = ("client_certificate", "private_key", "ca_certificates")
    if tls.mode == "MUTUAL":
        yield from _pair(tls, path, "client_certificate")
    if tls.mode in ("SIMPLE", "MUTUAL"):
        yield from _one_source(tls, path, files)
        if tls.insecure_skip_verify:
            yield from _in_vain(tls, path, ("ca_certificates", "subject_alt_names"), "'insecureSkipVerify' is true")
    else:
        names = (*files, "credential_name", "insecure_skip_verify")
        more = () if tls.mode == "ISTIO_MUTUAL" else ("sni", "subject_alt_names")
        yield from _in_vain(tls, path, (*names, *more), f"the mode is {tls.mode!r}")
    if tls.mode == "SIMPLE":
        yield from _in_vain(tls, path, ("client_certificate", "private_key"), "the mode is 'SIMPLE'")


def server_findings(tls: ServerTLSSettings, path: Path) -> Iterator[Finding]:
    """Yield what the TLS of a Gateway's server lacks, or says in vain."""
    files = ("server_certificate", "private_key", "ca_certificates")
    if tls.mode in ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"):
        yield from _pair(tls, path, "server_certificate")
        yield from _one_source(tls, path, files)
    else:
        unread = (*files, "credential_name", "ca_cert_credential_name")
        yield from _in_vain(tls, path, unread, f"the mode is {tls.mode!r}")
    if tls.mode in ("MUTUAL", "OPTIONAL_MUTUAL") and not (
        tls.ca_certificates or tls.credential_name or tls.ca_cert_credential_name
    ):
        yield Finding(
            code="CLV4233",
            path=path,
            what=f"the mode {tls.mode!r} needs 'caCertificates', the authorities of the clients' certificates",
            hint="without it every authority that this machine believes would do",
        )
    if tls.mode == "SIMPLE":
        names = ("ca_certificates", "ca_cert_credential_name", "subject_alt_names")
        yield from _in_vain(tls, path, names, "clients show no certificate with the mode 'SIMPLE'")
    yield from _versions(tls, path)
    for index, cipher in enumerate(tls.cipher_suites):
        if cipher not in CIPHERS:
            what = f"{cut(cipher)!r} is no cipher suite that Envoy knows"
            hint = nearest(cipher, CIPHERS)
            yield Finding(code="CLV4237", path=(*path, "cipherSuites", index), what=what, hint=hint)


def _versions(tls: ServerTLSSettings, path: Path) -> Iterator[Finding]:
    oldest = tls.min_protocol_version.replace("TLS_AUTO", _OLDEST)
    newest = tls.max_protocol_version.replace("TLS_AUTO", _NEWEST)
    if _VERSIONS.index(oldest) > _VERSIONS.index(newest):
        what = f"no version of TLS is left between {oldest} and {newest}"
        field = "maxProtocolVersion" if tls.max_protocol_version != "TLS_AUTO" else "minProtocolVersion"
        yield Finding(code="CLV4237", path=(*path, field), what=what, hint=f"'TLS_AUTO' is {_OLDEST} to {_NEWEST}")


def _pair(tls: ClientTLSSettings | ServerTLSSettings, path: Path, certificate: str) -> Iterator[Finding]:
    if tls.credential_name:
        return
    missing = [name for name in (certificate, "private_key") if not getattr(tls, name)]
    if missing:
        fields = " and ".join(repr(_alias(tls, name)) for name in missing)
        yield Finding(
            code="CLV4233",
            path=path,
            what=f"the mode {tls.mode!r} needs {fields}",
            hint="or 'credentialName', a folder in 'credentials' beside the chain file with tls.crt and tls.key",
        )


def _one_source(tls: ClientTLSSettings | ServerTLSSettings, path: Path, files: Iterable[str]) -> Iterator[Finding]:
    if tls.credential_name:
        yield from _in_vain(tls, path, files, "'credentialName' is set", severity="error")
    for name in (*files, "credential_name", "ca_cert_credential_name"):
        value = getattr(tls, name, "")
        credential = name.endswith("credential_name")
        bad = "~" in value or (credential and (not set(value) <= _FOLDER_CHARACTERS or value.startswith(".")))
        if bad:
            what = f"{cut(value)!r} is not the name of a {'folder' if credential else 'file'} that can be used"
            hint = "lower-case letters, digits, '-' and '.'" if credential else "a '~' in it separates two files"
            yield Finding(code="CLV4233", path=(*path, _alias(tls, name)), what=what, hint=hint)


def _in_vain(
    tls: Part, path: Path, names: Iterable[str], because: str, *, severity: str = "warning"
) -> Iterator[Finding]:
    for name in names:
        if getattr(tls, name):
            alias = _alias(tls, name)
            what = (
                f"{alias!r} is not looked at: {because}"
                if severity == "warning"
                else f"{alias!r} is set, and {because}"
            )
            code = "CLV4220" if severity == "warning" else "CLV4233"
            yield Finding(code=code, path=(*path, alias), what=what, severity=severity)


def _alias(part: Part, name: str) -> str:
    return type(part).model_fields[name].alias or name
