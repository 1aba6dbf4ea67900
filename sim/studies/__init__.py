"""Measurements of the numerics in NumPy: each module prints a table of docs/numerics.md.

`python -m setun.sim.studies.NAME`: products (L-Mul), sums (chunks), memory (recurrent state),
fidelity (loss of every preset). Seeded: the same figures each time.
"""
