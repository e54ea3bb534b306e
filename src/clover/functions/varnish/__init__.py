"""Varnish as a web cache."""
