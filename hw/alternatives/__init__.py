"""Structures that were measured and not chosen."""
