"""What a running chain shows of itself: its status, and the HTTP API that the CLI and scripts use.

It knows nothing of how the answers are found: `app` hands in a `Node` that gives them.
"""
