"""The store: its tables, its engine, and the queues before it."""
