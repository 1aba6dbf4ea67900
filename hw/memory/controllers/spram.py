"""Weights in the single-port RAM of an iCE40 UltraPlus: 1 Mbit, 64 bits a cycle."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import memory, wiring

from setun.hw.memory.controllers.port import MAX_BEATS, controller_members
from setun.hw.technology import GENERIC, Technology

BLOCKS = 4
WIDTH, DEPTH = 16, 1 << 14  # of a block
BEAT = BLOCKS * WIDTH
CAPACITY = DEPTH * BEAT // 8
LINK = 32  # bits of the link's word


class SpramWeights(wiring.Component):
    """All four blocks of an iCE40UP5K side by side.

    The blocks keep what they have read until they read again, so their own output registers are
    `o`. They cannot be initialised: the link loads them after every configuration.

    Parameters
    ----------
    technology
        Has `single_port` blocks, or a memory of the same behaviour is left to synthesis.

    Members
    -------
    read, o, bus_req, bus_rsp, ready
        See `setun.hw.memory.controllers.port.controller_members`; beats of 64 bits, the word of the
        lower address in the lower half. `ready` is always high.

    Attributes
    ----------
    burst
        Beats of the longest read. Reads may cross any boundary.

    Latency: 2 cycles from a request to its first beat, 1 from the link's read to its word.
    Throughput: one beat per cycle, also from one request to the next, of one beat or more.
    """

    def __init__(self, technology: Technology = GENERIC) -> None:
        self.technology = technology
        self.burst = MAX_BEATS
        super().__init__(controller_members(BEAT, CAPACITY))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        read, link, o, word = self.read, self.bus_req, self.o, self.bus_rsp
        current = Signal.like(read.payload)
        half = Signal()
        access, linked = Signal(), Signal()  # in this cycle: of a burst, of the link
        address = Signal(range(DEPTH))
        write = Signal(BEAT // LINK)
        data = self._blocks(m, access | linked, write, address, link.payload.data)
        m.d.comb += [
            self.ready.eq(1),
            access.eq((current.beats != 0) & (~o.valid | o.ready)),
            read.ready.eq((current.beats == 0) | (access & (current.beats == 1))),
            # The output registers are the link's only while no beat waits in them.
            link.ready.eq(~read.valid & (current.beats == 0) & ~o.valid & ~word.valid),
            linked.eq(link.valid & link.ready),
            address.eq(Mux(current.beats != 0, current.address, link.payload.address[1:])),
            o.payload.eq(data),
            word.payload.eq(data.word_select(half, LINK)),
        ]
        with m.If(linked):
            m.d.comb += write.eq(link.payload.write << link.payload.address[0])
            m.d.sync += half.eq(link.payload.address[0])
        with m.If(read.valid & read.ready):
            m.d.sync += current.eq(read.payload)
        with m.Elif(access):
            m.d.sync += [
                current.address.eq(current.address + 1),
                current.beats.eq(current.beats - 1),
            ]
        with m.If(~o.valid | o.ready):
            m.d.sync += o.valid.eq(access)
        with m.If(~word.valid | word.ready):
            m.d.sync += word.valid.eq(linked & ~link.payload.write)
        return m

    def _blocks(
        self, m: Module, enable: Value, write: Signal, address: Signal, data: Signal
    ) -> Value:
        """The RAM: reads where `enable` and nothing of `write`; `write` is of halves."""
        found = Signal(BEAT)
        if not self.technology.single_port_ram:
            m.submodules.ram = ram = memory.Memory(shape=BEAT, depth=DEPTH, init=[])
            writer, reader = ram.write_port(granularity=LINK), ram.read_port()
            m.d.comb += [
                writer.addr.eq(address),
                writer.data.eq(data.replicate(BEAT // LINK)),
                writer.en.eq(write),
                reader.addr.eq(address),
                reader.en.eq(enable & ~write.any()),
                found.eq(reader.data),
            ]
            return found
        for k in range(BLOCKS):
            of_half = write[k * WIDTH // LINK]
            out = self.technology.single_port(
                m,
                f"block{k}",
                select=of_half | (enable & ~write.any()),
                write=of_half,
                address=address,
                data=data.word_select(k % (LINK // WIDTH), WIDTH),
            )
            m.d.comb += found.word_select(k, WIDTH).eq(out)
        return found
