"""A link with a memory and small token machines behind it, and the machines' model."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from setun.firmware.image.terminal_tables import NO_TOKEN
from setun.firmware.link.messages import Reason
from setun.hw.link import Link
from setun.hw.link.link import host_members
from setun.hw.link.sharing import silence_bits
from setun.hw.link.signature import DONE, GENERATE, Ties, token_layout
from setun.hw.small.pulse import Pulse

INFO = bytes(range(1, 100)) + bytes(30)
COUNTERS = 6
QUEUE = 96
PLACES = 3  # for tokens that end a text
SPACES = 2
WORDS = 512


def rotate(state: int) -> int:
    return (state << 1 | state >> 15) & 0xFFFF


def fold(bits: int) -> int:
    return (bits ^ bits >> 5 ^ bits >> 10 ^ bits >> 15) & 31


def ends_with(token: int, end: int) -> bool:
    """Whether the toy takes `token` for one that ends a text: each 32nd, all bits count."""
    return end != NO_TOKEN and fold(token) == fold(end)


class ToyModel:
    """What a context of `ToyChip` computes: a 16-bit state that prompt tokens and time turn."""

    def __init__(self) -> None:
        self.state = 0

    def prompt(self, tokens: list[int]) -> None:
        for token in tokens:
            self.state = rotate(self.state) ^ token

    def generate(
        self,
        count: int,
        greedy: bool,
        inv_temperature: int,
        seed: int,
        ends: Sequence[int] = (),
    ) -> list[int]:
        key = inv_temperature ^ inv_temperature >> 16 ^ seed ^ seed >> 16 ^ greedy
        tokens = []
        for index in range(count):
            self.state = rotate(self.state) ^ (key & 0xFFFF) ^ index
            tokens.append(self.state)
            if any(ends_with(self.state, end) for end in ends):
                break
        return tokens


class ToyContext(wiring.Component):
    """One context: takes a request at once, begins it when its prompt is consumed.

    `here` selects it for `prompt`, `generate`, `stop` and `reset_state`; `noise` makes it slow:
    a queued token waits for 128 cycles on average, so that a prompt takes longer to consume than
    to send.
    """

    here: In(1)
    noise: In(16)
    prompt: In(stream.Signature(16))
    prompt_space: Out(8)
    generate: In(stream.Signature(GENERATE))
    end_tokens: In(16 * PLACES)
    stop: In(1)
    reset_state: In(1)
    token: Out(stream.Signature(token_layout(16)))
    done: Out(stream.Signature(DONE))
    generating: Out(1)
    occupied: Out(1)
    violated: Out(1)

    def __init__(self, context: int) -> None:
        self.context = context
        super().__init__()

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        noise, asked = self.noise, self.generate.payload
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=16, depth=QUEUE)
        state, index, key, left = Signal(16), Signal(16), Signal(16), Signal(16)
        cycles = Signal(32)
        begun, stopped, heeds, ended = Signal(), Signal(), Signal(), Signal()
        offered, finished = self.token.valid, self.done.valid
        turned = Cat(state[15], state[:15])
        takes = self.here & self.generate.valid
        feeds = self.here & self.prompt.valid
        m.d.comb += [
            queue.w_data.eq(self.prompt.payload),
            queue.w_en.eq(feeds & noise[0]),
            self.prompt.ready.eq(queue.w_rdy & noise[0]),
            self.prompt_space.eq(QUEUE - queue.level),
            self.occupied.eq(self.generating | (queue.level != 0)),
            queue.r_en.eq(noise[8:15].all() & ~begun),
            self.generate.ready.eq(~self.generating),
            self.token.payload.token.eq(state),
            self.token.payload.context.eq(self.context),
            self.done.payload.reason.eq(Mux(ended, Reason.END_OF_TEXT, stopped)),
            self.done.payload.tokens.eq(index),
            self.done.payload.cycles.eq(cycles),
            self.done.payload.context.eq(self.context),
            # What the link promises.
            self.violated.eq(
                (takes & self.generating)
                | (feeds & self.generating)
                | (self.here & self.reset_state & self.occupied)
            ),
        ]
        with m.If(queue.r_en & queue.r_rdy):
            m.d.sync += state.eq(turned ^ queue.r_data)
        with m.If(takes):
            m.d.sync += [
                self.generating.eq(1),
                stopped.eq(0),
                ended.eq(0),
                heeds.eq(asked.ends),
                cycles.eq(0),
                index.eq(0),
                left.eq(asked.count),
                key.eq(
                    asked.inv_temperature[:16]
                    ^ asked.inv_temperature[16:]
                    ^ asked.seed[:16]
                    ^ asked.seed[16:]
                    ^ asked.greedy
                ),
            ]
        with m.If(self.generating):
            with m.If(self.here & self.stop):
                m.d.sync += stopped.eq(1)
            with m.If(~begun):
                m.d.sync += begun.eq((queue.level == 0) & noise[3])
        with m.If(begun & ~finished):
            m.d.sync += cycles.eq(cycles + 1)
            with m.If(offered):
                with m.If(self.token.ready):
                    m.d.sync += [offered.eq(0), index.eq(index + 1), left.eq(left - 1)]
                    with m.If(heeds & self._ends(state)):
                        m.d.sync += [left.eq(0), ended.eq(1)]
            with m.Elif((left == 0) | stopped | ended):
                m.d.sync += finished.eq(1)
            with m.Elif(noise[4]):
                m.d.sync += [offered.eq(1), state.eq(turned ^ key ^ index)]
        with m.If(self.done.valid & self.done.ready):
            m.d.sync += [finished.eq(0), begun.eq(0), self.generating.eq(0)]
        with m.If(self.here & self.reset_state):
            m.d.sync += state.eq(0)
        return m

    def _ends(self, state: Signal) -> Value:
        def fold(bits: Any) -> Value:
            return bits[:5] ^ bits[5:10] ^ bits[10:15] ^ bits[15]

        ends = [self.end_tokens.word_select(k, 16) for k in range(PLACES)]
        return Cat((end != NO_TOKEN) & (fold(end) == fold(state)) for end in ends).any()


class ToyChip(wiring.Component):
    """`Link` with every core-side port answered, each after a random number of cycles.

    Its counters: state resets, stops, prompt tokens, tokens, ends, broken promises of the link.
    With `text`, words of the space TEXT, it has a terminal; `shared` is that of the link's ties.
    """

    def __init__(
        self,
        divisor: int,
        contexts: int = 1,
        text: Sequence[int] = (),
        *,
        shared: bool = False,
        mailbox: bool = False,
    ) -> None:
        self.mailbox = mailbox
        self.divisor = divisor
        self.contexts = contexts
        self.text = text
        self.ties = Ties(
            counters=COUNTERS,
            contexts=contexts,
            terminal=bool(text),
            ends=PLACES,
            shared=shared,
        )
        super().__init__(host_members(mailbox))

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.link = link = Link(INFO, self.divisor, self.ties, mailbox=self.mailbox)
        if self.mailbox:
            wiring.connect(m, wiring.flipped(self.host), link.host)
        else:
            m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx)]

        noise = Signal(32, init=0xACE1_1234)
        m.d.sync += noise.eq(Cat(noise[31] ^ noise[21] ^ noise[1] ^ noise[0], noise[:31]))
        self._memory(m, link, noise)
        if self.text:
            m.submodules.text = text = Memory(shape=9, depth=1024, init=self.text)
            self._lookup(m, link, text.read_port(), noise)

        toys = [ToyContext(k) for k in range(self.contexts)]
        for k, toy in enumerate(toys):
            m.submodules[f"toy{k}"] = toy
            m.d.comb += [
                toy.here.eq(link.context == k),
                toy.noise.eq(noise.rotate_left(7 * k)[7:23]),
                toy.prompt.valid.eq(link.prompt.valid),
                toy.prompt.payload.eq(link.prompt.payload),
                toy.generate.valid.eq(link.generate.valid),
                toy.generate.payload.eq(link.generate.payload),
                toy.end_tokens.eq(link.end_tokens),
                toy.stop.eq(link.stop),
                toy.reset_state.eq(link.reset_state),
            ]
        m.d.comb += [
            link.prompt.ready.eq(Array(toy.prompt.ready for toy in toys)[link.context]),
            link.prompt_space.eq(Array(toy.prompt_space for toy in toys)[link.context]),
            link.generate.ready.eq(Array(toy.generate.ready for toy in toys)[link.context]),
            link.generating.eq(Array(toy.generating for toy in toys)[link.context]),
            link.occupied.eq(Array(toy.occupied for toy in toys)[link.context]),
            link.running.eq(Cat(toy.occupied for toy in toys).any()),
        ]
        self._merge(m, [toy.token for toy in toys], link.token)
        self._merge(m, [toy.done for toy in toys], link.done)

        broken = Cat(toy.violated for toy in toys).any() | (link.bus_req.valid & link.running)
        if self.contexts == 1:
            asked = Signal.like(link.generate.payload)
            with m.If(link.generate.valid):
                m.d.sync += asked.eq(link.generate.payload)
            broken |= link.generating & (asked != link.generate.payload)
        reaches = link.context < self.contexts
        strobes = link.prompt.valid | link.generate.valid | link.stop | link.reset_state
        events = [
            link.reset_state,
            link.stop,
            link.prompt.valid & link.prompt.ready,
            link.token.valid & link.token.ready,
            link.done.valid & link.done.ready,
            broken | (strobes & ~reaches),
        ]
        for counter, event in zip(link.counters, events, strict=True):
            count = Signal(32)
            m.d.comb += counter.eq(count)
            m.d.sync += count.eq(count + event)
        return m

    def _lookup(self, m: Module, link: Link, port: Any, noise: Signal) -> None:
        """Words of the space TEXT, three cycles late; whenever it likes of a shared memory."""
        if not self.ties.shared:
            address = Signal(10)
            m.d.sync += address.eq(link.text_address)
            m.d.comb += [port.addr.eq(address), link.text.eq(port.data)]
            return
        m.submodules.pulse = pulse = Pulse(32, (silence_bits(self.divisor),))
        found = link.text_found
        m.d.sync += found.eq(link.text_wanted & ~found & noise[2] & noise[9])
        m.d.comb += [
            port.addr.eq(link.text_address),
            link.text.eq(Mux(found, port.data, noise)),
            link.strobe.eq(pulse.strobes),
        ]

    def _memory(self, m: Module, link: Link, noise: Signal) -> None:
        m.submodules.memory = memory = Memory(shape=32, depth=SPACES * WORDS, init=[])
        write, read = memory.write_port(), memory.read_port()
        request = link.bus_req.payload
        address = Cat(request.address[:9], request.space[:1])
        waiting = Signal()
        m.d.comb += [
            write.addr.eq(address),
            read.addr.eq(address),
            write.data.eq(request.data),
            link.bus_req.ready.eq(~waiting & noise[3]),
            write.en.eq(link.bus_req.valid & link.bus_req.ready & request.write),
            read.en.eq(link.bus_req.valid & link.bus_req.ready & ~request.write),
            link.bus_rsp.valid.eq(waiting & noise[5]),
            link.bus_rsp.payload.eq(read.data),
        ]
        with m.If(read.en):
            m.d.sync += waiting.eq(1)
        with m.If(link.bus_rsp.valid & link.bus_rsp.ready):
            m.d.sync += waiting.eq(0)

    def _merge(self, m: Module, sources: list[Any], target: Any) -> None:
        """The contexts' streams in turn; a context that has nothing loses its turn."""
        turn = Signal(range(max(2, len(sources))))
        valid = Array(source.valid for source in sources)[turn]
        m.d.comb += [
            target.valid.eq(valid),
            target.payload.eq(Array(source.payload.as_value() for source in sources)[turn]),
        ]
        for k, source in enumerate(sources):
            m.d.comb += source.ready.eq(target.ready & (turn == k))
        with m.If(~valid | target.ready):
            m.d.sync += turn.eq(Mux(turn == len(sources) - 1, 0, turn + 1))
