"""Store of numbers that come in units of an external memory and are read in words of lanes."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

CONTAINER = 32  # bits of a number in an external memory


class UnitStore(wiring.Component):
    """Block RAM, written by the unit and read by the word.

    Parameters
    ----------
    unit
        Bits of a unit: a power of two from 64 on. A number takes 32 bits of it.
    numbers
        Numbers of a word: a power of two.
    width
        Bits of a number that are kept.
    depth
        Words.

    Members
    -------
    write : In(1), write_address : In, data : In(unit)
        Unit `write_address` is written; numbers lie in order, the first in the lowest bits.
    read_address : In, read_data : Out(numbers * width)
        A word, one cycle after its address; undefined where it is written in that cycle.
    """

    def __init__(self, unit: int, numbers: int, width: int, depth: int) -> None:
        self.numbers, self.width = numbers, width
        self.of_unit = unit // CONTAINER
        self.wide = max(numbers, self.of_unit)  # numbers of a word of the RAM
        self.columns = self.wide // self.of_unit  # units side by side in it
        self.parts = self.wide // numbers  # words side by side in it
        self.rows = -(-depth // self.parts)
        units = self.rows * self.columns
        super().__init__(
            {
                "write": In(1),
                "write_address": In(range(max(units, 2))),
                "data": In(unit),
                "read_address": In(range(max(self.rows * self.parts, 2))),
                "read_data": Out(numbers * width),
            }
        )

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Words and bits of each RAM."""
        return [(self.rows, self.of_unit * self.width)] * self.columns

    def elaborate(self, platform: object) -> Module:
        m = Module()
        column_bits, part_bits = ceil_log2(self.columns), ceil_log2(self.parts)
        kept = Cat(
            self.data[k * CONTAINER : k * CONTAINER + self.width] for k in range(self.of_unit)
        )
        word = Signal(self.wide * self.width)
        for k in range(self.columns):
            # A RAM a column: one of all columns would want an enable for every unit of a word.
            m.submodules[f"column{k}"] = ram = memory.Memory(
                shape=len(kept), depth=self.rows, init=[], attrs={"ram_style": "block"}
            )
            write, read = ram.write_port(), ram.read_port()
            m.d.comb += [
                write.en.eq(self.write & (self.write_address[:column_bits] == k)),
                write.addr.eq(self.write_address >> column_bits),
                write.data.eq(kept),
                read.addr.eq(self.read_address >> part_bits),
                word.word_select(k, len(kept)).eq(read.data),
            ]
        part = Signal(range(max(self.parts, 2)))
        m.d.sync += part.eq(self.read_address[:part_bits])
        m.d.comb += self.read_data.eq(word.word_select(part, self.numbers * self.width))
        return m
