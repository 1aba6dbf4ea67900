"""Words of vectors on their way through the quantiser."""

from amaranth.lib import data

from setun.firmware.config import ChipConfig
from setun.hw.instruction import shape
from setun.hw.seats import number


def coming_layout(config: ChipConfig) -> data.StructLayout:
    """A word of a vector that feeds, one cycle before it is written."""
    return data.StructLayout(
        {
            "valid": 1,
            "word": shape(config, "n"),
            "seat": number(config.contexts),
            "closes": 1,
            "ends": 1,
        }
    )


def item_layout(config: ChipConfig) -> data.StructLayout:
    """A word on its way through the first pass."""
    return data.StructLayout(
        {
            "valid": 1,
            "opens": 1,
            "closes": 1,
            "bank": 1,
            "seat": number(config.contexts),
            "word": shape(config, "n"),
        }
    )
