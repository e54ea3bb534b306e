"""Questions to the store, and a trace put together from the answers."""
