"""Properties of gearbox, weight DMA, AXI4 master, control registers and mailbox."""

from itertools import pairwise
from typing import Any

from amaranth.hdl import Assert, Assume, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import Flow

from formal.prove import Proof


def inputs(unit: Any) -> list[Value]:
    """Every input of a component, for the solver to choose."""
    return [
        Value.cast(value)
        for _, member, value in unit.signature.flatten(unit)
        if member.flow == Flow.In
    ]


class GearboxProof(Proof):
    """Every bit comes out where it went in: one bit, chosen by the solver, is followed.

    Also: an offered word stays; no word is offered before its bits have come.
    """

    def __init__(self, gearbox: Any, bits: int) -> None:
        super().__init__()
        self.gearbox, self.bits = gearbox, bits
        self.chosen = Signal(range(bits))
        self.ports += [*inputs(gearbox), self.chosen]

    def check(self, m: Module) -> None:
        m.submodules.gearbox = gearbox = self.gearbox
        i, o = gearbox.i, gearbox.o
        i_bits, o_bits = len(i.payload), len(o.payload)
        chosen = self.chosen
        self.constant(m, chosen)
        into, out = Signal(range(2 * self.bits)), Signal(range(2 * self.bits))
        value = Signal()
        self.held(m, Assume, i.valid, i.ready, i.payload)
        self.held(m, Assert, o.valid, o.ready, o.payload)
        m.d.comb += Assume(into < self.bits)
        with m.If(i.valid & i.ready):
            m.d.sync += into.eq(into + i_bits)
        for k in range(i_bits):
            with m.If(i.valid & i.ready & (chosen == into + k)):
                m.d.sync += value.eq(i.payload[k])
        with m.If(o.valid):
            m.d.comb += Assert(out + o_bits <= into)
        with m.If(o.valid & o.ready):
            m.d.sync += out.eq(out + o_bits)
        for k in range(o_bits):
            with m.If(o.valid & (chosen == out + k)):
                m.d.comb += Assert(o.payload[k] == value)


class DmaProof(Proof):
    """No beat without room, requests within their bursts, exact restarts.

    The controller is any that takes requests and gives the beats asked for, in order, whenever
    it likes. `old`, counted at the ports, is what a restart has left on its way.
    """

    def __init__(self, dma: Any) -> None:
        super().__init__()
        self.dma = dma
        self.ports += inputs(dma)

    def check(self, m: Module) -> None:
        m.submodules.dma = dma = self.dma
        read, i, queue = dma.read, dma.i, dma.queue
        asked = Mux(read.valid & read.ready, read.payload.beats, 0)
        # Wide enough to show the unit's own counts overflow.
        owed, old = (Signal(len(dma.pending) + 2, name=name) for name in ("owed", "old"))
        offered = Mux(read.valid, read.payload.beats, 0)
        m.d.sync += owed.eq(owed + asked - i.valid)
        with m.If(dma.restart):
            m.d.sync += old.eq(owed + offered - i.valid)
        with m.Elif(i.valid & (old != 0)):
            m.d.sync += old.eq(old - 1)
        m.d.comb += [Assume(~i.valid | (owed != 0)), Assume(dma.first < dma.bursts)]

        address, beats = read.payload.address, read.payload.beats
        self.held(m, Assert, read.valid, read.ready, address, beats)
        held = self.before(m, dma.hold)
        was_offered = self.before(m, read.valid & ~read.ready)
        was_quiet = self.before(m, dma.quiet)
        with m.If(read.valid):
            m.d.comb += [
                Assert(address % dma.burst == 0),
                Assert((beats > 0) & (beats <= dma.burst)),
                Assert(address + beats <= dma.total),
            ]
        with m.If(self.past & held):
            m.d.comb += [Assert(~read.valid | was_offered), Assert(~was_quiet | dma.quiet)]
        m.d.comb += [
            Assert(dma.pending == owed + offered),
            Assert(dma.quiet == ((owed == 0) & ~read.valid)),
            Assert(dma.stale == old),
            Assert(old <= dma.pending),
            Assert(~dma.running | (dma.following < dma.bursts)),
            Assert(queue.some == (queue.stored != 0)),
            Assert(~queue.i.valid | (queue.stored < queue.depth)),
            Assert(i.ready),
        ]

        # What has been granted and not given back is on its way, in the gearbox or queued.
        gearbox = dma.gearbox
        on_way = (dma.pending - dma.stale)[: len(dma.pending)] * dma.beat_cost
        queued = (queue.stored + queue.o.valid) * dma.word_cost
        if dma.beat < dma.weight_bits:
            words = gearbox.completes + gearbox.o.valid
            queued = queued + gearbox.start + words * dma.word_cost
            m.d.comb += [
                Assert(gearbox.i.ready),
                Assert(gearbox.start < dma.word_cost),
            ]
        m.d.comb += Assert(dma.room + on_way + queued == dma.most)


class Axi4Proof(Proof):
    """The master's half of AXI4, for any slave that keeps its own.

    Valid and payload stay until taken; bursts keep within 4 KB, the chip's bytes and 256 beats;
    no more are outstanding than said; every beat and every response is taken by somebody.
    """

    def __init__(self, reader: Any) -> None:
        super().__init__()
        self.reader = reader
        self.ports += inputs(reader)

    def check(self, m: Module) -> None:
        m.submodules.reader = reader = self.reader
        axi, read, bus, size = reader.axi, reader.read, reader.bus_req, reader.data_bits // 8
        request, word = read.payload, bus.payload
        self.held(m, Assume, read.valid, read.ready, request.address, request.beats)
        self.held(m, Assume, bus.valid, bus.ready, word.write, word.address, word.data)
        m.d.comb += [
            Assume(
                (request.beats > 0)
                & (request.address % reader.burst + request.beats <= reader.burst)
            ),
            Assume(request.address + request.beats <= reader.capacity // size),
            Assume(word.address < reader.capacity // 4),
        ]
        self.constant(m, reader.base)
        self._reads(m, size)
        self._writes(m)

        failed = (axi.rvalid & axi.rready & (axi.rresp != 0)) | (
            axi.bvalid & axi.bready & (axi.bresp != 0)
        )
        expected = self.before(m, failed | (reader.error & ~reader.clear))
        m.d.comb += Assert(reader.error == expected)

    def _reads(self, m: Module, size: int) -> None:
        reader, axi = self.reader, self.reader.axi
        self.held(m, Assert, axi.arvalid, axi.arready, axi.araddr, axi.arlen)
        self.held(m, Assume, axi.rvalid, axi.rready, axi.rdata, axi.rresp, axi.rlast)
        self.held(m, Assert, reader.o.valid, reader.o.ready, reader.o.payload)
        self.held(m, Assert, reader.bus_rsp.valid, reader.bus_rsp.ready, reader.bus_rsp.payload)

        # Lengths of the bursts accepted, oldest first.
        lengths = [Signal(8, name=f"length{k}") for k in range(reader.outstanding + 1)]
        accepted, beat = Signal(range(reader.outstanding + 2)), Signal(8)
        push, pop = axi.arvalid & axi.arready, axi.rvalid & axi.rready & axi.rlast
        m.d.sync += accepted.eq(accepted + push - pop)
        with m.If(pop):
            m.d.sync += [a.eq(b) for a, b in pairwise(lengths)]
        for k, length in enumerate(lengths):
            with m.If(push & (accepted - pop == k)):
                m.d.sync += length.eq(axi.arlen)
        with m.If(axi.rvalid & axi.rready):
            m.d.sync += beat.eq(Mux(axi.rlast, 0, beat + 1))
        with m.If(axi.rvalid):
            m.d.comb += [Assume(accepted != 0), Assume(axi.rlast == (beat == lengths[0]))]

        end = (axi.arlen + 1) * size
        inside = (axi.araddr - (reader.base[12:] << 12))[: len(axi.araddr)]
        with m.If(axi.arvalid):
            m.d.comb += [
                Assert(axi.araddr % size == 0),
                Assert(axi.araddr[:12] + end <= 4096),
                Assert(inside + end <= reader.capacity),
                Assert(axi.arlen < 256),
                Assert((axi.arburst == 1) & (1 << axi.arsize == size)),
                Assert(~(axi.awvalid | axi.wvalid)),
            ]
        taken = (reader.o.valid & reader.o.ready) ^ reader.reading
        to_bus = self.before(m, axi.rvalid & axi.rready & reader.reading)
        m.d.comb += [
            Assert(reader.pending == accepted + axi.arvalid),
            Assert(reader.pending <= reader.outstanding),
            Assert(~(axi.rvalid & axi.rready) | taken),
            Assert(~(reader.reading & reader.bus_rsp.valid)),
            Assert(~to_bus | reader.bus_rsp.valid),
            Assert((accepted != 0) | (beat == 0)),
            Assert((accepted == 0) | (beat <= lengths[0])),
        ]
        with m.If(reader.reading):
            m.d.comb += [
                Assert(reader.pending == 1),
                Assert(axi.rready),
                Assert(beat == 0),
                Assert(Mux(axi.arvalid, axi.arlen, lengths[0]) == 0),
            ]

    def _writes(self, m: Module) -> None:
        reader, axi = self.reader, self.reader.axi
        self.held(m, Assert, axi.awvalid, axi.awready, axi.awaddr)
        self.held(m, Assert, axi.wvalid, axi.wready, axi.wdata, axi.wstrb)
        self.held(m, Assume, axi.bvalid, axi.bready, axi.bresp)
        addressed, written = Signal(), Signal()  # accepted and not answered
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += addressed.eq(1)
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += written.eq(1)
        with m.If(axi.bvalid & axi.bready):
            m.d.sync += [addressed.eq(0), written.eq(0)]
        m.d.comb += Assume(~axi.bvalid | (addressed & written))
        words = [axi.wstrb == 0xF << k for k in range(0, len(axi.wstrb), 4)]
        any_word = words[0]
        for one in words[1:]:
            any_word = any_word | one
        m.d.comb += [
            Assert(~(axi.awvalid & addressed) & ~(axi.wvalid & written)),
            Assert(reader.writing == (axi.awvalid | addressed)),
            Assert(reader.writing == (axi.wvalid | written)),
            Assert(~axi.bvalid | axi.bready),
            Assert(~reader.writing | ((reader.pending == 0) & ~reader.reading)),
            Assert(~axi.awvalid | (axi.awlen == 0)),
            Assert(~axi.wvalid | (axi.wlast & any_word)),
        ]


class SlaveProof(Proof):
    """The slave's half of AXI4-Lite: one response per request, which stays until taken."""

    def handshakes(self, m: Module, axi: Any, busy: Value) -> None:
        """What holds of any slave; a write may wait while it is `busy`."""
        self.held(m, Assume, axi.awvalid, axi.awready, axi.awaddr)
        self.held(m, Assume, axi.wvalid, axi.wready, axi.wdata, axi.wstrb)
        self.held(m, Assume, axi.arvalid, axi.arready, axi.araddr)
        self.held(m, Assert, axi.bvalid, axi.bready, axi.bresp)
        self.held(m, Assert, axi.rvalid, axi.rready, axi.rdata, axi.rresp)
        counts = {name: Signal(2, name=name) for name in ("aw", "w", "ar")}
        for name, answer in (("aw", "b"), ("w", "b"), ("ar", "r")):
            asked = getattr(axi, f"{name}valid") & getattr(axi, f"{name}ready")
            given = getattr(axi, f"{answer}valid") & getattr(axi, f"{answer}ready")
            m.d.sync += counts[name].eq(counts[name] + asked - given)
            m.d.comb += Assert(counts[name] == getattr(axi, f"{answer}valid"))
        m.d.comb += [
            # Requests are not left waiting without a reason.
            Assert(~(axi.awvalid & axi.wvalid & ~axi.bvalid) | busy | (axi.awready & axi.wready)),
            Assert(~axi.arvalid | axi.rvalid | axi.arready),
        ]


class MailboxProof(SlaveProof):
    """Besides: the byte of a place that the solver chooses comes out in that place, each way.

    None comes out before it went in, and what is no register answers so.
    """

    PLACES = 8

    def __init__(self, mailbox: Any) -> None:
        super().__init__()
        self.mailbox = mailbox
        self.place = Signal(range(self.PLACES))
        self.ports += [*inputs(mailbox), self.place]

    def check(self, m: Module) -> None:
        m.submodules.mailbox = box = self.mailbox
        axi, place = box.axi, self.place
        self.constant(m, place)
        self.handshakes(m, axi, box.o.valid & (axi.awaddr[2:] == 0x0C >> 2))
        wrote = self.past & self.before(m, axi.awvalid & axi.awready)
        here = self.before(m, axi.awaddr[2:]) == 0x0C >> 2
        fits = here & self.before(m, axi.wstrb).all()
        with m.If(wrote):
            m.d.comb += Assert(axi.bvalid & (axi.bresp == Mux(fits, 0, 2)))
        read = self.past & self.before(m, axi.arvalid & axi.arready)
        offset = self.before(m, axi.araddr) & ~3
        with m.If(read):
            known = (offset <= 0x10) & (offset != 0x0C)
            m.d.comb += Assert(axi.rvalid & (axi.rresp == Mux(known, 0, 2)))
        word = self.before(m, axi.wdata)
        out = Signal(2)
        m.d.comb += out.eq(box.o.valid & box.o.ready)
        self._kept(m, "inward", word, wrote & fits, box.o.payload << 8 | out, Const(1))
        come = Signal(2)
        m.d.comb += come.eq(box.i.valid & box.i.ready)
        told = read & (offset == 0x10)
        self._kept(m, "outward", box.i.payload << 8 | come, Const(1), axi.rdata, told)

    def _kept(
        self, m: Module, name: str, into: Value, enters: Value, out: Value, leaves: Value
    ) -> None:
        """Words of up to three bytes, in and out."""
        came, gone = (Signal(range(4 * self.PLACES), name=f"{name}_{n}") for n in ("came", "gone"))
        byte = Signal(8, name=f"{name}_byte")
        now, then = Signal.like(came), Signal.like(gone)
        m.d.comb += [
            now.eq(came + Mux(enters, into[:2], 0)),
            then.eq(gone + Mux(leaves, out[:2], 0)),
            # Long runs would come round.
            Assume(now < 2 * self.PLACES),
            Assert(then <= now),
        ]
        m.d.sync += [came.eq(now), gone.eq(then)]
        value = Signal(8, name=f"{name}_value")
        m.d.comb += value.eq(byte)
        for k in range(3):
            with m.If(enters & (k < into[:2]) & (came + k == self.place)):
                m.d.sync += byte.eq(into[8 + 8 * k : 16 + 8 * k])
                m.d.comb += value.eq(into[8 + 8 * k : 16 + 8 * k])
        for k in range(3):
            with m.If(leaves & (k < out[:2]) & (gone + k == self.place)):
                m.d.comb += Assert(out[8 + 8 * k : 16 + 8 * k] == value)


class RegistersProof(SlaveProof):
    """Besides: what each register of `ControlRegisters` says and does."""

    def __init__(self, registers: Any) -> None:
        super().__init__()
        self.registers = registers
        self.ports += inputs(registers)

    def check(self, m: Module) -> None:
        m.submodules.registers = registers = self.registers
        axi = registers.axi
        self.handshakes(m, axi, Const(0))

        read = self.before(m, axi.arvalid & axi.arready)
        offset = self.before(m, axi.araddr) & ~3
        known = offset <= 0x18
        for k in range(registers.count):
            known = known | (offset == 0x20 + 4 * k)
        base = self.before(m, registers.weight_base)
        with m.If(self.past & read):
            m.d.comb += [
                Assert(axi.rvalid & (axi.rresp == Mux(known, 0, 2))),
                Assert((offset != 0) | (axi.rdata == int.from_bytes(b"SETU", "little"))),
                Assert((offset != 0x10) | (axi.rdata == base[:32])),
                Assert((offset != 0x14) | (axi.rdata == base[32:])),
            ]

        wrote = self.before(m, axi.awvalid & axi.awready)
        place = self.before(m, axi.awaddr) & ~3
        data, strobes = self.before(m, axi.wdata), self.before(m, axi.wstrb)
        control = self.past & wrote & (place == 0x08) & strobes[0]
        enable = self.before(m, registers.enable)
        writable = (place == 0x08) | (place == 0x10) | (place == 0x14)
        high = Mux(strobes[3] & (place == 0x14), data[24:], base[56:])
        m.d.comb += [
            Assert(registers.enable == Mux(control, data[0], enable)),
            Assert(registers.clear == (control & data[1])),
            Assert(registers.weight_base[:12] == 0),
        ]
        with m.If(self.past & wrote):
            m.d.comb += [
                Assert(axi.bvalid & (axi.bresp == Mux(writable, 0, 2))),
                Assert(registers.weight_base[56:] == high),
            ]
        with m.If(self.past & ~wrote):
            m.d.comb += Assert(registers.weight_base == base)
