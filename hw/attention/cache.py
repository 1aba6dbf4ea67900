"""The cache as the unit of attention meets it, and the one in block RAM."""

from amaranth.hdl import Cat, Module, Mux, Value, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.hw.attention.sizes import CODE_BITS, parts_of, position_shape, word_shape
from setun.hw.pipeline import delayed
from setun.hw.seats import number

LATENCY = 3
"""Cycles from a score's issue to its codes, and from any issue to the exponents."""
WEIGHING = 7
"""Cycles from the issue of a weighted word to its codes, which then meet their term."""


def inner_members(config: ChipConfig) -> dict[str, wiring.Member]:
    """What a cache shows to the unit.

    Members
    -------
    context, own : In
        Of the seat: its context, and its token's position.
    keyed, valued : In(word)
        First words of the heads of keys and values.
    ask : In(1)
        Strobe: scores and then weighted words of these heads will be issued, up to `own`.
    score, weigh : In(1), part, position : In
        Issue: word `part` of the key, of the value at `position`.
    ready : Out(1)
        An issue may be made.
    codes : Out(C codes)
        `LATENCY` cycles behind a score, `WEIGHING` behind a weighted word.
    key_exponent, value_exponent : Out
        `LATENCY` cycles behind.
    store : In(1), stored_word : In, stored_part : In, stored_codes, stored_exponent : In
        Strobe: codes for position `own`, and the exponent of their head.
    values : In(1)
        What is stored are values.
    settled : Out(1)
        What was stored is there.
    """
    word, place = word_shape(config), position_shape(config)
    bits, exponent = CODE_BITS * config.attention, config.vector.exponent
    return {
        "context": In(number(config.contexts)),
        "own": In(place),
        "keyed": In(word),
        "valued": In(word),
        "parts": In(range(parts_of(config) + 1)),
        "ask": In(1),
        "score": In(1),
        "weigh": In(1),
        "part": In(range(parts_of(config) + 1)),
        "position": In(place),
        "ready": Out(1),
        "codes": Out(bits),
        "key_exponent": Out(exponent),
        "value_exponent": Out(exponent),
        "store": In(1),
        "stored_word": In(word),
        "stored_part": In(range(parts_of(config) + 1)),
        "stored_codes": In(bits),
        "stored_exponent": In(exponent),
        "values": In(1),
        "settled": Out(1),
    }


class BlockCache(wiring.Component):
    """A cache in block RAM: a word of C codes and their exponent for each position.

    Members
    -------
    cache_address : Out, cache_data : In
        Read port, a word `LATENCY` cycles later: C codes, behind them their head's exponent field.
    cache_write : Out(1), cache_write_address, cache_word : Out
        Write port.

    The others are `inner_members`. Exponents lie here once more: a score needs its value's.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        address = unsigned(ceil_log2(config.cache_depth))
        word = CODE_BITS * (config.attention + 1)
        self.outer = {
            "cache_address": Out(address),
            "cache_data": In(word),
            "cache_write": Out(1),
            "cache_write_address": Out(address),
            "cache_word": Out(word),
        }
        super().__init__({**inner_members(config), **self.outer})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        behind = WEIGHING - LATENCY
        late_word = delayed(m, self.valued + self.part, behind, "late_word")
        late_position = delayed(m, self.position, behind, "late_position")
        late_context = delayed(m, self.context, behind, "late_context")
        keys = self._place(self.keyed + self.part, self.position, self.context)
        written = self._place(self.stored_word + self.stored_part, self.own, self.context)
        m.submodules.exponents = store = memory.Memory(
            shape=c.vector.exponent, depth=c.cache_depth, init=[]
        )
        write, read = store.write_port(), store.read_port()
        m.d.comb += [
            self.ready.eq(1),
            self.settled.eq(1),
            self.cache_address.eq(
                Mux(self.score, keys, self._place(late_word, late_position, late_context))
            ),
            self.codes.eq(self.cache_data[:-CODE_BITS]),
            self.key_exponent.eq(self.cache_data[-CODE_BITS:]),
            self.cache_write.eq(self.store),
            self.cache_write_address.eq(written),
            self.cache_word.eq(Cat(self.stored_codes, self.stored_exponent)),
            write.en.eq(self.store),
            write.addr.eq(written),
            write.data.eq(self.stored_exponent),
            read.addr.eq(self._place(self.valued, self.position, self.context)),
            self.value_exponent.eq(delayed(m, read.data, LATENCY - 1, "value_read")),
        ]
        return m

    def _place(self, word: Value, position: Value, context: Value) -> Value:
        """Address of a word: those of all positions of all contexts follow each other."""
        c = self.config
        word = word[: word_shape(c).width]
        if c.contexts == 1:
            return Cat(position, word)
        return Cat(position, context[: ceil_log2(c.contexts)], word)
