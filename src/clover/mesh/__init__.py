"""The mesh: Istio resources in, Envoy configuration out, served to each proxy over delta xDS.

`istio` (resources) and `ir` (what each proxy should do) know nothing of one another; `translate` goes from the first to
the second, `xds` from the second to Envoy; `snapshot`, `ads` and `server` bring it to the proxies. Nothing here knows
processes or namespaces.
"""
