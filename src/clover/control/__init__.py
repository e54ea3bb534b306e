"""Controlling functions: the ambassador beside each, and the agent that asks them, both over gRPC and the mesh."""
