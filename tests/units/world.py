"""What surrounds sequencer and generation in their benches: program memory, units, the link."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cocotb
from bench import context
from bench.streams import StreamSink, StreamSource
from cocotb.queue import Queue
from cocotb.triggers import FallingEdge, ReadOnly

from setun.firmware.config import ChipConfig
from setun.firmware.isa import Instruction, Kernel
from setun.hw.array import MATVEC
from setun.hw.link.signature import DONE, GENERATE
from setun.hw.quantiser import quantise_command
from setun.hw.sequencer import Sequencer
from setun.hw.sink import sink_command

FOREVER = 1 << 60


@dataclass
class Seen:
    """What the sequencer asked for, in order."""

    commands: list[tuple[str, dict[str, int]]] = field(default_factory=list)
    restarts: int = 0
    bodies: int = 0
    heads: int = 0
    samples: list[int] = field(default_factory=list)


class World:
    """Program memory and units; a matvec is stored some cycles after both units took it."""

    def __init__(self, dut: Any, config: ChipConfig, stall: float) -> None:
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
        self.embed = StreamSink(dut, "embed", layout=Sequencer(config).embed.payload.shape())
        self.quantise = StreamSink(dut, "quantise", stall=stall, layout=quantise_command(config))
        self.prompt = StreamSource(dut, "prompt")
        self.generate = StreamSource(dut, "generate", layout=GENERATE)
        self.token = StreamSink(dut, "token", stall=stall)
        self.done = StreamSink(dut, "done", layout=DONE)

    def load(self, program: Sequence[Instruction]) -> None:
        self.program = {}
        for at, instruction in enumerate(program):
            words = instruction.encode(self.config.vector)
            self.program[at] = sum(int(w) << (32 * k) for k, w in enumerate(words))

    def start(self) -> None:
        units = (self._memory(), self._embeds(), self._quantises(), self._matvecs(),
                 self._stores())  # fmt: skip
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
        while True:
            await self.edge
            dut.program_data.value = self.program.get(at, 0)
            await ReadOnly()
            at = int(dut.program_address.value)
            self.seen.restarts += int(dut.restart_weights.value)
            self.seen.bodies += int(dut.run_body.value)
            self.seen.heads += int(dut.run_head.value)
            if dut.sample_start.value:
                self.seen.samples.append(int(dut.sample_count.value))

    async def _embeds(self) -> None:
        while True:
            (word,) = await self.embed.receive(1, limit=FOREVER)
            self.seen.commands.append(("embed", word))

    async def _quantises(self) -> None:
        while True:
            (word,) = await self.quantise.receive(1, limit=FOREVER)
            self.seen.commands.append(("quantise", {**word, "flying": self.flying}))

    async def _matvecs(self) -> None:
        """Both units are offered a matvec in the same cycle, or neither takes it."""
        dut, layouts = self.dut, {"array": MATVEC, "sink": sink_command(self.config)}
        while True:
            await self.edge
            for name in layouts:
                ready = self.random.random() >= self.stall
                getattr(dut, f"{name}__ready").value = int(ready)
            await ReadOnly()
            taken = []
            for name, layout in layouts.items():
                if getattr(dut, f"{name}__valid").value and getattr(dut, f"{name}__ready").value:
                    word = layout.from_bits(int(getattr(dut, f"{name}__payload").value))
                    taken.append((name, {key: int(word[key]) for key, _ in layout}))
            assert len(taken) in (0, 2), f"only {taken[0][0]} took a matvec"
            if taken:
                self.seen.commands += taken
                self.flying += 1
                self.outstanding.put_nowait(taken[1][1]["kernel"] == Kernel.SAMPLE)

    async def _stores(self) -> None:
        dut = self.dut
        while True:
            samples = await self.outstanding.get()
            for _ in range(self.random.randrange(1, 30)):
                await self.edge
            while self.hold:
                await self.edge
            dut.stored.value = 1
            # The count falls as the strobe is taken: at the next rising edge.
            self.flying -= 1
            await self.edge
            dut.stored.value = 0
            if samples:
                for _ in range(self.random.randrange(1, 12)):
                    await self.edge
                self.next_token += 1
                dut.sampled_token.value = self.next_token
                dut.sampled.value = 1
                await self.edge
                dut.sampled.value = 0
                dut.sampled_token.value = self.next_token

    async def strobe(self, name: str) -> None:
        getattr(self.dut, name).value = 1
        await self.edge
        getattr(self.dut, name).value = 0

    async def ask(self, count: int, greedy: int = 1) -> None:
        asked = {"count": count, "greedy": greedy, "inv_temperature": 0x155, "seed": 77}
        await self.generate.send([asked])

    async def quiet(self) -> None:
        """Until the chip has nothing left to do."""
        for _ in range(20_000):
            await self.edge
            if not self.dut.running.value:
                return
        raise AssertionError("still running after 20000 cycles")

    async def finish(self) -> dict[str, int]:
        (done,) = await self.done.receive(1, limit=50_000)
        return done
