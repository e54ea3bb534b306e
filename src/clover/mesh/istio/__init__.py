"""Istio's resources: read, checked, rendered, and made from a chain. What they do to a proxy is `translate`'s."""
