"""The resources that Clover reads: a module for each kind, or for several that belong together."""
