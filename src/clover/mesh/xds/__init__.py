"""Envoy configuration, compiled from the intermediate form: one proxy's values in, named protobuf resources out.

`compile` is the entrance; `listeners`, `routes` and `clusters` each know one kind of resource, `http` what all HTTP
listeners share, `telemetry` what they report. `bootstrap` is what a proxy is started with. Nothing here does I/O or
knows Istio; the shapes and names of the resources are Istio's nevertheless, so that what is known about one is known
about the other.
"""
