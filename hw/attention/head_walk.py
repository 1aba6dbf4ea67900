"""Heads of all seats' vectors, word by word, in the order in which a command reads them."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.firmware.program.isa import Op
from setun.hw.attention.coder import HeadCoder
from setun.hw.attention.outputs import Outputs
from setun.hw.attention.rotator import Rotator
from setun.hw.commands import attention_command
from setun.hw.instruction import shape
from setun.hw.seats import number

READ = 2  # cycles from an address of vector memory to the word in a register


class HeadWalk(wiring.Component):
    """Walks over a command's heads: turns them, norms them, or has them made codes.

    Members
    -------
    begin : In(1)
        Strobe: a pass has begun, so turns are to be looked up again.
    command : In(stream)
        See `setun.hw.commands.attention_command`; accepted when all is written.
    last : In
        Highest seat in use.
    start_turns : Out(1), turns_busy : In(1)
        Strobe: look the turns up; whether that lasts.
    settled : In(1)
        The cache has stored what it was given.
    used : In(1), resting : In(1)
        Of `setun.hw.attention.position_walk.PositionWalk`. Strobe: the coded queries are not
        needed any more; all that was offered is done.
    seat, base, word : Out
        Whose head, its first vector word, the word of it.
    rotate, half : Out(1)
        A word of either half of a head in turn is read.
    look, make, gain, scale : Out(1)
        A word is read for the largest exponent, for codes, for a norm's squares and products with
        gains, for those products times the root.
    head : Out
        First cache word of the head of keys.
    query : Out
        Queries of the group that are coded.
    first : Out
        Vector word of the group's first query.
    offered, coded : Out(1)
        A group of queries that share a head of keys is about to be coded, until `accepted`; it is
        coded, until `used`.
    accepted : In(1)

    `looked` and `normed` are cycles of the coder and the norm, from a head's last word to its
    largest exponent and to its root. A group's queries are coded while values are weighed for the
    group before.
    """

    def __init__(self, config: ChipConfig, looked: int, normed: int) -> None:
        self.config, self.looked, self.normed = config, looked, normed
        c = config
        strobes = ("start_turns", "rotate", "half", "look", "make", "gain", "scale")
        super().__init__(
            {
                "begin": In(1),
                "command": In(stream.Signature(attention_command(c))),
                "last": In(number(c.contexts)),
                "turns_busy": In(1),
                "settled": In(1),
                "used": In(1),
                "resting": In(1),
                "accepted": In(1),
                "seat": Out(number(c.contexts)),
                "base": Out(shape(c, "n")),
                "word": Out(range(c.head_elements + 1)),
                "head": Out(range(c.cache_words + 1)),
                "query": Out(range(c.queries + 1)),
                "first": Out(shape(c, "n")),
                "offered": Out(1),
                "coded": Out(1),
                **dict.fromkeys(strobes, Out(1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, command = self.config, self.command.payload
        left = Signal(shape(c, "group"))  # queries of the head of keys
        next_base = Signal.like(self.base)
        wait, turned = Signal(range(64)), Signal()
        attends, heads_left, last_word = (Signal(name=n) for n in ("attends", "more", "last_word"))
        m.d.comb += [
            attends.eq(command.op == Op.ATTEND),
            next_base.eq(self.base + command.head),
            heads_left.eq(next_base != command.words),
            last_word.eq(self.word == command.head - 1),
        ]
        with m.If(self.accepted):
            m.d.sync += self.offered.eq(0)
        with m.If(self.begin):
            m.d.sync += turned.eq(0)

        def seat_begins() -> None:
            m.d.sync += [self.base.eq(0), self.first.eq(0), self.head.eq(0)]
            m.d.sync += [self.word.eq(0), self.half.eq(0), self.query.eq(0)]
            m.d.sync += [left.eq(command.group), self.offered.eq(attends)]

        def seat_ends(then: str, drain: int) -> None:
            """`drain` cycles, until the last words are written."""
            seat_begins()
            m.d.sync += self.seat.eq(self.seat + 1)
            m.next = then
            with m.If(self.seat == self.last):
                m.d.sync += [wait.eq(drain), self.offered.eq(0)]
                m.next = "DRAIN"

        def waited(then: str) -> None:
            m.d.sync += wait.eq(wait - 1)
            with m.If(wait == 1):
                m.next = then

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [self.seat.eq(0), self.offered.eq(0)]
                with m.If(self.command.valid):
                    seat_begins()
                    with m.Switch(command.op):
                        with m.Case(Op.ROTATE):
                            m.next = "ROTATE"
                            with m.If(~turned):
                                m.d.comb += self.start_turns.eq(1)
                                m.next = "TURN"
                        with m.Default():
                            m.next = "LOOK"
            with m.State("TURN"), m.If(~self.turns_busy):
                m.d.sync += turned.eq(1)
                m.next = "ROTATE"
            with m.State("ROTATE"):
                m.d.comb += self.rotate.eq(1)
                m.d.sync += self.half.eq(~self.half)
                with m.If(self.half):
                    m.d.sync += self.word.eq(self.word + 1)
                    with m.If(self.word == (command.head >> 1) - 1):
                        m.d.sync += [self.word.eq(0), self.base.eq(next_base)]
                        with m.If(~heads_left):
                            seat_ends("ROTATE", READ + Rotator.latency)
            with m.State("LOOK"):
                m.d.comb += self.look.eq(1)
                m.d.sync += self.word.eq(self.word + 1)
                with m.If(last_word):
                    m.d.sync += [self.word.eq(0), wait.eq(self.looked)]
                    m.next = "LOOKED"
            with m.State("LOOKED"):
                waited("MAKE")
                if c.head_norms:
                    with m.If((wait == 1) & (command.op == Op.NORM)):
                        m.next = "GAIN"
            if c.head_norms:
                # Squares and products with the gains; then those products times the root.
                with m.State("GAIN"):
                    m.d.comb += self.gain.eq(1)
                    m.d.sync += self.word.eq(self.word + 1)
                    with m.If(last_word):
                        m.d.sync += [self.word.eq(0), wait.eq(self.normed - 1)]
                        m.next = "ROOT"
                with m.State("ROOT"):
                    waited("SCALE")
                with m.State("SCALE"):
                    m.d.comb += self.scale.eq(1)
                    m.d.sync += self.word.eq(self.word + 1)
                    with m.If(last_word):
                        m.d.sync += [self.word.eq(0), self.base.eq(next_base)]
                        m.next = "LOOK"
                        with m.If(~heads_left):
                            seat_ends("LOOK", READ + Outputs.direct_latency)
            with m.State("MAKE"):
                m.d.comb += self.make.eq(1)
                m.d.sync += self.word.eq(self.word + 1)
                with m.If(last_word):
                    m.d.sync += [self.word.eq(0), wait.eq(READ + HeadCoder.latency)]
                    m.next = "MADE"
            with m.State("MADE"):
                with m.If(wait != 1):
                    m.d.sync += wait.eq(wait - 1)
                with m.Elif(self.settled):
                    m.d.sync += self.base.eq(next_base)
                    m.next = "LOOK"
                    with m.If(attends):
                        m.d.sync += [self.query.eq(self.query + 1), left.eq(left - 1)]
                        with m.If((self.query == c.queries - 1) | (left == 1)):
                            m.next = "CODED"
                    with m.Else():
                        m.d.sync += self.head.eq(self.head + command.parts)
                        with m.If(~heads_left):
                            seat_ends("LOOK", 1)
            with m.State("CODED"):
                m.d.comb += self.coded.eq(1)
                with m.If(self.used):
                    m.d.sync += [self.query.eq(0), self.first.eq(self.base), self.offered.eq(1)]
                    m.next = "LOOK"
                    with m.If(left == 0):
                        m.d.sync += left.eq(command.group)
                        m.d.sync += self.head.eq(self.head + command.parts)
                    with m.If(self.base == command.words):
                        seat_ends("LOOK", Outputs.latency)
            with m.State("DRAIN"), m.If(self.resting):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 1):
                    m.d.comb += self.command.ready.eq(1)
                    m.next = "IDLE"
        return m
