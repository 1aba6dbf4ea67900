"""A model in an external memory: one sequential read a token, handed to the units that want it."""
