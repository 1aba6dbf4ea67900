"""Products of vectors between their two passes: a word is made once and read with the codes."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.hw.instruction import shape
from setun.hw.seats import number, several, within

BANKS = 2  # a vector's products are written while those of the vector before are read


def longest(config: ChipConfig) -> int:
    """Words of the longest vector that is quantised."""
    return -(-config.max_columns // config.lanes)


def products_layout(config: ChipConfig) -> data.StructLayout:
    """V elements: x, x*outer, x*gain."""
    words = data.ArrayLayout(config.vector.width, config.lanes)
    return data.StructLayout({"own": words, "weighted": words, "gained": words})


def products_shape(config: ChipConfig) -> tuple[int, int]:
    """Words and bits of the memory."""
    depth = several(longest(config), BANKS * config.contexts)
    return depth, products_layout(config).size


class Products(wiring.Component):
    """Two vectors of products a seat: a memory with a write and a read port.

    Members
    -------
    write_enable, write_bank, write_seat, write_word, write_data : In
        Word `write_word` of the vector of seat `write_seat`, `products_layout`.
    read_bank, read_seat, read_word : In, read_data : Out
        A word written in a cycle before; data two cycles later.

    One word each way per cycle. `products_shape` tells the memory's size.
    """

    latency = 2

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        place = {"bank": 1, "seat": number(config.contexts), "word": shape(config, "n")}
        super().__init__(
            {
                "write_enable": In(1),
                **{f"write_{name}": In(shape) for name, shape in place.items()},
                "write_data": In(products_layout(config)),
                **{f"read_{name}": In(shape) for name, shape in place.items()},
                "read_data": Out(products_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth, width = products_shape(self.config)
        m.submodules.memory = mem = memory.Memory(shape=width, depth=depth, init=[])
        write, read = mem.write_port(), mem.read_port()
        data_out = Signal(width, reset_less=True)  # block RAM is slow to answer
        m.d.sync += data_out.eq(read.data)
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self._address(self.write_bank, self.write_seat, self.write_word)),
            write.data.eq(self.write_data),
            read.addr.eq(self._address(self.read_bank, self.read_seat, self.read_word)),
            self.read_data.eq(data_out),
        ]
        return m

    def _address(self, bank: Value, seat: Value, word: Value) -> Value:
        contexts = self.config.contexts
        piece = bank if contexts == 1 else Cat(seat, bank)
        return within(word, longest(self.config), piece, BANKS * contexts)
