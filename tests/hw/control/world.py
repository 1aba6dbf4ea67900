"""What surrounds sequencer and generation in their benches: program memory, units, the link."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.queue import Queue
from cocotb.triggers import FallingEdge, ReadOnly

from bench import context
from bench.streams import StreamSink, StreamSource, unpack
from setun.firmware.config import ChipConfig
from setun.firmware.program import kernels
from setun.firmware.program.isa import WORDS, Instruction
from setun.hw.commands import array_command, embed_command, quantise_command, sink_command
from setun.hw.link.signature import DONE, GENERATE, token_layout
from setun.hw.seats import pass_layout

FOREVER = 1 << 60


@dataclass(frozen=True)
class Pass:
    """A run of the body, or of the head, and who sat where."""

    head: bool
    seats: list[dict[str, int]]
    seating: int  # the same, as it was on the wires

    @property
    def contexts(self) -> list[int]:
        return [seat["context"] for seat in self.seats]


@dataclass(frozen=True)
class Forgotten:
    """A context's state was reset, or that of all (None)."""

    context: int | None


@dataclass
class Seen:
    """What the sequencer asked for and what left for the link, in order."""

    commands: list[tuple[str, dict[str, int]]] = field(default_factory=list)
    restarts: int = 0
    samples: list[int] = field(default_factory=list)
    seeds: list[tuple[int, int]] = field(default_factory=list)  # (context, seed)
    log: list[Pass | Forgotten] = field(default_factory=list)
    sampled: list[tuple[int, int]] = field(default_factory=list)  # (context, token)
    emitted: list[tuple[int, int]] = field(default_factory=list)
    dones: list[dict[str, int]] = field(default_factory=list)

    @property
    def passes(self) -> list[Pass]:
        return [entry for entry in self.log if isinstance(entry, Pass)]

    def fed(self, where: int) -> int:
        """Tokens of a context that passes have carried."""
        return sum(p.contexts.count(where) for p in self.passes if not p.head)

    @property
    def bodies(self) -> int:
        return sum(len(p.seats) for p in self.passes if not p.head)

    @property
    def heads(self) -> int:
        return sum(len(p.seats) for p in self.passes if p.head)

    def tokens(self, where: int) -> list[int]:
        return [token for k, token in self.emitted if k == where]


class World:
    """Program memory, units and link; a matvec is stored some cycles after all units took it.

    `stall` is of the units, `wire` of the link that takes tokens and ends of generations.
    """

    def __init__(self, dut: Any, config: ChipConfig, stall: float, wire: float = 0.0) -> None:
        self.dut, self.config, self.stall = dut, config, stall
        self.random = context.generator("units")
        self.edge = FallingEdge(dut.clk)
        self.program: dict[int, int] = {}
        self.seen = Seen()
        self.outstanding: Queue[bool] = Queue()
        self.flying = 0
        self.next_token = 0
        self.hold = False  # store nothing
        self.tasks: list[Any] = []
        self.finished = [0] * config.contexts
        self.embed = StreamSink(dut, "embed", layout=embed_command(config))
        self.quantise = StreamSink(dut, "quantise", stall=stall, layout=quantise_command(config))
        self.prompts = StreamSource(dut, "prompt")
        self.generate = StreamSource(dut, "generate", layout=GENERATE)
        self.token = StreamSink(dut, "token", stall=wire, layout=token_layout(config.token_bits))
        self.done = StreamSink(dut, "done", stall=wire, layout=DONE)

    def load(self, program: Sequence[Instruction]) -> None:
        self.program = {}
        for at, instruction in enumerate(program):
            words = instruction.encode(self.config.vector)
            self.program[at] = sum(int(w) << (32 * k) for k, w in enumerate(words))

    def start(self) -> None:
        units = (
            self._memory(),
            self._embeds(),
            self._quantises(),
            self._matvecs(),
            self._stores(),
            self._tokens(),
            self._dones(),
        )
        self.tasks = [cocotb.start_soon(unit) for unit in units]

    async def end(self) -> None:
        """End the units and reset the device."""
        for task in self.tasks:
            task.cancel()
        self.dut.rst.value = 1
        await self.edge
        self.dut.rst.value = 0

    async def _memory(self) -> None:
        dut, at = self.dut, 0
        ran: bool | None = None  # whether the head began in the cycle before, or the body
        while True:
            await self.edge
            instruction, part = divmod(at, WORDS)
            word = self.program.get(instruction, 0) >> (32 * part) & 0xFFFFFFFF
            dut.program_data.value = word
            await ReadOnly()
            if ran is not None:
                seating = int(dut.seating.value)
                who = unpack(pass_layout(self.config), seating)
                self.seen.log.append(Pass(ran, who["seats"][: who["last"] + 1], seating))
            ran = None
            if dut.run_body.value or dut.run_head.value:
                ran = bool(dut.run_head.value)
            at = int(dut.program_address.value)
            self.seen.restarts += int(dut.restart_weights.value)
            if dut.load_seed.value:
                self.seen.seeds.append((int(dut.context.value), int(dut.seed.value)))
            if dut.sample_start.value:
                self.seen.samples.append(int(dut.sample_count.value))

    def _seated(self) -> None:
        now = int(self.dut.seating.value)
        assert now == self.seen.passes[-1].seating, "seats have changed in a pass"

    async def _embeds(self) -> None:
        while True:
            (word,) = await self.embed.receive(1, limit=FOREVER)
            self.seen.commands.append(("embed", word))

    async def _quantises(self) -> None:
        while True:
            (word,) = await self.quantise.receive(1, limit=FOREVER)
            self.seen.commands.append(("quantise", {**word, "flying": self.flying}))

    async def _matvecs(self) -> None:
        """All units are offered a matvec in the same cycle, or none takes it."""
        dut = self.dut
        layouts = {
            "array": array_command(self.config),
            "sink": sink_command(self.config),
            "weights": None,
        }
        while True:
            await self.edge
            for name in layouts:
                ready = self.random.random() >= self.stall
                getattr(dut, f"{name}__ready").value = int(ready)
            await ReadOnly()
            taken: list[tuple[str, dict[str, int]]] = []
            for name, layout in layouts.items():
                if getattr(dut, f"{name}__valid").value and getattr(dut, f"{name}__ready").value:
                    word = int(getattr(dut, f"{name}__payload").value)
                    taken.append((name, unpack(layout, word) if layout else {"words": word}))
            assert len(taken) in (0, 3), f"only {[name for name, _ in taken]} took a matvec"
            if taken:
                self._seated()
                self.seen.commands += taken
                self.flying += 1
                self.outstanding.put_nowait(taken[1][1]["kernel"] == kernels.SAMPLE.code)

    async def _stores(self) -> None:
        dut = self.dut
        while True:
            samples = await self.outstanding.get()
            for _ in range(self.random.randrange(1, 30)):
                await self.edge
            while self.hold:
                await self.edge
            self._seated()
            dut.stored.value = 1
            # The count falls as the strobe is taken: at the next rising edge.
            self.flying -= 1
            await self.edge
            dut.stored.value = 0
            if samples:
                for _ in range(self.random.randrange(1, 12)):
                    await self.edge
                word = 0
                for seat, where in enumerate(self.seen.passes[-1].contexts):
                    self.next_token += 1
                    word |= self.next_token << (16 * seat)
                    self.seen.sampled.append((where, self.next_token))
                dut.sampled_token.value = word
                dut.sampled.value = 1
                await self.edge
                dut.sampled.value = 0

    async def _tokens(self) -> None:
        while True:
            (word,) = await self.token.receive(1, limit=FOREVER)
            self.seen.emitted.append((word["context"], word["token"]))

    async def _dones(self) -> None:
        while True:
            self.seen.dones += await self.done.receive(1, limit=FOREVER)

    def _address(self, where: int) -> None:
        """The context that the link's next command names."""
        self.dut.context.value = where

    async def strobe(self, name: str, where: int = 0) -> None:
        """`stop`, `reset_state`, or `loading`, which is of all contexts."""
        self._address(where)
        getattr(self.dut, name).value = 1
        if name != "stop":
            self.seen.log.append(Forgotten(None if name == "loading" else where))
        await self.edge
        getattr(self.dut, name).value = 0

    async def prompt(self, tokens: Sequence[int], where: int = 0) -> None:
        self._address(where)
        await self.prompts.send(tokens)

    async def ask(
        self, count: int, where: int = 0, greedy: int = 1, seed: int = 77, ends: int = 0
    ) -> None:
        asked = {
            "count": count,
            "greedy": greedy,
            "inv_temperature": 0x155 + where,
            "seed": seed,
            "ends": ends,
        }
        self._address(where)
        await self.generate.send([asked])

    async def look(self, name: str, where: int = 0) -> int:
        """`prompt_space`, `generating` or `occupied` of a context."""
        self._address(where)
        await ReadOnly()
        value = int(getattr(self.dut, name).value)
        await self.edge
        return value

    async def until(self, what: Callable[[], bool], limit: int = 50_000) -> None:
        for _ in range(limit):
            if what():
                return
            await self.edge
        raise AssertionError(f"waited for {limit} cycles in vain")

    async def quiet(self) -> None:
        """Until the chip has nothing left to do."""
        await self.until(lambda: not self.dut.running.value)

    async def finish(self, where: int = 0) -> dict[str, int]:
        """The end of the oldest generation of a context that was not asked for before."""
        seen, number = self.seen, self.finished[where]
        ends: list[dict[str, int]] = []

        def come() -> bool:
            ends[:] = [done for done in seen.dones if done["context"] == where]
            return len(ends) > number

        await self.until(come)
        self.finished[where] += 1
        return ends[number]
