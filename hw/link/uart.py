"""UART, 8N1, least significant bit first."""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from setun.firmware.link.baud import MIN_DIVISOR


def _check_divisor(divisor: int) -> int:
    if divisor < MIN_DIVISOR:
        raise ValueError(f"UART divisor must be at least {MIN_DIVISOR} cycles per bit: {divisor}")
    return divisor


class UartReceiver(wiring.Component):
    """Bits on a wire in, bytes out.

    A falling edge starts a byte; each bit is sampled once, in its middle. A start bit that is
    gone by its middle was a glitch. A byte whose stop bit is low is dropped and reported, and the
    wire must go high before the next one (so a break is one error). Tolerates ±4 % of baud rate
    at 16 cycles per bit and more, ±2 % at 4.

    Parameters
    ----------
    divisor
        Clock cycles per bit, ≥ 4.

    Members
    -------
    rx : In(1)
        The wire, asynchronous, idle high.
    o : Out(stream.Signature(8))
        One byte deep. Ready must follow within a byte's time (10 · divisor cycles).
    error : Out(1)
        Strobe: framing error, or a byte lost because `o` was not taken in time.

    Latency: 9.5 · divisor + 4 cycles from the falling edge to `o.valid`.
    """

    rx: In(1, init=1)
    o: Out(stream.Signature(8))
    error: Out(1)

    def __init__(self, divisor: int) -> None:
        self.divisor = _check_divisor(divisor)
        super().__init__()

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        rx = Signal(init=1)
        m.submodules.sync = FFSynchronizer(self.rx, rx, init=1)

        timer = Signal(range(self.divisor))
        bits = Signal(range(8))
        shift = Signal(8)
        tick = Signal()
        m.d.comb += tick.eq(timer == 0)
        m.d.sync += timer.eq(timer - 1)
        with m.If(tick):
            m.d.sync += timer.eq(self.divisor - 1)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += timer.eq(self.divisor // 2 - 1)
                with m.If(~rx):
                    m.next = "START"
            with m.State("START"), m.If(tick):
                m.next = "DATA"
                with m.If(rx):
                    m.next = "IDLE"
            with m.State("DATA"), m.If(tick):
                m.d.sync += [shift.eq(Cat(shift[1:], rx)), bits.eq(bits + 1)]
                with m.If(bits == 7):
                    m.next = "STOP"
            with m.State("STOP"), m.If(tick):
                with m.If(rx):
                    m.d.sync += [self.o.payload.eq(shift), self.o.valid.eq(1)]
                    m.d.comb += self.error.eq(self.o.valid & ~self.o.ready)
                    m.next = "IDLE"
                with m.Else():
                    m.d.comb += self.error.eq(1)
                    m.next = "BREAK"
            with m.State("BREAK"), m.If(rx):
                m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Bytes in, bits on a wire out.

    Parameters
    ----------
    divisor
        Clock cycles per bit, ≥ 4.

    Members
    -------
    i : In(stream.Signature(8))
        Taken when the wire is free.
    tx : Out(1)
        The wire, idle high, from a flip-flop.

    Throughput: a byte per 10 · divisor cycles, without gaps. Latency: 1 cycle to the start bit.
    """

    i: In(stream.Signature(8))
    tx: Out(1, init=1)

    def __init__(self, divisor: int) -> None:
        self.divisor = _check_divisor(divisor)
        super().__init__()

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        timer = Signal(range(self.divisor))
        bits = Signal(range(11))
        shift = Signal(10, init=0x3FF)
        tick = Signal()
        m.d.comb += [
            self.tx.eq(shift[0]),
            tick.eq(timer == 0),
            self.i.ready.eq((bits == 0) | ((bits == 1) & tick)),
        ]
        m.d.sync += timer.eq(timer - 1)
        with m.If(tick):
            m.d.sync += [timer.eq(self.divisor - 1), shift.eq(Cat(shift[1:], Const(1, 1)))]
            with m.If(bits != 0):
                m.d.sync += bits.eq(bits - 1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                timer.eq(self.divisor - 1),
                shift.eq(Cat(Const(0, 1), self.i.payload, Const(1, 1))),
                bits.eq(10),
            ]
        return m
