"""One conversation of the small core: prompt tokens in, sampled tokens out, a pass for each."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.firmware.core_kinds import SMALL
from setun.firmware.link.messages import Reason
from setun.firmware.numerics.functions import NO_SEED
from setun.hw.control.prompts import PROMPT_DEPTH
from setun.hw.link.signature import DONE, GENERATE, token_layout
from setun.hw.small.control import pointer

BITS = SMALL.token_bits


class PromptQueue(wiring.Component):
    """`PROMPT_DEPTH` tokens in block RAM.

    Members
    -------
    i : In(stream of BITS)
        Tokens. Always ready: no more may come than there is space for.
    space : Out(8)
        Free entries.
    waiting : Out(1)
        The queue holds a token.
    readable : Out(1), first : Out(BITS)
        The oldest one is at hand.
    pop : In(1)
        Strobe while `readable`: take it.
    clear : In(1)
        Forget all; what comes in such a cycle too.

    Latency: a token that is alone is readable 2 cycles after it was taken in; so is the next one
    after a pop.
    """

    i: In(stream.Signature(BITS))
    space: Out(8)
    waiting: Out(1)
    readable: Out(1)
    first: Out(BITS)
    pop: In(1)
    clear: In(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tokens = tokens = memory.Memory(shape=BITS, depth=PROMPT_DEPTH, init=[])
        write, read = tokens.write_port(), tokens.read_port()
        head, tail = Signal(range(2 * PROMPT_DEPTH)), Signal(range(2 * PROMPT_DEPTH))
        m.d.comb += [
            self.i.ready.eq(1),
            self.space.eq(head + PROMPT_DEPTH - tail),
            self.waiting.eq(head != tail),
            write.en.eq(self.i.valid),
            write.addr.eq(tail),
            write.data.eq(self.i.payload),
            read.addr.eq(head),
            self.first.eq(read.data),
        ]
        m.d.sync += [
            head.eq(head + self.pop),
            tail.eq(tail + self.i.valid),
            self.readable.eq(self.waiting & ~self.pop),
        ]
        with m.If(self.clear):
            m.d.sync += [head.eq(0), tail.eq(0), self.readable.eq(0)]
        return m


class SmallGeneration(wiring.Component):
    """Feeds the conversation's next token, or samples one that is wanted, or ends a generation.

    Whatever was emitted has been fed when its generation ends.

    Members
    -------
    prompt, prompt_space, generate, end_tokens, stop, reset_state, token, done, running, generating,
    occupied
        The core's side of the link. What `generate` shows is looked at until `done` is taken.
    loading : In(1)
        Strobe: memory is being written; what was fed before means nothing to another model.
    idle, fault, sampled : In(1), sampled_token : In(BITS)
        From control and sampler; the latter until the next one.
    run_body, run_head : Out(1), body_token : Out
        To the control; the token holds in the cycle of its strobe.
    fresh : Out(1)
        The recurrent state reads as zero.
    load_seed : Out(1), seed : Out(32)
        To the sampler.
    passing : Out(1), hung : In(1), give_up : Out(1)
        A pass is under way; it is given up, in the same cycle; the control is held in reset, and
        the array stopped, until all is at rest. The generation then ends, and the context has been
        fed nothing.

    `done` as of `setun.hw.control.generation.Generation`.
    """

    def __init__(self, config: ChipConfig) -> None:
        super().__init__(
            {
                "prompt": In(stream.Signature(BITS)),
                "prompt_space": Out(8),
                "generate": In(stream.Signature(GENERATE)),
                "end_tokens": In(BITS * config.core.ends),
                "stop": In(1),
                "reset_state": In(1),
                "token": Out(stream.Signature(token_layout(BITS))),
                "done": Out(stream.Signature(DONE)),
                "running": Out(1),
                "generating": Out(1),
                "occupied": Out(1),
                "loading": In(1),
                "idle": In(1),
                "fault": In(1),
                "sampled": In(1),
                "sampled_token": In(BITS),
                "run_body": Out(1),
                "run_head": Out(1),
                "body_token": Out(pointer(config)),
                "fresh": Out(1, init=1),
                "load_seed": Out(1),
                "seed": Out(32),
                "passing": Out(1),
                "hung": In(1),
                "give_up": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.prompts = prompts = PromptQueue()
        wiring.connect(m, wiring.flipped(self.prompt), prompts.i)
        request, done = self.generate.payload, self.done.payload
        fed, faulty, active, begun, stopping = (
            Signal(name=name) for name in ("fed", "faulty", "active", "begun", "stopping")
        )
        has_next, sampled, complete, ended = Signal(), Signal(), Signal(), Signal()
        known = self.end_tokens
        ends = range(len(known) // BITS)
        last_one = Cat(known.word_select(k, BITS) == self.sampled_token for k in ends).any()
        tokens, cycles, reason = Signal(16), Signal(32), Signal(Reason)
        m.d.comb += [
            self.prompt_space.eq(prompts.space),
            prompts.clear.eq(self.give_up),
            self.body_token.eq(Mux(has_next, self.sampled_token, prompts.first)),
            self.generate.ready.eq(~active),
            self.load_seed.eq(self.generate.valid & ~active),
            self.seed.eq(Mux(request.seed == 0, NO_SEED, request.seed)),
            complete.eq(tokens == request.count),
            self.token.payload.token.eq(self.sampled_token),
            done.tokens.eq(tokens),
            done.cycles.eq(cycles),
            done.reason.eq(reason),
            reason.eq(
                Mux(
                    faulty,
                    Reason.FAULT,
                    Mux(
                        ~fed,
                        Reason.NO_PROMPT,
                        Mux(
                            ended,
                            Reason.END_OF_TEXT,
                            Mux(complete, Reason.COUNT, Reason.STOPPED),
                        ),
                    ),
                )
            ),
        ]
        with m.If(begun & ~self.token.valid & ~self.done.valid):
            m.d.sync += cycles.eq(cycles + 1)
        with m.If(self.load_seed):
            m.d.sync += [active.eq(1), stopping.eq(0), ended.eq(0), tokens.eq(0), cycles.eq(0)]
        with m.Elif(self.stop):
            m.d.sync += stopping.eq(1)
        with m.If(self.sampled):
            m.d.sync += sampled.eq(1)
        with m.FSM() as machine:
            with m.State("CHOOSE"):
                m.d.sync += sampled.eq(0)
                with m.If(has_next | prompts.readable):
                    m.d.comb += [self.run_body.eq(1), prompts.pop.eq(~has_next)]
                    m.d.sync += has_next.eq(0)
                    m.next = "FEEDING"
                with m.Elif(active & ~prompts.waiting):
                    m.d.sync += begun.eq(1)
                    with m.If(faulty | ~fed | stopping | ended | complete):
                        m.next = "DONE"
                    with m.Else():
                        m.d.comb += self.run_head.eq(1)
                        m.next = "SAMPLING"
            with m.State("FEEDING"):
                with m.If(self.idle):
                    m.d.sync += [self.fresh.eq(0), fed.eq(1)]
                    m.next = "CHOOSE"
                with m.If(self.hung):
                    m.next = "HUNG"
            with m.State("SAMPLING"):
                with m.If(faulty):
                    m.next = "CHOOSE"
                with m.Elif(self.idle & sampled):
                    m.next = "EMIT"
                with m.If(self.hung):
                    m.next = "HUNG"
            with m.State("EMIT"):
                m.d.comb += self.token.valid.eq(1)
                with m.If(self.token.ready):
                    m.d.sync += [has_next.eq(1), tokens.eq(tokens + 1)]
                    m.d.sync += ended.eq(last_one & request.ends)
                    m.next = "CHOOSE"
            with m.State("HUNG"):
                m.d.comb += self.give_up.eq(1)
                m.d.sync += [self.fresh.eq(1), fed.eq(0), faulty.eq(0)]
                with m.If(self.idle):
                    m.next = "GIVEN UP"
            with m.State("GIVEN UP"):
                m.d.comb += [self.done.valid.eq(active), reason.eq(Reason.WATCHDOG)]
                with m.If(self.done.ready | ~active):
                    m.d.sync += [active.eq(0), begun.eq(0)]
                    m.next = "CHOOSE"
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.d.sync += [active.eq(0), begun.eq(0)]
                    m.next = "CHOOSE"
        with m.If(self.fault):
            m.d.sync += faulty.eq(1)
        with m.If(self.loading | self.reset_state):
            m.d.sync += [self.fresh.eq(1), fed.eq(0), faulty.eq(0)]
        m.d.comb += [
            self.passing.eq(machine.ongoing("FEEDING") | machine.ongoing("SAMPLING")),
            self.running.eq(~machine.ongoing("CHOOSE") | active | prompts.waiting),
            self.occupied.eq(self.running),
            self.generating.eq(active),
        ]
        return m
