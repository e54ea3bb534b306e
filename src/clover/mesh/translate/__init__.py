"""From Istio resources and the registry to the intermediate form of each proxy. Nothing here knows Envoy's dialect."""

from clover.mesh.translate.proxies import proxies_from

__all__ = ["proxies_from"]
