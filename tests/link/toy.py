"""A link with a memory and a small token machine behind it, and the machine's model."""

from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from setun.hw.link import Link

INFO = bytes(range(1, 100)) + bytes(30)
COUNTERS = 5
QUEUE = 96
SPACES = 2
WORDS = 512


def rotate(state: int) -> int:
    return (state << 1 | state >> 15) & 0xFFFF


class ToyModel:
    """What `ToyChip` computes: a 16-bit state that prompt tokens and time turn."""

    def __init__(self) -> None:
        self.state = 0

    def prompt(self, tokens: list[int]) -> None:
        for token in tokens:
            self.state = rotate(self.state) ^ token

    def generate(self, count: int, greedy: bool, inv_temperature: int, seed: int) -> list[int]:
        key = inv_temperature ^ inv_temperature >> 16 ^ seed ^ seed >> 16 ^ greedy
        tokens = []
        for index in range(count):
            self.state = rotate(self.state) ^ (key & 0xFFFF) ^ index
            tokens.append(self.state)
        return tokens


class ToyChip(wiring.Component):
    """`Link` with every core-side port answered, each after a random number of cycles."""

    rx: In(1, init=1)
    tx: Out(1, init=1)

    def __init__(self, divisor: int) -> None:
        self.divisor = divisor
        super().__init__()

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.link = link = Link(INFO, self.divisor, COUNTERS)
        m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx)]

        noise = Signal(32, init=0xACE1_1234)
        m.d.sync += noise.eq(Cat(noise[31] ^ noise[21] ^ noise[1] ^ noise[0], noise[:31]))

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

        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=16, depth=QUEUE)
        state, index, key, left = Signal(16), Signal(16), Signal(16), Signal(16)
        cycles = Signal(32)
        generating, offered, stopped, finished = Signal(), Signal(), Signal(), Signal()
        turned = Cat(state[15], state[:15])
        m.d.comb += [
            queue.w_data.eq(link.prompt.payload),
            queue.w_en.eq(link.prompt.valid & noise[7]),
            link.prompt.ready.eq(queue.w_rdy & noise[7]),
            link.prompt_space.eq(QUEUE - queue.level),
            link.generating.eq(generating),
            link.running.eq(generating | (queue.level != 0)),
            queue.r_en.eq(noise[9] & noise[2] & ~generating),
            link.generate.ready.eq((queue.level == 0) & ~generating & ~finished & noise[11]),
            link.token.valid.eq(offered),
            link.token.payload.eq(state),
            link.done.valid.eq(finished),
            link.done.payload.reason.eq(stopped),
            link.done.payload.tokens.eq(index),
            link.done.payload.cycles.eq(cycles),
        ]
        with m.If(queue.r_en & queue.r_rdy):
            m.d.sync += state.eq(turned ^ queue.r_data)
        asked = link.generate.payload
        with m.If(link.generate.valid & link.generate.ready):
            m.d.sync += [
                generating.eq(1),
                stopped.eq(0),
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
        with m.If(generating):
            m.d.sync += cycles.eq(cycles + 1)
            with m.If(link.stop):
                m.d.sync += stopped.eq(1)
            with m.If(offered):
                with m.If(link.token.ready):
                    m.d.sync += [offered.eq(0), index.eq(index + 1), left.eq(left - 1)]
            with m.Elif((left == 0) | stopped):
                m.d.sync += [generating.eq(0), finished.eq(1)]
            with m.Elif(noise[13]):
                m.d.sync += [offered.eq(1), state.eq(turned ^ key ^ index)]
        with m.If(link.done.valid & link.done.ready):
            m.d.sync += finished.eq(0)
        with m.If(link.reset_state):
            m.d.sync += state.eq(0)

        events = [
            link.reset_state,
            link.stop,
            link.prompt.valid & link.prompt.ready,
            link.token.valid & link.token.ready,
            link.done.valid & link.done.ready,
        ]
        for counter, event in zip(link.counters, events, strict=True):
            count = Signal(32)
            m.d.comb += counter.eq(count)
            m.d.sync += count.eq(count + event)
        return m
