"""Can this machine run a chain? Checks with evidence; what a running chain does is no question of this package."""
