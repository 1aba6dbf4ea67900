"""Consistent overhead byte stuffing (Cheshire and Baker, 1999) on byte streams."""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

DECODED = data.StructLayout({"data": 8, "end": 1, "bad": 1})
ENCODER_INPUT = data.StructLayout({"data": 8, "last": 1})

MAX_FRAME = 254


class CobsDecoder(wiring.Component):
    """Wire bytes in, decoded bytes and frame ends out.

    Members
    -------
    i : In(stream.Signature(8))
        Wire bytes; 0x00 delimits.
    o : Out(stream.Signature({data: 8, end: 1, bad: 1}))
        `end` = 0: a byte of the frame. `end` = 1: a delimiter came, `data` means nothing, `bad`
        tells that the frame broke off inside a run.

    Latency: 0 (combinational from `i` to `o`). Throughput: a byte per cycle.
    """

    i: In(stream.Signature(8))
    o: Out(stream.Signature(DECODED))

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        left = Signal(8)
        zero_due = Signal()
        delimiter = Signal()
        code = Signal()
        silent = Signal()
        m.d.comb += [
            delimiter.eq(self.i.payload == 0),
            code.eq((left == 0) & ~delimiter),
            silent.eq(code & ~zero_due),
            self.o.payload.data.eq(self.i.payload & (~code).replicate(8)),
            self.o.payload.end.eq(delimiter),
            self.o.payload.bad.eq(left != 0),
            self.o.valid.eq(self.i.valid & ~silent),
            self.i.ready.eq(self.o.ready | silent),
        ]
        with m.If(self.i.valid & self.i.ready):
            with m.If(delimiter):
                m.d.sync += [left.eq(0), zero_due.eq(0)]
            with m.Elif(code):
                m.d.sync += [left.eq(self.i.payload - 1), zero_due.eq(self.i.payload != 0xFF)]
            with m.Else():
                m.d.sync += left.eq(left - 1)
        return m


class CobsEncoder(wiring.Component):
    """Frames in, wire bytes with closing delimiter out.

    The code byte of a run comes before the run, so a frame is held in a 256-byte memory before it
    is sent: `i` is not ready while a frame leaves.

    Members
    -------
    i : In(stream.Signature({data: 8, last: 1}))
        Frames of 1 to 254 bytes; a longer one is not allowed.
    o : Out(stream.Signature(8))
        Wire bytes: n + 1 for a frame of n bytes, then 0x00.

    Latency: n + 4 cycles from the first byte in to the first out. Throughput: n + 3 cycles in,
    then n + 2 bytes out at one per two cycles at best.
    """

    i: In(stream.Signature(ENCODER_INPUT))
    o: Out(stream.Signature(8))

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.buffer = buffer = Memory(shape=8, depth=256, init=[])
        write = buffer.write_port()
        read = buffer.read_port()

        code_at = Signal(8)
        position = Signal(8, init=1)
        run = Signal(8, init=1)
        index = Signal(8)
        m.d.comb += [
            read.addr.eq(index),
            write.addr.eq(position),
            write.data.eq(self.i.payload.data),
        ]
        taken = Signal()
        close = Signal()
        with m.If(taken):
            m.d.comb += write.en.eq(1)
            m.d.sync += [position.eq(position + 1), run.eq(run + 1)]
        with m.If(close):
            m.d.comb += [
                write.addr.eq(code_at),
                write.data.eq(run),
                write.en.eq(1),
            ]
            m.d.sync += [code_at.eq(position), run.eq(1)]

        with m.FSM():
            with m.State("FILL"):
                m.d.comb += [
                    self.i.ready.eq(1),
                    taken.eq(self.i.valid),
                    close.eq(self.i.valid & (self.i.payload.data == 0)),
                ]
                with m.If(self.i.valid & self.i.payload.last):
                    m.next = "CLOSE"
            with m.State("CLOSE"):
                m.d.comb += close.eq(1)
                m.next = "FETCH"
            with m.State("FETCH"):
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(read.data)]
                with m.If(self.o.ready):
                    m.d.sync += index.eq(index + 1)
                    m.next = "FETCH"
                    with m.If(index + 1 == position):
                        m.next = "DELIMIT"
            with m.State("DELIMIT"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [index.eq(0), code_at.eq(0), position.eq(1), run.eq(1)]
                    m.next = "FILL"
        return m
