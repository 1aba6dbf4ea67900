"""Generation: prompt tokens in, sampled tokens out, one pass over the program at a time."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.firmware.numerics.functions import NO_SEED
from setun.hw.control.prompts import PromptQueues
from setun.hw.link.signature import DONE, GENERATE, TOKEN
from setun.hw.seats import number, pass_layout

SETTLE = 8  # cycles that a pass waits for the next token of the prompt that is coming in
REASON_COUNT, REASON_STOPPED, REASON_NO_PROMPT, REASON_FAULT, REASON_WATCHDOG = range(5)

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


class Generation(wiring.Component):
    """Seats the contexts' next tokens, feeds them in one pass, samples those that are wanted.

    A pass takes one token of every context that has one, then more tokens of prompts while seats
    are free. Whatever was emitted has been fed when its generation ends.

    Members
    -------
    context, prompt, prompt_space, generate, stop, reset_state, token, done
        The core's side of the link.
    running, generating, occupied
        Likewise: the core works; a generation of `context` is under way; `context` works.
    loading : In(1)
        Strobe: memory is being written; what was fed before means nothing to another model.
    idle, fault, sampled : In(1), sampled_token : In(16 per seat)
        From sequencer and sampler.
    run_body, run_head : Out(1), body_token : Out(16 per seat), seating : Out
        To the sequencer and all units; see `setun.hw.seats.pass_layout`.
    greedy : Out(1 per context), factor : Out(fmt.width per context)
        To the sampler.
    load_seed : Out(1), seed : Out(32)
        Likewise: noise of `context`.
    passing : Out(1), hung : In(1)
        A pass is under way; it is given up, and the units start over until `hung` is low again.
        All generations then end, and all contexts have been fed nothing.

    `done.reason`: 0 the count was reached, 1 stopped, 2 there is no prompt, 3 the program has an
    unknown operation (blank or damaged memory), 4 its pass did not end. `done.cycles` counts from
    the end of the prompt and leaves out the waits for the wire.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        contexts = config.contexts
        super().__init__(
            {
                "context": In(number(contexts)),
                "prompt": In(stream.Signature(16)),
                "prompt_space": Out(8),
                "generate": In(stream.Signature(GENERATE)),
                "stop": In(1),
                "reset_state": In(1),
                "token": Out(stream.Signature(TOKEN)),
                "done": Out(stream.Signature(DONE)),
                "running": Out(1),
                "generating": Out(1),
                "occupied": Out(1),
                "loading": In(1),
                "idle": In(1),
                "fault": In(1),
                "sampled": In(1),
                "sampled_token": In(data.ArrayLayout(16, contexts)),
                "run_body": Out(1),
                "run_head": Out(1),
                "body_token": Out(data.ArrayLayout(16, contexts)),
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
        self._queues(m)
        self._requests(m)
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
        has_next, waiting = self.has_next[at], self.waiting[at]
        take = has_next | self.readable[at]
        wanted = self.active[at] & ~waiting & ~has_next
        over = self.faulty[at] | ~self.fed[at] | self.stopping[at] | (self.left[at] == 0)
        m.d.comb += seat.eq(taken)
        given_up = Signal()  # the last pass was
        with m.If(self.sampled):
            m.d.sync += sampled.eq(1)
        for k in every:
            with m.If(self.fault & seated[k]):
                m.d.sync += self.faulty[k].eq(1)

        def next_context() -> None:
            m.d.sync += at.eq(Mux(last, 0, at + 1))

        with m.FSM() as machine:
            # Round after round over the contexts, until a round finds nothing or seats run out.
            with m.State("GATHER"):
                next_context()
                m.d.sync += given_up.eq(0)
                m.d.sync += idle_round.eq(last | (idle_round & ~(take | waiting)))
                with m.If(take):
                    self._sit(m, at, seat, row_of, seated)
                    m.d.sync += taken.eq(taken + 1)
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
                            m.d.sync += [self.fresh[k].eq(0), self.fed[k].eq(1)]
                    m.d.sync += [seated.eq(0), taken.eq(0)]
                    m.next = "PICK"
                with m.If(self.hung):
                    m.next = "HUNG"
            # Whose logits are wanted, and whose generation has ended.
            with m.State("PICK"):
                next_context()
                with m.If(wanted):
                    m.d.sync += self.begun[at].eq(1)
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
                    m.d.sync += [self.active[at].eq(0), self.begun[at].eq(0)]
                    m.next = "PICK"
            with m.State("HEAD"):
                m.d.comb += self.run_head.eq(1)
                m.d.sync += [self.seating.last.eq(taken - 1), sampled.eq(0)]
                m.next = "SAMPLING"
            with m.State("SAMPLING"):
                with m.If((Cat(*self.faulty) & seated).any()):
                    m.d.sync += [seated.eq(0), taken.eq(0)]
                    m.next = "PICK"
                with m.Elif(self.idle & sampled):
                    m.d.sync += taken.eq(0)
                    m.next = "EMIT"
                with m.If(self.hung):
                    m.next = "HUNG"
            with m.State("EMIT"):
                whose = self.seating.seats[seat].context
                m.d.comb += self.token.valid.eq(1)
                with m.If(self.token.ready):
                    m.d.sync += [
                        self.has_next[whose].eq(1),
                        self.next_token[whose].eq(self.sampled_token[seat]),
                        self.left[whose].eq(self.left[whose] - 1),
                        self.tokens[whose].eq(self.tokens[whose] + 1),
                        taken.eq(taken + 1),
                    ]
                    with m.If(seat == self.seating.last):
                        m.d.sync += [seated.eq(0), taken.eq(0)]
                        m.next = "GATHER"
            with m.State("HUNG"), m.If(~self.hung):
                m.d.sync += [seated.eq(0), taken.eq(0), at.eq(0), given_up.eq(1)]
                for k in every:
                    m.d.sync += [self.has_next[k].eq(0), self.faulty[k].eq(0)]
                    m.d.sync += [self.fresh[k].eq(1), self.fed[k].eq(0)]
                m.next = "PICK"
        m.d.comb += self.passing.eq(machine.ongoing("FEEDING") | machine.ongoing("SAMPLING"))
        done, emitted = self.done.payload, self.token.payload
        m.d.comb += [
            emitted.token.eq(self.sampled_token[seat]),
            emitted.context.eq(self.seating.seats[seat].context),
            done.context.eq(at),
            done.tokens.eq(self.tokens[at]),
            done.cycles.eq(self.cycles[at]),
            done.reason.eq(
                Mux(
                    self.faulty[at],
                    REASON_FAULT,
                    Mux(
                        ~self.fed[at],
                        REASON_NO_PROMPT,
                        Mux(self.left[at] == 0, REASON_COUNT, REASON_STOPPED),
                    ),
                )
            ),
        ]
        with m.If(given_up):
            m.d.comb += done.reason.eq(REASON_WATCHDOG)
        looking = machine.ongoing("GATHER") | machine.ongoing("PICK")
        here = self.context
        m.d.comb += [
            self.running.eq(~looking | (taken != 0) | Cat(*self.active, *self.waiting).any()),
            self.generating.eq(self.active[here]),
            self.occupied.eq(self.active[here] | self.waiting[here] | seated.bit_select(here, 1)),
        ]
        return m

    def _queues(self, m: Module) -> None:
        """Prompt tokens of each context: whether any wait, one is readable, and that one."""
        queues = PromptQueues(self.config.contexts)
        # The rest of a prompt means nothing without its beginning.
        m.submodules.prompts = ResetInserter(self.hung)(queues)
        wiring.connect(m, wiring.flipped(self.prompt), queues.i)
        m.d.comb += [
            queues.context.eq(self.context),
            self.prompt_space.eq(queues.space),
        ]
        self.waiting, self.readable = Array(queues.waiting), Array(queues.readable)
        self.queued = queues.first
        self.pops = queues.pop

    def _requests(self, m: Module) -> None:
        """What each context has been asked for, and what has become of it."""
        contexts, request, here = self.config.contexts, self.generate.payload, self.context

        def registers(name: str, shape: Any = 1, init: int = 0) -> Array[Value]:
            signals = [Signal(shape, name=f"{name}{k}", init=init) for k in range(contexts)]
            return Array(signals)

        self.fresh, self.fed = registers("fresh", init=1), registers("fed")
        self.faulty = registers("faulty")  # a pass with its token met an unknown operation
        self.active, self.begun, self.stopping = map(registers, ("active", "begun", "stopping"))
        self.has_next, self.next_token = registers("has_next"), registers("next_token", 16)
        self.left, self.tokens = registers("left", 16), registers("tokens", 16)
        self.cycles = registers("cycles", 32)
        for k in range(contexts):
            with m.If(self.begun[k] & ~self.token.valid & ~self.done.valid):
                m.d.sync += self.cycles[k].eq(self.cycles[k] + 1)
            with m.If(self.loading | (self.reset_state & (here == k))):
                m.d.sync += [self.fresh[k].eq(1), self.fed[k].eq(0), self.faulty[k].eq(0)]
        m.d.comb += [
            self.generate.ready.eq(~self.active[here]),
            self.load_seed.eq(self.generate.valid & self.generate.ready),
            self.seed.eq(Mux(request.seed == 0, NO_SEED, request.seed)),
        ]
        with m.If(self.load_seed):
            m.d.sync += [
                self.greedy.bit_select(here, 1).eq(request.greedy),
                self.factor[here].eq(request.inv_temperature),
                self.left[here].eq(request.count),
                self.tokens[here].eq(0),
                self.cycles[here].eq(0),
                self.stopping[here].eq(0),
                self.active[here].eq(1),
            ]
        with m.If(self.stop & self.active[here]):
            m.d.sync += self.stopping[here].eq(1)

    def _sit(
        self, m: Module, at: Signal, seat: Signal, seat_of: Array[Value], seated: Signal
    ) -> None:
        """Give the next token of context `at` the next seat."""
        contexts = self.config.contexts
        chained = seated.bit_select(at, 1)
        mine = self.seating.seats[seat]
        m.d.comb += self.pops.bit_select(at, 1).eq(~self.has_next[at])
        m.d.sync += [
            self.body_token[seat].eq(Mux(self.has_next[at], self.next_token[at], self.queued[at])),
            self.has_next[at].eq(0),
            mine.context.eq(at),
            mine.workspace.eq(at),
            mine.chained.eq(chained),
            mine.fresh.eq(self.fresh[at] & ~chained),
            seat_of[at].eq(seat),
            chained.eq(1),
        ]
        if contexts > 1:
            # Only a context's latest token may wait for its head; the one before makes room.
            with m.If(chained):
                before = seat_of[at]
                m.d.sync += self.seating.seats[before].workspace.eq(before + contexts)
