"""Memories of the small core: single-port RAM for the model, block RAM for what changes."""

from collections.abc import Sequence

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from setun.hw.small.addresses import BLOCK
from setun.hw.technology import Technology

WIDTH = 16
BLOCK_BITS = BLOCK.bit_length() - 1  # of an address within a block


class SingleStore(wiring.Component):
    """16-bit words behind one port, in one or several blocks of single-port RAM.

    Parameters
    ----------
    blocks
        Of 16K words.
    technology
        Has `single_port` blocks, which start with anything, or a memory of the same behaviour is
        left to synthesis.

    Members
    -------
    address : In, write : In(1), data : In(16)
    o : Out(16)
        The word of the cycle before's address; of no meaning after a write.
    """

    def __init__(self, blocks: int, technology: Technology, init: Sequence[int] = ()) -> None:
        self.blocks, self.technology, self.init = blocks, technology, init
        self.depth = blocks * BLOCK
        super().__init__(
            {
                "address": In(range(self.depth)),
                "write": In(1),
                "data": In(WIDTH),
                "o": Out(WIDTH),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if not self.technology.single_port_ram:
            ram = memory.Memory(shape=WIDTH, depth=self.depth, init=self.init)
            m.submodules.words = ram
            writer, reader = ram.write_port(), ram.read_port()
            m.d.comb += [
                writer.addr.eq(self.address),
                writer.data.eq(self.data),
                writer.en.eq(self.write),
                reader.addr.eq(self.address),
                reader.en.eq(~self.write),
                self.o.eq(reader.data),
            ]
            return m
        chosen = self.address[BLOCK_BITS:]
        was = Signal.like(chosen)
        m.d.sync += was.eq(chosen)
        found: Value = Const(0, WIDTH)
        for k in range(self.blocks):
            out = self.technology.single_port(
                m,
                f"block{k}",
                select=Const(1, 1),
                write=self.write & (chosen == k) if self.blocks > 1 else self.write,
                address=self.address[:BLOCK_BITS],
                data=self.data,
            )
            found = out if k == 0 else Mux(was == k, out, found)
        m.d.comb += self.o.eq(found)
        return m


class Store(wiring.Component):
    """Words in block RAM, one written and one read a cycle; data one cycle later."""

    def __init__(self, width: int, depth: int, init: Sequence[int] = ()) -> None:
        self.width, self.depth, self.init = width, depth, init
        super().__init__(
            {
                "write_address": In(range(depth)),
                "write": In(1),
                "data": In(width),
                "address": In(range(depth)),
                "o": Out(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ram = memory.Memory(shape=self.width, depth=self.depth, init=self.init)
        m.submodules.words = ram
        writer, reader = ram.write_port(), ram.read_port()
        m.d.comb += [
            writer.addr.eq(self.write_address),
            writer.data.eq(self.data),
            writer.en.eq(self.write),
            reader.addr.eq(self.address),
            self.o.eq(reader.data),
        ]
        return m
