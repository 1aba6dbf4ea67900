"""Commands from the sequencer to the units, one layout each; addresses in memory words.

Fields that an instruction has are as wide as there; lanes make addresses shorter, never longer.
"""

from amaranth.hdl import Shape, unsigned
from amaranth.lib import data

from setun.firmware.config import ChipConfig
from setun.hw.instruction import shape
from setun.hw.seats import number

CONSTANT_WORDS = unsigned(24)  # an address in constant memory, or among gains or gates
WEIGHT_WORDS = unsigned(24)  # of a matrix


def embed_command(config: ChipConfig) -> data.StructLayout:
    """EMBED for one seat: where the row begins, its vector words, where they go.

    `first` is a constant word, or a beat of an external memory; there the row has `beats`.
    """
    beats = {"beats": unsigned(16)} if config.streams else {}
    return data.StructLayout(
        {
            "first": shape(config, "constants") if config.streams else CONSTANT_WORDS,
            **beats,
            "words": shape(config, "n"),
            "destination": shape(config, "dst"),
            "seat": number(config.contexts),
        }
    )


def quantise_command(config: ChipConfig) -> data.StructLayout:
    """QUANTISE of `n` elements."""
    return data.StructLayout(
        {
            "n": shape(config, "n"),
            "source": shape(config, "src"),
            "constants": CONSTANT_WORDS,
            "mean_square": shape(config, "mean_square"),
            "stream": shape(config, "stream"),
            "inverse_n": unsigned(config.vector.width),
        }
    )


def array_command(config: ChipConfig) -> data.StructLayout:
    """MATVEC as the array sees it: number of the last row group; the slot is kept for the next."""
    planes = {"planes": shape(config, "planes")} if config.five_trits else {}
    return data.StructLayout({"last": shape(config, "n"), **planes, "keep": shape(config, "keep")})


def weights_command() -> Shape:
    """MATVEC as the reader of weight memory sees it: its words, at least 1."""
    return WEIGHT_WORDS


def sink_command(config: ChipConfig) -> data.StructLayout:
    """MATVEC as the sink sees it; gates lie at `gates` if the model is streamed."""
    planes = {"planes": shape(config, "planes")} if config.five_trits else {}
    gates = {"gates": CONSTANT_WORDS} if config.streams else {}
    return data.StructLayout(
        {
            **gates,
            **planes,
            "rows": shape(config, "n"),
            "kernel": shape(config, "kernel"),
            "keep": shape(config, "keep"),
            "feeds": shape(config, "feeds"),
            "stat_shift": shape(config, "stat_shift"),
            "source": shape(config, "src"),
            "destination": shape(config, "dst"),
            "scale": unsigned(config.vector.width),
        }
    )


def attention_command(config: ChipConfig) -> data.StructLayout:
    """An operation on heads of `words` vector words from `source` on, each of which has `head`.

    A head has `parts` words of the cache. `keys` and `values` are the first words of regions of the
    cache, `keys` that which is written, with keys or `of_values`; `constants` is where
    the increments of RoPE lie, or a norm's gains. `group` heads of queries share a head of keys.
    """
    word = number(config.cache_words)
    return data.StructLayout(
        {
            "op": shape(config, "op"),
            "words": shape(config, "n"),
            "source": shape(config, "src"),
            "head": number(config.head_elements + 1),
            "parts": number(config.head_elements + 1),
            "group": shape(config, "group"),
            "of_values": 1,
            "keys": word,
            "values": word,
            "constants": CONSTANT_WORDS,
        }
    )
