"""Pins of boards that amaranth-boards lacks; a TOML file each."""
