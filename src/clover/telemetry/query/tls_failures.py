"""Why TLS between a proxy and somebody failed, in words: from the text of BoringSSL that Envoy keeps in its records."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NOT_SHOWN = "no certificate was shown, and one is wanted"
_NOT_ACCEPTED = "the other side does not accept the certificate that it was shown"
_IN_COMMON = "both sides have no {} in common"
_WORDS: Mapping[str, str] = {
    "PEER DID NOT RETURN A CERTIFICATE": _NOT_SHOWN,
    "CERTIFICATE REQUIRED": _NOT_SHOWN,
    "ALERT CERTIFICATE EXPIRED": f"{_NOT_ACCEPTED}: it has expired",
    "ALERT UNKNOWN CA": f"{_NOT_ACCEPTED}: it does not know who signed it",
    "ALERT CERTIFICATE UNKNOWN": _NOT_ACCEPTED,
    "ALERT BAD CERTIFICATE": _NOT_ACCEPTED,
    "ALERT CERTIFICATE REVOKED": f"{_NOT_ACCEPTED}: it is revoked",
    "UNRECOGNIZED NAME": "the other side has no such server name",
    "ALERT HANDSHAKE FAILURE": "the other side refused: it wants a certificate, or other ciphers",
    "NO SHARED CIPHER": _IN_COMMON.format("cipher"),
    "ALERT PROTOCOL VERSION": _IN_COMMON.format("version of TLS"),
    "UNSUPPORTED PROTOCOL": _IN_COMMON.format("version of TLS"),
    "NO APPLICATION PROTOCOL": _IN_COMMON.format("application protocol (ALPN)"),
    "WRONG VERSION NUMBER": "the other side does not speak TLS",
    "HTTP REQUEST": "the other side speaks HTTP in plain text",
}
"""By what BoringSSL says; the first that is found holds. What it calls an alert was said by the other side."""
_AROUND = re.compile(r"TLS error:|:TLS error end|(?:error:)?[0-9a-f]+:SSL routines:OPENSSL internal:")
"""What Envoy and BoringSSL write around the reasons, which stand between bars."""


def in_words(failure: str) -> str:
    """Return what a record says about a failure of TLS, in words; what has none here keeps its own, without numbers."""
    plain = failure.replace("_", " ")
    if found := next((text for said, text in _WORDS.items() if said in plain), ""):
        return found
    reasons = (part.strip(" -:") for part in _AROUND.sub("", plain).split("|"))
    return ", ".join(filter(None, reasons)) or "no reason is told"
