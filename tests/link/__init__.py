"""Benches and tests of the link."""
