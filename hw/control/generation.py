"""Generation: prompt tokens in, sampled tokens out, one pass over the program at a time."""

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.firmware.link.messages import Reason
from setun.firmware.numerics.functions import NO_SEED
from setun.hw.control.prompts import PromptQueues
from setun.hw.link.signature import DONE, GENERATE, token_layout
from setun.hw.seats import number, pass_layout

SETTLE = 8  # cycles that a pass waits for the next token of the prompt that is coming in

# 32-bit event counters in the order that the link reports them, since power-on.
COUNTERS = (
    "cycles",  # at work, and not waiting for the wire
    "bodies",  # tokens fed
    "heads",  # tokens sampled
    "array_busy",  # cycles with a weight word taken
    "wait_codes",  # array: the quantiser has no slot ready
    "wait_sink",  # array: too many row groups wait for the sink
    "wait_weights",  # array: memory has no word ready
    "quantiser_busy",
    "sink_busy",
    "faults",  # unknown operations met
)


class Contexts:
    """What each context has been asked for, and what has become of it: registers by context.

    Members
    -------
    fresh, fed
        Its state reads as zero; it has been fed something.
    faulty
        A pass with its token met an unknown operation.
    active, begun, stopping
        A generation is under way; its cycles count; it is to end.
    heeds, ended
        It ends with the text; the text has ended.
    has_next, next_token
        A sampled token is to be fed, and which.
    left, tokens, cycles
        Tokens to sample, tokens sampled, cycles since the end of the prompt.
    held, filled
        Of a chip whose conversations have a limit: tokens that have been fed since it was fresh;
        there was one more than it may have.
    """

    def __init__(self, count: int, token_bits: int, positions: int) -> None:
        def registers(name: str, shape: Any = 1, init: int = 0) -> Array[Value]:
            return Array([Signal(shape, name=f"{name}{k}", init=init) for k in range(count)])

        self.fresh, self.fed = registers("fresh", init=1), registers("fed")
        self.faulty = registers("faulty")
        self.active, self.begun, self.stopping = map(registers, ("active", "begun", "stopping"))
        self.heeds, self.ended = registers("heeds"), registers("ended")
        self.has_next, self.next_token = registers("has_next"), registers("next_token", token_bits)
        self.left, self.tokens = registers("left", 16), registers("tokens", 16)
        self.cycles = registers("cycles", 32)
        if positions:
            self.held, self.filled = registers("held", range(positions + 1)), registers("filled")


class Generation(wiring.Component):
    """Seats the contexts' next tokens, feeds them in one pass, samples those that are wanted.

    A pass takes one token of every context that has one, then more tokens of prompts while seats
    are free. Whatever was emitted has been fed when its generation ends.

    Members
    -------
    context, prompt, prompt_space, generate, end_tokens, stop, reset_state, token, done
        The core's side of the link.
    running, generating, occupied
        Likewise: the core works; a generation of `context` is under way; `context` works.
    loading : In(1)
        Strobe: memory is being written; what was fed before means nothing to another model.
    idle, fault, sampled : In(1), sampled_token : In(token_bits per seat)
        From sequencer and sampler.
    run_body, run_head : Out(1), body_token : Out(token_bits per seat), seating : Out
        To the sequencer and all units; see `setun.hw.seats.pass_layout`.
    greedy : Out(1 per context), factor : Out(fmt.width per context)
        To the sampler.
    load_seed : Out(1), seed : Out(32)
        Likewise: noise of `context`.
    passing : Out(1), hung : In(1)
        A pass is under way; it is given up, and the units start over until `hung` is low again.
        All generations then end, and all contexts have been fed nothing.

    `done.reason` is a `setun.firmware.link.messages.Reason`; `done.cycles` counts from the end of
    the prompt and leaves out the waits for the wire.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        contexts, bits = config.contexts, config.token_bits
        super().__init__(
            {
                "context": In(number(contexts)),
                "prompt": In(stream.Signature(bits)),
                "prompt_space": Out(8),
                "generate": In(stream.Signature(GENERATE)),
                "end_tokens": In(8 * config.token_bytes * config.core.ends),
                "stop": In(1),
                "reset_state": In(1),
                "token": Out(stream.Signature(token_layout(bits))),
                "done": Out(stream.Signature(DONE)),
                "running": Out(1),
                "generating": Out(1),
                "occupied": Out(1),
                "loading": In(1),
                "idle": In(1),
                "fault": In(1),
                "sampled": In(1),
                "sampled_token": In(data.ArrayLayout(bits, contexts)),
                "run_body": Out(1),
                "run_head": Out(1),
                "body_token": Out(data.ArrayLayout(bits, contexts)),
                "seating": Out(pass_layout(config)),
                "greedy": Out(contexts),
                "factor": Out(data.ArrayLayout(config.vector.width, contexts)),
                "load_seed": Out(1),
                "seed": Out(32),
                "passing": Out(1),
                "hung": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        every = range(self.config.contexts)
        queues = self._queues(m)
        waits, readable = Array(queues.waiting), Array(queues.readable)
        limit = self.config.positions if self.config.attention else 0
        c = Contexts(len(every), self.config.token_bits, limit)
        self._requests(m, c, limit)
        at = Signal(number(len(every)))  # context that is looked at
        taken = Signal(range(len(every) + 1))  # seats in use
        seat = Signal(number(len(every)))  # the next one
        row_of = Array(Signal(number(len(every)), name=f"seat_of{k}") for k in every)
        seated = Signal(len(every))  # contexts with a token in this pass
        coming = Signal(SETTLE)  # a prompt's token came in these last cycles: more may follow
        m.d.sync += coming.eq(Cat(self.prompt.valid, coming))
        idle_round = Signal(init=1)  # no token was found since context 0
        sampled = Signal()
        last = at == len(every) - 1
        has_next, waiting = c.has_next[at], waits[at]
        take = has_next | readable[at]
        wanted = c.active[at] & ~waiting & ~has_next
        over = c.faulty[at] | ~c.fed[at] | c.stopping[at] | c.ended[at] | (c.left[at] == 0)
        room: Value = Const(1)
        if limit:
            anew = c.fresh[at] & ~seated.bit_select(at, 1)
            room = anew | (c.held[at] != limit)
            take, over = take & room, over | c.filled[at]
        m.d.comb += seat.eq(taken)
        given_up = Signal()  # the last pass was
        with m.If(self.sampled):
            m.d.sync += sampled.eq(1)
        for k in every:
            with m.If(self.fault & seated[k]):
                m.d.sync += c.faulty[k].eq(1)

        def next_context() -> None:
            m.d.sync += at.eq(Mux(last, 0, at + 1))

        with m.FSM() as machine:
            # Round after round over the contexts, until a round finds nothing or seats run out.
            with m.State("GATHER"):
                next_context()
                m.d.sync += given_up.eq(0)
                m.d.sync += idle_round.eq(last | (idle_round & ~(take | waiting)))
                with m.If(take):
                    self._sit(m, c, queues, at, seat, row_of, seated)
                    m.d.sync += taken.eq(taken + 1)
                    if limit:
                        m.d.sync += c.held[at].eq(Mux(anew, 1, c.held[at] + 1))
                if limit:
                    # The rest of a prompt that is too long is not read.
                    with m.If(readable[at] & ~room):
                        m.d.comb += queues.pop.bit_select(at, 1).eq(1)
                        m.d.sync += c.filled[at].eq(1)
                nothing = last & idle_round & ~(take | waiting) & ~coming.any()
                with m.If((take & (taken == len(every) - 1)) | nothing):
                    m.d.sync += [at.eq(0), idle_round.eq(1)]
                    m.next = "BODY"
                    with m.If((taken == 0) & ~take):
                        m.next = "PICK"
            with m.State("BODY"):
                m.d.comb += self.run_body.eq(1)
                m.d.sync += self.seating.last.eq(taken - 1)
                m.next = "FEEDING"
            with m.State("FEEDING"):
                with m.If(self.idle):
                    for k in every:
                        with m.If(seated[k]):
                            m.d.sync += [c.fresh[k].eq(0), c.fed[k].eq(1)]
                    m.d.sync += [seated.eq(0), taken.eq(0)]
                    m.next = "PICK"
                with m.If(self.hung):
                    m.next = "HUNG"
            # Whose logits are wanted, and whose generation has ended.
            with m.State("PICK"):
                next_context()
                with m.If(wanted):
                    m.d.sync += c.begun[at].eq(1)
                    with m.If(~over):
                        m.d.sync += [
                            self.seating.seats[seat].context.eq(at),
                            self.seating.seats[seat].workspace.eq(at),
                            seated.bit_select(at, 1).eq(1),
                            taken.eq(taken + 1),
                        ]
                with m.If(last):
                    m.next = "HEAD"
                    with m.If((taken == 0) & ~(wanted & ~over)):
                        m.next = "GATHER"
                with m.If(wanted & over):
                    m.d.sync += at.eq(at)
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.d.sync += [c.active[at].eq(0), c.begun[at].eq(0)]
                    m.next = "PICK"
            with m.State("HEAD"):
                m.d.comb += self.run_head.eq(1)
                m.d.sync += [self.seating.last.eq(taken - 1), sampled.eq(0)]
                m.next = "SAMPLING"
            with m.State("SAMPLING"):
                with m.If((Cat(*c.faulty) & seated).any()):
                    m.d.sync += [seated.eq(0), taken.eq(0)]
                    m.next = "PICK"
                with m.Elif(self.idle & sampled):
                    m.d.sync += taken.eq(0)
                    m.next = "EMIT"
                with m.If(self.hung):
                    m.next = "HUNG"
            with m.State("EMIT"):
                whose = self.seating.seats[seat].context
                sample, known = self.sampled_token[seat], self.end_tokens
                size = 8 * self.config.token_bytes
                ends = [known.word_select(k, size) for k in range(len(known) // size)]
                last_one = Cat(end == sample for end in ends).any()
                m.d.comb += self.token.valid.eq(1)
                with m.If(self.token.ready):
                    m.d.sync += [
                        c.ended[whose].eq(last_one & c.heeds[whose]),
                        c.has_next[whose].eq(1),
                        c.next_token[whose].eq(self.sampled_token[seat]),
                        c.left[whose].eq(c.left[whose] - 1),
                        c.tokens[whose].eq(c.tokens[whose] + 1),
                        taken.eq(taken + 1),
                    ]
                    if limit:
                        with m.If(c.held[whose] == limit):
                            m.d.sync += [c.has_next[whose].eq(0), c.filled[whose].eq(1)]
                    with m.If(seat == self.seating.last):
                        m.d.sync += [seated.eq(0), taken.eq(0)]
                        m.next = "GATHER"
            with m.State("HUNG"), m.If(~self.hung):
                m.d.sync += [seated.eq(0), taken.eq(0), at.eq(0), given_up.eq(1)]
                for k in every:
                    m.d.sync += [c.has_next[k].eq(0), c.faulty[k].eq(0)]
                    m.d.sync += [c.fresh[k].eq(1), c.fed[k].eq(0)]
                    if limit:
                        m.d.sync += c.filled[k].eq(0)
                m.next = "PICK"
        m.d.comb += self.passing.eq(machine.ongoing("FEEDING") | machine.ongoing("SAMPLING"))
        done, emitted = self.done.payload, self.token.payload
        last_reason: Any = Reason.STOPPED
        if limit:
            last_reason = Mux(c.filled[at], Reason.CONTEXT_FULL, Reason.STOPPED)
        m.d.comb += [
            emitted.token.eq(self.sampled_token[seat]),
            emitted.context.eq(self.seating.seats[seat].context),
            done.context.eq(at),
            done.tokens.eq(c.tokens[at]),
            done.cycles.eq(c.cycles[at]),
            done.reason.eq(
                Mux(
                    c.faulty[at],
                    Reason.FAULT,
                    Mux(
                        ~c.fed[at],
                        Reason.NO_PROMPT,
                        Mux(
                            c.ended[at],
                            Reason.END_OF_TEXT,
                            Mux(c.left[at] == 0, Reason.COUNT, last_reason),
                        ),
                    ),
                )
            ),
        ]
        with m.If(given_up):
            m.d.comb += done.reason.eq(Reason.WATCHDOG)
        looking = machine.ongoing("GATHER") | machine.ongoing("PICK")
        here = self.context
        m.d.comb += [
            self.running.eq(~looking | (taken != 0) | Cat(*c.active, *waits).any()),
            self.generating.eq(c.active[here]),
            self.occupied.eq(c.active[here] | waits[here] | seated.bit_select(here, 1)),
        ]
        return m

    def _queues(self, m: Module) -> PromptQueues:
        """Prompt tokens of each context: whether any wait, one is readable, and that one."""
        queues = PromptQueues(self.config.contexts, self.config.token_bits)
        # The rest of a prompt means nothing without its beginning.
        m.submodules.prompts = ResetInserter(self.hung)(queues)
        wiring.connect(m, wiring.flipped(self.prompt), queues.i)
        m.d.comb += [
            queues.context.eq(self.context),
            self.prompt_space.eq(queues.space),
        ]
        return queues

    def _requests(self, m: Module, c: Contexts, limit: int) -> None:
        """Take what a context is asked for."""
        contexts, request, here = self.config.contexts, self.generate.payload, self.context
        for k in range(contexts):
            with m.If(c.begun[k] & ~self.token.valid & ~self.done.valid):
                m.d.sync += c.cycles[k].eq(c.cycles[k] + 1)
            with m.If(self.loading | (self.reset_state & (here == k))):
                m.d.sync += [c.fresh[k].eq(1), c.fed[k].eq(0), c.faulty[k].eq(0)]
                if limit:
                    m.d.sync += c.filled[k].eq(0)
        m.d.comb += [
            self.generate.ready.eq(~c.active[here]),
            self.load_seed.eq(self.generate.valid & self.generate.ready),
            self.seed.eq(Mux(request.seed == 0, NO_SEED, request.seed)),
        ]
        with m.If(self.load_seed):
            m.d.sync += [
                self.greedy.bit_select(here, 1).eq(request.greedy),
                self.factor[here].eq(request.inv_temperature),
                c.left[here].eq(request.count),
                c.tokens[here].eq(0),
                c.cycles[here].eq(0),
                c.stopping[here].eq(0),
                c.heeds[here].eq(request.ends),
                c.ended[here].eq(0),
                c.active[here].eq(1),
            ]
        with m.If(self.stop & c.active[here]):
            m.d.sync += c.stopping[here].eq(1)

    def _sit(
        self,
        m: Module,
        c: Contexts,
        queues: PromptQueues,
        at: Signal,
        seat: Signal,
        seat_of: Array[Value],
        seated: Signal,
    ) -> None:
        """Give the next token of context `at` the next seat."""
        contexts = self.config.contexts
        chained = seated.bit_select(at, 1)
        mine = self.seating.seats[seat]
        m.d.comb += queues.pop.bit_select(at, 1).eq(~c.has_next[at])
        m.d.sync += [
            self.body_token[seat].eq(Mux(c.has_next[at], c.next_token[at], queues.first[at])),
            c.has_next[at].eq(0),
            mine.context.eq(at),
            mine.workspace.eq(at),
            mine.chained.eq(chained),
            mine.fresh.eq(c.fresh[at] & ~chained),
            seat_of[at].eq(seat),
            chained.eq(1),
        ]
        if contexts > 1:
            # Only a context's latest token may wait for its head; the one before makes room.
            with m.If(chained):
                before = seat_of[at]
                m.d.sync += self.seating.seats[before].workspace.eq(before + contexts)
