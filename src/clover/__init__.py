"""Clover: an HTTP network function chain of stock services in a real service mesh."""
