"""What the author of a chain means: the chain file, its rules and its schema. Nothing here runs anything."""
