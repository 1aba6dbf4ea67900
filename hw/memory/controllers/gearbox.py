"""Stream width converter of any ratio."""

from collections.abc import Sequence
from math import gcd

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class Gearbox(wiring.Component):
    """Repacks a bit stream: the bits of `i`, lowest first, come out of `o` in the same order.

    Parameters
    ----------
    i_bits, o_bits
        Widths. Work is done in units of their greatest common divisor, so the wider a common
        divisor the cheaper the gearbox; an exact multiple needs no rotation.

    Members
    -------
    i : In(stream of `i_bits`), o : Out(stream of `o_bits`)
        A word appears as soon as all its bits have come. `i.ready` depends on `o.ready` within
        the cycle; `o.valid` and `o.payload` on registers only, except that equal widths are
        wires. Bits short of a whole word stay; reset drops them.

    Latency: from the beat that completes a word to the word, 1 cycle for exact multiples, 2
    where a wider word is made, 3 where a narrower one is. Throughput: one beat of the narrower
    side per cycle.
    """

    def __init__(self, i_bits: int, o_bits: int) -> None:
        self.unit = gcd(i_bits, o_bits)
        self.i_units, self.o_units = i_bits // self.unit, o_bits // self.unit
        # Towards wider words: where the next beat begins in its word, and whether the beat
        # between the two registers completes one.
        self.start, self.completes = Signal(range(self.o_units)), Signal()
        super().__init__(
            {"i": In(stream.Signature(i_bits)), "o": Out(stream.Signature(o_bits))},
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.i_units == self.o_units:
            m.d.comb += [
                self.o.payload.eq(self.i.payload),
                self.o.valid.eq(self.i.valid),
                self.i.ready.eq(self.o.ready),
            ]
        elif self.i_units < self.o_units:
            self._widen(m)
        else:
            self._narrow(m)
        return m

    def _units(self, value: Value) -> list[Value]:
        return [value[k : k + self.unit] for k in range(0, len(value), self.unit)]

    def _widen(self, m: Module) -> None:
        """Beats are rotated to their lanes, then written into the word being gathered.

        The word has `a` - 1 units more than it shows: what a beat has beyond the word's end
        waits there and moves to the front when the word is taken.
        """
        a, b = self.i_units, self.o_units
        start, wraps = self.start, Signal()
        after = Signal(range(b))
        m.d.comb += [wraps.eq(start >= b - a), after.eq(start + a - Mux(wraps, b, 0))]
        spans = a + b - 1
        enables = [Value.cast((start <= p) & (start + a > p)) for p in range(spans)]

        lanes: Sequence[Value]
        if a == 1:
            lanes, last, valid = self._units(self.i.payload), wraps, self.i.valid
            enable = Cat(enables)
        else:
            turn = Signal(range(a))  # registered: the beat waits for it alone
            beat = Signal(len(self.i.payload), reset_less=True)
            enable = Signal(spans)
            last, valid = Signal(), Signal()
            m.d.comb += self.completes.eq(valid & last)
            rotated = rotate(self._units(self.i.payload), turn)
            lanes = self._units(beat)
        step = Signal()
        m.d.comb += step.eq(~self.o.valid | self.o.ready)

        gathered = [Signal(self.unit, name=f"unit{p}", reset_less=True) for p in range(spans)]
        m.d.comb += self.o.payload.eq(Cat(gathered[:b]))
        with m.If(step):
            m.d.sync += self.o.valid.eq(valid & last)
        for p in range(spans):
            with m.If(step & valid & enable[p]):
                m.d.sync += gathered[p].eq(lanes[p % a])
            if p < a - 1:
                with m.Elif(self.o.valid & self.o.ready):
                    m.d.sync += gathered[p].eq(gathered[b + p])

        move = Signal()
        with m.If(move):
            m.d.sync += start.eq(after)
        if a == 1:
            m.d.comb += [self.i.ready.eq(step), move.eq(step & self.i.valid)]
            return
        m.d.comb += [self.i.ready.eq(step | ~valid), move.eq(self.i.ready & self.i.valid)]
        with m.If(self.i.ready):
            m.d.sync += valid.eq(self.i.valid)
        with m.If(move):
            m.d.sync += [
                beat.eq(Cat(rotated)),
                enable.eq(Cat(enables)),
                last.eq(wraps),
                turn.eq(lookup(m, "turn_after", after, [-s % a for s in range(b)])),
            ]

    def _narrow(self, m: Module) -> None:
        """A window of `b` units moves over the beat and what was left of the one before.

        Unit p of the window lies in lane p mod `b`, so each lane chooses between few places
        and one rotation orders them.
        """
        a, b = self.i_units, self.o_units
        beat = Signal(len(self.i.payload), reset_less=True)
        left = Signal((b - 1) * self.unit, reset_less=True)
        word = Signal(len(self.o.payload), reset_less=True)
        m.d.comb += self.o.payload.eq(word)
        loaded = Signal()
        start = Signal(range(a), init=b - 1)  # of the window, from the first unit left over
        ends, step = Signal(), Signal()
        m.d.comb += [
            ends.eq(start >= a - b),  # the word after this one reaches into the next beat
            self.i.ready.eq(~loaded | (ends & step)),
        ]
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += [loaded.eq(1), beat.eq(self.i.payload)]
            if b > 1:
                m.d.sync += left.eq(beat[-len(left) :])
        with m.Elif(self.i.ready):
            m.d.sync += loaded.eq(0)
        with m.If(loaded & step):
            m.d.sync += start.eq(start + b - Mux(ends, a, 0))

        places = [*self._units(left), *self._units(beat)]
        lanes = []
        for lane in range(b):
            # Lane numbers count from the first unit left over.
            choice = Signal(self.unit, name=f"lane{lane}")
            options = range(lane, len(places), b)
            with m.If(start <= options[0]):
                m.d.comb += choice.eq(places[options[0]])
            for p in options[1:]:
                with m.Elif(start <= p):
                    m.d.comb += choice.eq(places[p])
            lanes.append(choice)
        if b == 1:
            m.d.comb += step.eq(~self.o.valid | self.o.ready)
            with m.If(step):
                m.d.sync += [self.o.valid.eq(loaded), word.eq(lanes[0])]
            return
        chosen = Signal(len(self.o.payload), reset_less=True)
        turn, valid = Signal(range(b)), Signal()
        leave = Signal()
        m.d.comb += [leave.eq(~self.o.valid | self.o.ready), step.eq(~valid | leave)]
        with m.If(step):
            m.d.sync += [
                valid.eq(loaded),
                chosen.eq(Cat(lanes)),
                turn.eq(lookup(m, "turn_now", start, [s % b for s in range(a)])),
            ]
        with m.If(leave):
            m.d.sync += [
                self.o.valid.eq(valid),
                word.eq(Cat(rotate(self._units(chosen), turn))),
            ]


def rotate(lanes: Sequence[Value], turn: Value) -> list[Value]:
    """`lanes` moved down by `turn`, those below the first to the end; combinational."""
    count = len(lanes)
    for k in range(len(turn)):
        lanes = [Mux(turn[k], lanes[(j + (1 << k)) % count], lanes[j]) for j in range(count)]
    return list(lanes)


def lookup(m: Module, name: str, index: Value, values: Sequence[int]) -> Value:
    """Entry `index` of a table of constants; combinational."""
    entry = Signal(range(max(values) + 1), name=name)
    with m.Switch(index):
        for k, value in enumerate(values):
            with m.Case(k):
                m.d.comb += entry.eq(Const(value, len(entry)))
    return entry
