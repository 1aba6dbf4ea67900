"""Where the codes of keys and values lie: addresses, and exponents beside them."""

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.hw.attention.sizes import position_shape, word_shape
from setun.hw.pipeline import delayed
from setun.hw.seats import number

LATENCY = 3
"""Cycles from an address of the cache to its word, exponents likewise."""


def place(config: ChipConfig, word: Value, context: Value, position: Value) -> Value:
    """Address of a word of a position: those of all positions and contexts follow each other."""
    if config.contexts == 1:
        return Cat(position, word)
    return Cat(position, context[: ceil_log2(config.contexts)], word)


class Exponents(wiring.Component):
    """Exponents of all heads that are cached, once more: a score needs its value's at once.

    Members
    -------
    write, write_address, exponent : In
        Write port.
    word, context, position : In
        Of a head.
    o : Out
        `LATENCY` cycles later.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        bits, address = config.vector.exponent, ceil_log2(config.cache_depth)
        super().__init__(
            {
                "write": In(1),
                "write_address": In(address),
                "exponent": In(bits),
                "word": In(word_shape(config)),
                "context": In(number(config.contexts)),
                "position": In(position_shape(config)),
                "o": Out(bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        m.submodules.exponents = store = memory.Memory(
            shape=c.vector.exponent, depth=c.cache_depth, init=[]
        )
        write, read = store.write_port(), store.read_port()
        m.d.comb += [
            write.en.eq(self.write),
            write.addr.eq(self.write_address),
            write.data.eq(self.exponent),
            read.addr.eq(place(c, self.word, self.context, self.position)),
            self.o.eq(delayed(m, read.data, LATENCY - 1, "read")),
        ]
        return m
