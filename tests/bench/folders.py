"""Folders and files that tests read from."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the project
DATA = ROOT / "tests" / "data"
VECTORS = DATA / "hgrn_bit"  # checkpoints and what upstream's code computes with them
BITNET = DATA / "bitnet"  # the same of transformers
TEXT = DATA / "tinyshakespeare.txt"
DEMO = ROOT / "setun" / "models" / "shakespeare"
SMALL_DEMO = ROOT / "setun" / "models" / "shakespeare-small"
