"""On-chip memories: block RAM that the core reads every cycle and the link loads and checks."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from setun.hw.memory.blocks import segments
from setun.hw.pipeline import delayed


def bus_signature() -> wiring.Signature:
    """Maintenance port of one memory, in elements; used only while the core is idle.

    Members: `strobe` (one cycle per transaction), `write`, `address` (elements), `write_data`,
    `done` (strobe: what was read is in `read_data`, until the next transaction).
    """
    return wiring.Signature(
        {
            "strobe": Out(1),
            "write": Out(1),
            "address": Out(24),
            "write_data": Out(32),
            "done": In(1),
            "read_data": In(32),
        }
    )


class Store(wiring.Component):
    """Words of several elements; one read port, optionally one write port, one bus port.

    Parameters
    ----------
    name
        Prefix of the memories' names in the Verilog.
    element
        Bits of one element, at most 32.
    elements
        Elements of one word that exist; the bus numbers them with the next power of two.
    depth
        Words.
    init
        Initial words.
    writable
        The core writes too (vector and state memory); the bus then only reads.
    far
        Registers before and behind the blocks: a memory of a hundred blocks spans the FPGA, and
        the way there takes most of a cycle. Those behind are the blocks' own where they have them.

    Members
    -------
    read_address : In
        Word to read; `read_data : Out` shows it `latency` cycles later.
    write_enable, write_address, write_data : In
        Only if `writable`: one word per cycle, visible to reads of the next cycle.
    bus : In
        See `bus_signature`. Words are written when their last element arrives, so elements are
        written in ascending order. What is read is there `latency` + 1 cycles after its strobe.

    Latency 1 cycle, 3 if `far`; throughput one word per cycle.
    """

    def __init__(
        self,
        name: str,
        *,
        element: int,
        elements: int,
        depth: int,
        init: Sequence[int] = (),
        writable: bool = False,
        far: bool = False,
    ) -> None:
        self.latency = 3 if far else 1
        self.far = far
        self.name = name
        self.element, self.elements, self.depth = element, elements, depth
        self.init = list(init)
        self.writable = writable
        self.width = element * elements
        members = {
            "read_address": In(range(max(depth, 2))),
            "read_data": Out(self.width),
            "bus": In(bus_signature()),
        }
        if writable:
            members |= {
                "write_enable": In(1),
                "write_address": In(range(max(depth, 2))),
                "write_data": In(self.width),
            }
        super().__init__(members)
        self.place = Signal(max((elements - 1).bit_length(), 1))  # of the bus' element in its word

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = (self.elements - 1).bit_length()
        m.d.comb += self.place.eq(self.bus.address[:bits])
        bus_word = self.bus.address[bits:]
        address = Signal.like(self.read_address)
        m.d.comb += address.eq(Mux(self.bus.strobe, bus_word, self.read_address))

        ports = [address, *self._write_port(m, bus_word)]
        self._segments(
            m, *(delayed(m, p, int(self.far), f"port{k}", reset=True) for k, p in enumerate(ports))
        )
        self._give(m)
        return m

    def _give(self, m: Module) -> None:
        """The element that the bus reads, chosen while the word is there."""
        asked = Cat(self.bus.strobe & ~self.bus.write, self.place)
        late = delayed(m, asked, self.latency, "asked", reset=True)
        m.d.sync += self.bus.done.eq(late[0])
        with m.If(late[0]):
            m.d.sync += self.bus.read_data.eq(self.read_data.word_select(late[1:], self.element))

    def _write_port(self, m: Module, bus_word: Value) -> tuple[Value, Value, Value]:
        """Enable, address and data: the core's, or a word that has come over the bus."""
        if self.writable:
            return self.write_enable, self.write_address, self.write_data
        last = (1 << (self.elements - 1).bit_length()) - 1
        strobe = self.bus.strobe & self.bus.write
        # Elements come in at the top and move down: each way is short, however wide the word.
        held, taken = Signal(self.width), Signal(self.width)
        m.d.comb += taken.eq(Cat(held, self.bus.write_data[: self.element])[self.element :])
        with m.If(strobe & (self.place < self.elements)):
            m.d.sync += held.eq(taken)
        whole = taken if self.elements == last + 1 else held
        return strobe & (self.place == last), bus_word, whole

    def _segments(
        self, m: Module, address: Value, enable: Value, write_address: Value, data: Value
    ) -> None:
        parts = segments(self.depth, self.width)
        outputs, start = [], 0
        selected = Signal(range(max(len(parts), 2)))
        for k, size in enumerate(parts):
            init = self.init[start : start + size]
            # What a bitstream fills with a model must not become registers or LUTs.
            attributes = {} if self.writable else {"ram_style": "block"}
            m.submodules[f"{self.name}{k}"] = mem = memory.Memory(
                shape=self.width, depth=size, init=init, attrs=attributes
            )
            end = start + size
            read, write = mem.read_port(), mem.write_port()
            outputs.append(delayed(m, read.data, int(self.far), f"out{k}"))
            # The bus reaches beyond the memory: what it writes there must not wrap around.
            here = _within(write_address, start, end)
            m.d.comb += [
                write.en.eq(enable & here),
                write.data.eq(data),
                write.addr.eq(write_address - start),
                read.addr.eq(address - start),
            ]
            if not self.writable:
                # One address for both ports and never both at once: a single-port block.
                m.d.comb += [write.addr.eq(address - start), read.en.eq(~write.en)]
            if len(parts) > 1:
                with m.If(_within(address, start, end)):
                    m.d.sync += selected.eq(k)
            start = end
        if len(parts) == 1:
            m.d.comb += self.read_data.eq(outputs[0])
            return
        with m.Switch(delayed(m, selected, int(self.far), "selected")):
            for k, output in enumerate(outputs):
                with m.Case(k):
                    m.d.comb += self.read_data.eq(output)


def _within(address: Value, start: int, end: int) -> Value:
    below = address < end
    return below & (address >= start) if start else below
