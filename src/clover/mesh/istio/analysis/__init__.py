"""What only a look at the whole shows: what exists, and resources that contradict each other."""
