"""Watchdog: a pass over the program that does not end is given up."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.hw.memory.kinds import memory_gateware

MARGIN = 8
LEAST = 20  # exponent of cycles: 19 ms at 56 MHz
SHARING = 16  # queries of a key
RESTART = 16  # cycles that the units are held in reset


def patience(config: ChipConfig) -> int:
    """Exponent k: a pass takes 2**k cycles at most, or the chip is not well.

    A healthy pass is `MARGIN` times shorter. It reads each weight word once for every seat; while
    a word is there the vector units may have to make the codes of its columns and to store its
    rows, and an instruction takes some latencies, below 256 cycles. Waits for the wire come
    between passes.
    """
    c = config
    word = max(-(-c.weight_bits // c.weight_port), c.columns // c.lanes + c.rows // c.lanes + 8)
    words, instructions = c.weight_words, c.instructions
    if c.streams:  # more than both, and nothing is read for each seat
        words, instructions = 2 * 8 * c.memory_bytes // c.weight_bits, 0
    healthy = c.contexts * words * word + 256 * instructions
    if c.attention:  # a query at a time, several of which share a key
        healthy += SHARING * c.cache_depth * max(1, 8 * c.attention // c.weight_port)
    waits = memory_gateware(c).patience
    return max(LEAST, waits, ceil_log2(MARGIN * healthy))


class Watchdog(wiring.Component):
    """Counts the cycles of a pass.

    Parameters
    ----------
    exponent
        Of the cycles that a pass may take.

    Members
    -------
    busy : In(1)
        A pass is under way.
    broken : In(1)
        Strobe: it cannot end, however long it lasts.
    hung : Out(1)
        High for `RESTART` cycles: it has lasted too long; the units start over.
    """

    busy: In(1)
    broken: In(1)
    hung: Out(1)

    def __init__(self, exponent: int) -> None:
        self.exponent = exponent
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count, busy = Signal(self.exponent + 1), Signal()
        late = count[-1]
        m.d.sync += [busy.eq(self.busy), self.hung.eq(late), count.eq(0)]
        with m.If((busy & ~late) | (late & (count[: ceil_log2(RESTART)] != RESTART - 1))):
            m.d.sync += count.eq(count + 1)
        with m.If(self.broken):
            m.d.sync += count.eq(1 << self.exponent)
        return m
