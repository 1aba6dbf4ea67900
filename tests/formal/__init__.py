"""Proofs: properties stated beside a unit in Amaranth, shown by bounded search and induction."""
