"""What a chain is made of: one folder per engine, each a pure function from settings to files and a command."""
