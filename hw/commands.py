"""Commands from the sequencer to the units, one layout each; addresses in memory words."""

from amaranth.hdl import Shape, unsigned
from amaranth.lib import data

from setun.firmware.config import ChipConfig
from setun.hw.seats import number


def embed_command(config: ChipConfig) -> data.StructLayout:
    """EMBED for one seat: first constant word of the row, its vector words, where they go."""
    return data.StructLayout(
        {"first": 24, "words": 16, "destination": 16, "seat": number(config.contexts)}
    )


def quantise_command(config: ChipConfig) -> data.StructLayout:
    """QUANTISE of `n` elements."""
    return data.StructLayout(
        {
            "n": unsigned(16),
            "source": unsigned(16),
            "constants": unsigned(24),
            "mean_square": unsigned(2),
            "stream": unsigned(1),
            "inverse_n": unsigned(config.vector.width),
        }
    )


def array_command() -> data.StructLayout:
    """MATVEC as the array sees it: number of the last row group; the slot is kept for the next."""
    return data.StructLayout({"last": unsigned(16), "keep": unsigned(1)})


def weights_command() -> Shape:
    """MATVEC as the reader of weight memory sees it: its words, at least 1."""
    return unsigned(24)


def sink_command(config: ChipConfig) -> data.StructLayout:
    """MATVEC as the sink sees it."""
    return data.StructLayout(
        {
            "rows": unsigned(16),
            "kernel": unsigned(3),
            "keep": unsigned(1),
            "feeds": unsigned(1),
            "stat_shift": unsigned(5),
            "source": unsigned(16),
            "destination": unsigned(16),
            "scale": unsigned(config.vector.width),
        }
    )
