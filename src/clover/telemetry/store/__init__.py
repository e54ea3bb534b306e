"""The store: its tables, its engine, and the queues before it."""

from clover.telemetry.store.store import RefusedError, Store, open_store

__all__ = ["RefusedError", "Store", "open_store"]
