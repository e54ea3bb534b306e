"""Istio's Gateway."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, StrictBool

from clover.mesh.istio.kinds.part import NetworkingResource, NonEmpty, Part, Port


class ServerPort(Part):
    """A port that a gateway opens."""

    unsupported = frozenset({"targetPort"})

    number: Port
    protocol: NonEmpty
    name: NonEmpty


Version = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]


class ServerTLSSettings(Part):
    """What becomes of the TLS of clients."""

    unsupported = frozenset(
        {
            "caCrl",
            "credentialNames",
            "insecureSkipVerify",
            "tlsCertificates",
            "verifyCertificateHash",
            "verifyCertificateSpki",
        }
    )

    https_redirect: StrictBool = False
    """True: a server of plain HTTP sends everybody to HTTPS."""
    mode: Literal["PASSTHROUGH", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL", "AUTO_PASSTHROUGH"] = (
        "PASSTHROUGH"
    )
    server_certificate: str = ""
    """Path of a file, as are the next two."""
    private_key: str = ""
    ca_certificates: str = ""
    credential_name: str = ""
    """Name of a folder with `tls.crt`, `tls.key` and `ca.crt`, in place of the three files."""
    ca_cert_credential_name: str = ""
    """Name of the folder whose `ca.crt` is meant, if it is another one."""
    subject_alt_names: tuple[NonEmpty, ...] = ()
    min_protocol_version: Version = "TLS_AUTO"
    max_protocol_version: Version = "TLS_AUTO"
    cipher_suites: tuple[NonEmpty, ...] = ()


class Server(Part):
    """A port, and the hosts that are served on it."""

    unsupported = frozenset({"defaultEndpoint"})

    port: ServerPort
    hosts: tuple[NonEmpty, ...] = Field(min_length=1)
    name: str = ""
    bind: str = ""
    """Address to listen on; empty: 127.0.0.1."""
    tls: ServerTLSSettings | None = None
    """None: plain text."""

    @property
    def protocol(self) -> str:
        """Return the protocol of the port in capital letters."""
        return self.port.protocol.upper()

    @property
    def plain_http(self) -> bool:
        """Tell whether clients speak HTTP without TLS."""
        return self.protocol in ("HTTP", "HTTP2", "GRPC")

    @property
    def terminates(self) -> bool:
        """Tell whether the gateway ends the clients' TLS."""
        return self.tls is not None and self.protocol in ("HTTPS", "TLS") and "PASSTHROUGH" not in self.tls.mode

    @property
    def names(self) -> tuple[str, ...]:
        """Return its hosts as TLS clients ask for them; empty: any."""
        found = tuple(dict.fromkeys(host.rpartition("/")[2].lower() for host in self.hosts))
        return () if "*" in found else found


class GatewaySpec(Part):
    """Where traffic enters the mesh."""

    selector: dict[str, str] = Field(default_factory=dict)
    servers: tuple[Server, ...] = Field(min_length=1)


class Gateway(NetworkingResource):
    """Istio's Gateway."""

    kind: Literal["Gateway"] = "Gateway"
    spec: GatewaySpec
