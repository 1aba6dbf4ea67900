"""The chips whose units are measured: one thing at a time differs from the first."""

from functools import cache
from typing import Any

from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import sized_for
from setun.firmware.numerics.options import SEGMENTS
from setun.models.load import open_outline

MODEL = "shakespeare"
BASE: dict[str, Any] = {"columns": 16, "rows": 8, "lanes": 4, "terminal": 0}
SDRAM: dict[str, Any] = {"rows": 4, "packing": "1.6b", "memory": "sdram-16"}
SEGMENTED: dict[str, Any] = {"multiplier": "lmul", "segments": SEGMENTS}
# In the order in which they are of use.
DESIGNS: dict[str, dict[str, Any]] = {
    "base": {},
    "contexts": {"contexts": 4},
    "lanes": {"lanes": 2},
    "sdram": SDRAM,
    "sdram, contexts": {**SDRAM, "contexts": 4},
    "columns": {"columns": 32},
    "rows": {"rows": 16},
    "packing": {"packing": "1.6b"},
    "pump": {"pump": 2},
    "more lanes": {"lanes": 8},
    "fewer contexts": {"contexts": 2},
    "lmul": {"multiplier": "lmul"},
    "segments": SEGMENTED,
    "fp8": {"activation": "fp8", "accumulate": 64},
    "stochastic": {"state_rounding": "stochastic"},
    "pump, packing": {"columns": 32, "rows": 16, "pump": 2, "packing": "1.6b"},
    "sdram, lanes": {**SDRAM, "lanes": 2},
    "wide sdram": {**SDRAM, "rows": 8},
    "axi4": {"packing": "1.6b", "memory": "axi4-256"},
    "narrow axi4": {**SDRAM, "memory": "axi4-64"},
    "qspi": {**SDRAM, "memory": "qspi"},
    "five trits": {"five_trits": 1},
    "terminal": {"terminal": 1},
    "terminal, contexts": {"terminal": 1, "contexts": 4},
    "attention": {"attention": 32},
    "attention, lanes": {"attention": 32, "lanes": 8},
    "attention, queries": {"attention": 32, "queries": 4},
    "attention, codes": {"attention": 16},
    "attention, both": {"attention": 16, "queries": 2},
    "attention, contexts": {"attention": 32, "contexts": 4},
    "attention, norms": {"attention": 32, "head_norms": 1},
    "attention, lanes, norms": {"attention": 32, "lanes": 8, "head_norms": 1},
    "attention, segments": {"attention": 32, **SEGMENTED},
    "attention, lanes, segments": {"attention": 32, "lanes": 8, **SEGMENTED},
    "attention, codes, segments": {"attention": 16, **SEGMENTED},
    "attention, norms, segments": {"attention": 16, "head_norms": 1, **SEGMENTED},
    "attention, lmul": {"attention": 16, "multiplier": "lmul"},
    "attention, outside": {**SDRAM, "attention": 32, "outer_cache": 1},
}
# These are measured for one unit only.
ONLY = {
    "pump, packing": "array",
    "sdram, lanes": "outside",
    "wide sdram": "outside",
    "axi4": "outside",
    "narrow axi4": "outside",
    "qspi": "outside",
    **dict.fromkeys((name for name in DESIGNS if "attention" in DESIGNS[name]), "attention"),
}

PRODUCTS = ("multiplier", "segments")
NUMERICS = ("activation", "accumulate", *PRODUCTS, "state_rounding")
SEATS = ("contexts", "memory")
# Options that a unit's cells depend on.
OPTIONS: dict[str, tuple[str, ...]] = {
    "array": (
        "columns",
        "rows",
        "pump",
        "packing",
        *SEATS,
        "activation",
        "accumulate",
        "five_trits",
    ),
    "quantiser": ("columns", "lanes", *SEATS, *NUMERICS),
    "sink": ("rows", "lanes", *SEATS, *NUMERICS, "five_trits"),
    "sampler": ("lanes", "contexts", *PRODUCTS),
    "sequencer": SEATS,
    "fetch": ("memory",),
    "generation": ("contexts",),
    "link": ("contexts", "terminal"),
    "memories": ("columns", "rows", "packing", "lanes", *SEATS, "state_rounding", "terminal"),
    "outside": ("columns", "rows", "packing", "lanes", *SEATS),
    "attention": ("attention", "queries", "outer_cache", "head_norms", "lanes", *SEATS, *PRODUCTS),
}


def design_config(options: dict[str, Any]) -> ChipConfig:
    """The chip of a design, sized for `MODEL`, whose head need not be what the chip can do."""
    asked = ChipConfig.from_dict(ChipConfig(**BASE).to_dict() | options)
    return sized_for(_image(), asked).override(five_trits=asked.five_trits)


@cache
def _image() -> Image:
    return open_outline(MODEL).image
