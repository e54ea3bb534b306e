"""What happened: spans and log lines, received, stored and asked for. It knows names, never the chain document."""
