"""TLS of the Gateway API's Gateways: each rule here is a question, its docstring the answer that is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from clover.mesh.istio import attachments
from clover.mesh.istio.finding import Finding, Path, cut, nearest
from clover.mesh.istio.kinds.gateway_api import Reference
from clover.mesh.istio.kinds.kubernetes_gateway import (
    CIPHER_SUITES,
    TERMINATE_MODE,
    TERMINATE_MODES,
    FrontendValidation,
    Listener,
)
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.resources import KubernetesGateway
from clover.mesh.istio.tls_checks import CIPHERS

_FOLDERS = "each is a folder in 'credentials' beside the chain file"


def tls_fits_the_protocol(resource: KubernetesGateway, mesh: Mesh) -> Iterator[Finding]:
    """HTTPS ends TLS with a certificate; other protocols have none."""
    for index, listener in enumerate(_listeners(resource)):
        path: Path = ("spec", "listeners", index)
        if listener.protocol == "HTTPS":
            yield from _https(listener, path)
        elif listener.protocol == "HTTP" and listener.tls is not None:
            what = "the protocol HTTP is plain text"
            yield Finding(code="CLV4236", path=(*path, "tls"), what=what, hint="say 'protocol: HTTPS'")


def certificates_may_be_used(resource: KubernetesGateway, mesh: Mesh) -> Iterator[Finding]:
    """A listener shows one certificate, which the Gateway may refer to."""
    for index, listener in enumerate(_listeners(resource)):
        references = listener.tls.certificate_refs if listener.tls else ()
        path: Path = ("spec", "listeners", index, "tls", "certificateRefs")
        yield from _references(references, ("Secret",), path, resource, mesh)
        for number, reference in enumerate(references):
            if reference.name.endswith("-cacert"):
                what = f"{cut(reference.name)!r} is Istio's name for the authorities of another Secret"
                hint = "call the folder something that does not end in '-cacert'"
                yield Finding(code="CLV4233", path=(*path, number, "name"), what=what, hint=hint)


def options_are_istios(resource: KubernetesGateway, mesh: Mesh) -> Iterator[Finding]:
    """Options are those that Istio has, with values that it knows."""
    for index, listener in enumerate(_listeners(resource)):
        for name, value in listener.tls.options.items() if listener.tls else ():
            path: Path = ("spec", "listeners", index, "tls", "options", name)
            if name == TERMINATE_MODE:
                if value not in TERMINATE_MODES:
                    what = f"the mode {cut(value)!r} is not supported by Clover"
                    hint = f"one of {', '.join(TERMINATE_MODES)}"
                    yield Finding(code="CLV4103", path=path, what=what, hint=hint)
            elif name == CIPHER_SUITES:
                for cipher in filter(None, map(str.strip, value.split(","))):
                    if cipher not in CIPHERS:
                        what = f"{cut(cipher)!r} is no cipher suite that Envoy knows"
                        yield Finding(code="CLV4237", path=path, what=what, hint=nearest(cipher, CIPHERS))
            else:
                what = f"the option {cut(name)!r} is not supported by Clover"
                hint = f"options are {TERMINATE_MODE!r} and {CIPHER_SUITES!r}"
                yield Finding(code="CLV4103", path=path, what=what, hint=hint)


def clients_are_asked_for_certificates(resource: KubernetesGateway, mesh: Mesh) -> Iterator[Finding]:
    """Certificates of clients are judged by one set of authorities, at ports that end TLS."""
    frontend = resource.spec.tls.frontend if resource.spec.tls and attachments.is_ours(resource) else None
    if frontend is None:
        return
    path: Path = ("spec", "tls", "frontend")
    yield from _validation(frontend.default.validation, (*path, "default", "validation"), resource, mesh)
    ports = {listener.port for listener in resource.spec.listeners if listener.protocol == "HTTPS"}
    for index, own in enumerate(frontend.per_port):
        here: Path = (*path, "perPort", index)
        yield from _validation(own.tls.validation, (*here, "tls", "validation"), resource, mesh)
        if own.port not in ports:
            what = f"no listener speaks HTTPS at port {own.port}"
            yield Finding(code="CLV4220", path=(*here, "port"), what=what, severity="warning")


def _listeners(resource: KubernetesGateway) -> Sequence[Listener]:
    return resource.spec.listeners if attachments.is_ours(resource) else ()


def _https(listener: Listener, path: Path) -> Iterator[Finding]:
    if listener.tls is None:
        hint = "for example 'tls: {certificateRefs: [{name: NAME}]}', NAME being a folder of credentials"
        yield Finding(code="CLV4236", path=path, what="HTTPS without 'tls'", hint=hint)
    elif listener.tls.mode != "Terminate":
        what = f"HTTPS is ended here, and the mode is {listener.tls.mode!r}, expected 'Terminate'"
        hint = "to carry TLS as it comes, write Istio's Gateway with the mode 'PASSTHROUGH'"
        yield Finding(code="CLV4236", path=(*path, "tls", "mode"), what=what, hint=hint)
    elif not listener.tls.certificate_refs and listener.tls.options.get(TERMINATE_MODE) != "ISTIO_MUTUAL":
        what = "'certificateRefs' is empty, so there is no certificate to show"
        hint = "for example '[{name: NAME}]', NAME being a folder in 'credentials' beside the chain file"
        yield Finding(code="CLV4233", path=(*path, "tls"), what=what, hint=hint)


def _validation(
    wanted: FrontendValidation | None, path: Path, resource: KubernetesGateway, mesh: Mesh
) -> Iterator[Finding]:
    if wanted is None:
        return
    kinds = ("ConfigMap", "Secret")
    yield from _references(wanted.ca_certificate_refs, kinds, (*path, "caCertificateRefs"), resource, mesh)
    if wanted.mode != "AllowValidOnly":
        what = f"{wanted.mode!r} is not supported by Clover: functions would be told of certificates that nobody judged"
        hint = f"the listener's option '{TERMINATE_MODE}: OPTIONAL_MUTUAL' lets clients do without one"
        yield Finding(code="CLV4103", path=(*path, "mode"), what=what, hint=hint)


def _references(
    references: Sequence[Reference], kinds: tuple[str, ...], path: Path, resource: KubernetesGateway, mesh: Mesh
) -> Iterator[Finding]:
    if len(references) > 1:
        what = f"{len(references)} references are not supported by Clover, expected one"
        yield Finding(code="CLV4103", path=path, what=what)
    for index, reference in enumerate(references):
        namespace = resource.metadata.namespace
        if reference.group or reference.kind not in kinds:
            what = (
                f"certificates from a {cut(reference.kind)!r} of the group {cut(reference.group)!r} are not supported"
            )
            hint = f"kinds are {' and '.join(map(repr, kinds))} of the group ''; {_FOLDERS}"
            yield Finding(code="CLV4103", path=(*path, index, "kind"), what=f"{what} by Clover", hint=hint)
        elif not attachments.is_granted(reference, resource, mesh.policies):
            yield Finding(
                code="CLV4358",
                path=(*path, index, "namespace"),
                what=f"Gateways of the namespace {namespace!r} may not refer to {reference.kind}s of "
                f"{reference.namespace!r}",
                hint=f"write a ReferenceGrant in {reference.namespace!r}: from Gateways of {namespace!r} to "
                f"{reference.kind}",
            )


RULES = (
    tls_fits_the_protocol,
    certificates_may_be_used,
    options_are_istios,
    clients_are_asked_for_certificates,
)
