"""Prompt tokens that wait for their turn: a queue for each context, all in one block RAM."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.hw.seats import number

PROMPT_DEPTH = 128  # prompt tokens queued on the chip for each context


class PromptQueues(wiring.Component):
    """`PROMPT_DEPTH` tokens for each context, the oldest of each at hand in a register.

    Parameters
    ----------
    contexts
        Queues.
    bits
        Of a token.

    Members
    -------
    context : In
        Whose queue `i` and `space` are about.
    i : In(stream of `bits`)
        Tokens; ready unless that queue is full.
    space : Out(8)
        Free entries of that queue.
    waiting : Out(1 per context)
        The queue holds a token.
    readable : Out(1 per context), first : Out(`bits` per context)
        The oldest token is at hand.
    pop : In(1 per context)
        Strobe while `readable`: take it.

    Latency: a token that is alone is readable `contexts` + 2 cycles after it was taken in, at the
    latest; so is the next one after a pop.
    """

    def __init__(self, contexts: int, bits: int) -> None:
        self.contexts, self.bits = contexts, bits
        super().__init__(
            {
                "context": In(number(contexts)),
                "i": In(stream.Signature(bits)),
                "space": Out(8),
                "waiting": Out(contexts),
                "readable": Out(contexts),
                "first": Out(data.ArrayLayout(bits, contexts)),
                "pop": In(contexts),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        every = range(self.contexts)
        m.submodules.tokens = tokens = memory.Memory(
            shape=self.bits, depth=PROMPT_DEPTH << ceil_log2(self.contexts), init=[]
        )
        write, read = tokens.write_port(), tokens.read_port()
        place = range(PROMPT_DEPTH)
        heads, tails = (
            Array(Signal(place, name=f"{n}{k}") for k in every) for n in ("head", "tail")
        )
        # `level` counts what `space` lacks, `stored` what is still in memory only.
        levels, stored = (
            Array(Signal(range(PROMPT_DEPTH + 1), name=f"{n}{k}") for k in every)
            for n in ("level", "stored")
        )
        here, turn, came = (Signal(number(self.contexts), name=n) for n in ("here", "turn", "came"))
        fetch, fetched = Signal(), Signal()
        m.d.comb += [
            here.eq(self.context),
            self.i.ready.eq(levels[here] != PROMPT_DEPTH),
            self.space.eq(PROMPT_DEPTH - levels[here]),
            write.en.eq(self.i.valid & self.i.ready),
            write.addr.eq(Cat(tails[here], here)),
            write.data.eq(self.i.payload),
            # One context after the other is looked at; its token comes a cycle later.
            fetch.eq(
                (stored[turn] != 0)
                & ~self.readable.bit_select(turn, 1)
                & ~(fetched & (came == turn))
            ),
            read.addr.eq(Cat(heads[turn], turn)),
        ]
        m.d.sync += [
            turn.eq(Mux(turn == self.contexts - 1, 0, turn + 1)),
            fetched.eq(fetch),
            came.eq(turn),
        ]
        for k in every:
            pushed, popped = write.en & (here == k), self.pop[k]
            mine = fetch & (turn == k)
            m.d.comb += self.waiting[k].eq(levels[k] != 0)
            m.d.sync += [
                tails[k].eq(tails[k] + pushed),
                heads[k].eq(heads[k] + mine),
                levels[k].eq(levels[k] + pushed - popped),
                stored[k].eq(stored[k] + pushed - mine),
            ]
            with m.If(popped):
                m.d.sync += self.readable[k].eq(0)
            with m.If(fetched & (came == k)):
                m.d.sync += [self.readable[k].eq(1), self.first[k].eq(read.data)]
        return m
