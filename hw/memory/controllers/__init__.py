"""Controllers of external memories, behind the one interface of `port`."""
