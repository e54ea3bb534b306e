"""The command line: one module per command, and renderers from values to text. Nothing is decided here."""
