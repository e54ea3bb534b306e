"""The author's own program as a server."""
