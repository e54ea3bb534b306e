"""Plumbing that knows nothing of chains: documents, files, places, requirements."""
