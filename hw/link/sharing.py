"""Who a byte on the wire is from: a host that sends frames, or a person at a terminal."""

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

SILENCE = 1 << 14  # byte times, at least
CR, LF, BACKSPACE = 0x0D, 0x0A, 0x08


def silence_bits(divisor: int) -> int:
    """Exponent of the cycles of a silence, the UART's bits taking so many."""
    return ceil_log2(SILENCE * 10 * divisor)


class LineSharing(wiring.Component):
    """Gives each byte to the frame receiver or to the terminal.

    After power-on and after a silence, the next byte decides: one that a person may type begins
    the terminal's turn, anything else the frames'. 0x00, which every host sends first, ends the
    terminal's turn in any cycle. A silence is `SILENCE` byte times in which no byte came and all
    that was asked for was done: long enough for no frame to be cut by a slow host.

    Parameters
    ----------
    divisor
        Clock cycles per UART bit.
    timed
        A strobe from outside tells the time, and a silence is one to two of its periods.

    Members
    -------
    i : In(stream of 8)
        From the UART. Always ready.
    idle : In(1)
        Nothing is being worked on, sent, or waiting.
    typing : Out(1)
        The terminal's turn.
    turns : Out(1)
        Strobe: the turn changes with this byte.
    frames : Out(stream of 8)
        To the frame receiver, which is always ready; a byte that changes turns comes as 0x00.
    key : Out(stream of 8)
        To the terminal, one deep; a key that comes while one waits is lost.
    strobe : In(1)
        If `timed`, once in 2**`silence_bits` cycles.
    """

    def __init__(self, divisor: int, timed: bool = False) -> None:
        self.silence_bits, self.timed = silence_bits(divisor), timed
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "idle": In(1),
                "typing": Out(1),
                "turns": Out(1),
                "frames": Out(stream.Signature(8)),
                "key": Out(stream.Signature(8)),
                **({"strobe": In(1)} if timed else {}),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        byte, came = self.i.payload, self.i.valid
        # Strobes of a silence, or its cycles.
        count = 1 if self.timed else self.silence_bits
        silence = Signal(count + 1, init=1 << count)
        undecided, text, zero = silence[-1], Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(1),
            zero.eq(byte == 0),
            text.eq(
                ~byte[7] & (byte[5:7].any() | (byte == CR) | (byte == LF) | (byte == BACKSPACE))
            ),
            self.turns.eq(came & Mux(self.typing, zero, undecided & text)),
            self.frames.valid.eq(came & (~self.typing | self.turns)),
            self.frames.payload.eq(Mux(self.turns, 0, byte)),
        ]
        with m.If(self.turns):
            m.d.sync += self.typing.eq(~self.typing)
        with m.If(came):
            m.d.sync += silence.eq(0)
        with m.Elif(~undecided):
            more = self.strobe if self.timed else 1
            m.d.sync += silence.eq(Mux(self.idle, silence + more, 0))
        with m.If(self.key.ready | (self.turns & zero)):
            m.d.sync += self.key.valid.eq(0)
        with m.If(came & Mux(self.typing, ~zero & (~self.key.valid | self.key.ready), self.turns)):
            m.d.sync += [self.key.valid.eq(1), self.key.payload.eq(byte)]
        return m
