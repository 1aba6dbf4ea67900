"""Store of numbers that come in units of an external memory and are read in words of lanes."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

CONTAINER = 32  # bits of a number in an external memory


@dataclass(frozen=True)
class UnitStoreShape:
    """How a store is cut into RAMs; parameters are those of `UnitStore`."""

    unit: int
    numbers: int
    width: int
    depth: int

    @property
    def of_unit(self) -> int:
        """Numbers of a unit."""
        return self.unit // CONTAINER

    @property
    def wide(self) -> int:
        """Numbers of a word of all RAMs together."""
        return max(self.numbers, self.of_unit)

    @property
    def columns(self) -> int:
        """RAMs side by side, a unit wide each."""
        return self.wide // self.of_unit

    @property
    def parts(self) -> int:
        """Words of the store side by side."""
        return self.wide // self.numbers

    @property
    def rows(self) -> int:
        """Words of each RAM."""
        return -(-self.depth // self.parts)

    @property
    def rams(self) -> list[tuple[int, int]]:
        """Words and bits of each RAM."""
        return [(self.rows, self.of_unit * self.width)] * self.columns


class UnitStore(wiring.Component):
    """Block RAM, written by the unit and read by the word.

    Parameters
    ----------
    shape
        Bits of a unit, a power of two from 64 on, of which a number takes 32; numbers of a word, a
        power of two; bits of a number that are kept; words.

    Members
    -------
    write : In(1), write_address : In, data : In(unit)
        Unit `write_address` is written; numbers lie in order, the first in the lowest bits.
    read_address : In, read_data : Out(s.numbers * s.width)
        A word, one cycle after its address; undefined where it is written in that cycle.
    """

    def __init__(self, shape: UnitStoreShape) -> None:
        self.shape = s = shape
        units = s.rows * s.columns
        super().__init__(
            {
                "write": In(1),
                "write_address": In(range(max(units, 2))),
                "data": In(s.unit),
                "read_address": In(range(max(s.rows * s.parts, 2))),
                "read_data": Out(s.numbers * s.width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        s = self.shape
        column_bits, part_bits = ceil_log2(s.columns), ceil_log2(s.parts)
        kept = Cat(self.data[k * CONTAINER : k * CONTAINER + s.width] for k in range(s.of_unit))
        word = Signal(s.wide * s.width)
        for k in range(s.columns):
            # A RAM a column: one of all columns would want an enable for every unit of a word.
            m.submodules[f"column{k}"] = ram = memory.Memory(
                shape=len(kept), depth=s.rows, init=[], attrs={"ram_style": "block"}
            )
            write, read = ram.write_port(), ram.read_port()
            m.d.comb += [
                write.en.eq(self.write & (self.write_address[:column_bits] == k)),
                write.addr.eq(self.write_address >> column_bits),
                write.data.eq(kept),
                read.addr.eq(self.read_address >> part_bits),
                word.word_select(k, len(kept)).eq(read.data),
            ]
        part = Signal(range(max(s.parts, 2)))
        m.d.sync += part.eq(self.read_address[:part_bits])
        m.d.comb += self.read_data.eq(word.word_select(part, s.numbers * s.width))
        return m
