"""From wire bytes to checked frames in a memory."""

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from setun.firmware.link.frames import MAX_FRAME, OVERHEAD
from setun.firmware.link.messages import MAX_INFO, ErrorCode
from setun.hw.link.cobs import DECODED, CobsDecoder
from setun.hw.link.crc import Crc32

RING = 1024


def typing_members() -> dict[str, wiring.Member]:
    """What a `FrameReceiver` shows to a terminal."""
    typed = data.StructLayout({"valid": 1, "token": DECODED})
    return {"typing": In(1), "typed": In(typed), "rewind": In(1), "kept": In(8)}


class FrameReceiver(wiring.Component):
    """Decode, check and queue frames; refuse damaged ones.

    One memory of 2 · 1,024 bytes: the lower half is a ring of good frames, each ``length u8, type,
    seq, payload`` (length of the payload alone, CRC removed); the upper half holds `constants`,
    last byte first, for a reader that counts down.
    A frame's bytes are written as they come and committed by moving `head`, so a refused frame
    leaves no trace.

    Parameters
    ----------
    constants
        At most 200 bytes; byte k lies at address 1024 + len(constants) − k.
    terminal
        Whether a terminal writes frames too, see `setun.hw.link.terminal`.

    Members
    -------
    i : In(stream.Signature(8))
        Wire bytes. Always ready.
    line_error : In(1)
        Strobe: the UART lost a byte; the frame around it is refused.
    head : Out(10)
        Address behind the last committed frame; the ring is empty when it equals `tail`.
    tail : In(10)
        Address of the oldest frame still needed.
    address : In(11), byte : Out(8)
        Memory read, one cycle of latency. A frame may be read from the second cycle in which
        `head` covers it.
    free : Out(10)
        Bytes of frames that there is room for, counted as they come; 0 once one was lost.
    error : Out(stream.Signature(8))
        ErrorCode of a refused frame. While one waits, further ones are merged into it.
    typing : In(1), typed : In(valid and {data: 8, end: 1, bad: 1})
        With a terminal: while `typing` decoded bytes come from it and not from the wire, and their
        CRC, any four bytes, is taken as right.
    rewind : In(1), kept : In(8)
        Likewise: of the frame under way only so many bytes were meant; damage is forgotten. With a
        delimiter in the same cycle, which then ends nothing.

    Errors: UART, BAD_COBS, OVERLONG, TOO_SHORT, BAD_CRC, NO_ROOM (the ring is full), the first
    that applies. Frames without bytes are idle line.
    Throughput: a byte per cycle. Latency: `head` moves one cycle after the delimiter.
    """

    def __init__(self, constants: bytes, terminal: bool = False) -> None:
        if len(constants) > MAX_INFO:
            raise ValueError(f"at most {MAX_INFO} bytes of constants: {len(constants)}")
        self.constants, self.terminal = constants, terminal
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "line_error": In(1),
                "head": Out(10),
                "tail": In(10),
                "address": In(11),
                "byte": Out(8),
                "free": Out(10),
                "error": Out(stream.Signature(8)),
                **(typing_members() if terminal else {}),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.decoder = decoder = CobsDecoder()
        m.submodules.crc = crc = Crc32()
        record = [0, *reversed(self.constants)]
        init = [0] * RING + record + [0] * (RING - len(record))
        m.submodules.memory = memory = Memory(shape=8, depth=2 * RING, init=init)
        write = memory.write_port()
        read = memory.read_port()
        wiring.connect(m, wiring.flipped(self.i), decoder.i)

        length = Signal(range(MAX_FRAME + 2))
        position = Signal(10)
        line_bad = Signal()
        full = Signal()
        room = Signal()
        token, valid, match = decoder.o.payload, decoder.o.valid, crc.match
        if self.terminal:
            token, valid, match = Signal(DECODED), Signal(), Signal()
            m.d.comb += [
                token.eq(Mux(self.typing, self.typed.token, decoder.o.payload)),
                valid.eq(Mux(self.typing, self.typed.valid, decoder.o.valid)),
                match.eq(self.typing | crc.match),
            ]
        m.d.comb += [
            read.addr.eq(self.address),
            self.byte.eq(read.data),
            decoder.o.ready.eq(1),
            position.eq(self.head + length + 1),
            room.eq(position != self.tail),
            self.free.eq(Mux(full, 0, self.tail - position)),
            crc.data.eq(token.data),
            crc.valid.eq(valid & ~token.end),
            crc.start.eq(valid & token.end),
            write.addr.eq(Mux(token.end, self.head, position)),
            write.data.eq(Mux(token.end, length - OVERHEAD, token.data)),
        ]

        refusal = Signal(8)
        checks = [
            (line_bad, ErrorCode.UART),
            (token.bad, ErrorCode.BAD_COBS),
            (length > MAX_FRAME, ErrorCode.OVERLONG),
            (length < OVERHEAD, ErrorCode.TOO_SHORT),
            (~match, ErrorCode.BAD_CRC),
            (full, ErrorCode.NO_ROOM),
        ]
        for condition, code in reversed(checks):
            with m.If(condition):
                m.d.comb += refusal.eq(code)

        with m.If(self.error.ready):
            m.d.sync += self.error.valid.eq(0)
        with m.If(valid & ~token.end):
            with m.If(length <= MAX_FRAME):
                m.d.sync += length.eq(length + 1)
            m.d.comb += write.en.eq(room & ~full)
            with m.If(~room):
                m.d.sync += full.eq(1)
        with m.If(valid & token.end):
            m.d.sync += [length.eq(0), line_bad.eq(0), full.eq(0)]
            with m.If((length != 0) | token.bad | line_bad):
                with m.If(refusal == 0):
                    m.d.comb += write.en.eq(1)
                    m.d.sync += self.head.eq(self.head + length - 3)
                with m.Elif(~self.error.valid | self.error.ready):
                    m.d.sync += [self.error.valid.eq(1), self.error.payload.eq(refusal)]
        with m.If(self.line_error):
            m.d.sync += line_bad.eq(1)
        if self.terminal:
            with m.If(self.rewind):
                m.d.comb += crc.start.eq(1)
                m.d.sync += [length.eq(self.kept), line_bad.eq(0), full.eq(0)]
        return m
