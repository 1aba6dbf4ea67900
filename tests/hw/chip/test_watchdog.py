"""A chip that hangs says so, answers all the while, and works again."""

import struct
from collections import Counter
from collections.abc import Iterator

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bench.folders import VECTORS
from setun.backends import GoldenBackend, Sampling, SimulatedBackend
from setun.backends.simulated import simulated_config
from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import Space, Words, lay_out, sized_for
from setun.firmware.link import ChipClient, Command, Done, Reason, Status, open_port
from setun.firmware.program import kernels
from setun.firmware.program.isa import WORDS, Op
from setun.firmware.program.kernels import Kernel
from setun.hw.chip import Chip
from setun.hw.emit.conversion import to_verilog
from setun.hw.emit.verilog import TOP
from setun.models.load import load_model
from setun.sim.memories.bulk import bulk_verilog
from setun.sim.memories.kinds import memory_model
from setun.sim.memories.system import system_contents
from setun.sim.simulator import SimulatedChip, compile_chip, memory_file
from setun.sim.simulator.dot import SIMULATOR, dot_verilog

PROMPT, COUNT = [3, 1, 4, 1, 5], 8
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def image() -> Image:
    return load_model(VECTORS / "a_h64_l2")


def generation(client: ChipClient, count: int = COUNT, context: int = 0) -> tuple[list[int], int]:
    client.reset(context)
    client.prompt(PROMPT, context)
    tokens = list(client.generate(count, True, 0, 1, context))
    assert client.last_done is not None
    return tokens, client.last_done.reason


@pytest.fixture(scope="module")
def chip(image: Image) -> Iterator[SimulatedBackend]:
    config = simulated_config(sized_for(image, ChipConfig(columns=8, rows=4, lanes=4)))
    backend = SimulatedBackend(image, config)
    yield backend
    backend.close()


def blanked(program: Words, op: Op, which: int, kernel: Kernel | None = None) -> tuple[int, int]:
    """Address and first word of an instruction that is made to do nothing."""
    words = program.reshape(-1, WORDS)[:, 0]
    found = [
        k
        for k, word in enumerate(words)
        if word & 15 == op and (kernel is None or word >> 4 & 7 == kernel.code)
    ]
    return found[which] * WORDS, int(words[found[which]]) & ~15 | Op.MODEL


def hung_generation(client: ChipClient) -> tuple[int, int]:
    """Tokens and reason of a generation on a chip that hangs, and answers meanwhile.

    Prompt and request go in one piece, and what must be refused while it hangs with them.
    """
    request = struct.pack("<HBII", COUNT, 1, 0, 1)
    frames = [
        (Command.PROMPT, struct.pack(f"<{len(PROMPT)}H", *PROMPT), Status.OK),
        (Command.GENERATE, request, Status.OK),
        (Command.INFO, b"", Status.OK),
        (Command.RESET, b"", Status.BUSY),
        (Command.GENERATE, request, Status.BUSY),
        (Command.READ, struct.pack("<BIB", Space.PROGRAM, 0, 1), Status.BUSY),
        (Command.INFO, b"", Status.OK),
    ]
    link = client.transport
    link.events[0].clear()
    answers = link.exchange([(kind, payload) for kind, payload, _ in frames], window=len(frames))
    assert sorted((index, status) for index, status, _ in answers) == [
        (k, status) for k, (_, _, status) in enumerate(frames)
    ]
    while not link.events[0]:
        link.pump(1.0)
    done = Done.unpack(link.events[0].popleft().payload)
    assert done is not None
    return done.tokens, done.reason


@pytest.mark.parametrize(
    ("op", "which", "kernel"),
    [(Op.QUANTISE, 1, None), (Op.QUANTISE, -1, None), (Op.MATVEC, 0, kernels.SAMPLE)],
    ids=["array lacks codes", "head lacks codes", "sampler lacks logits"],
)
def test_a_program_that_waits_for_ever(
    chip: SimulatedBackend, image: Image, op: Op, which: int, kernel: Kernel | None
) -> None:
    client, expected = (
        chip._serial.client,
        list(GoldenBackend(image, chip.config.numerics).generate(PROMPT, COUNT, Sampling())),
    )
    assert generation(client) == (expected, Reason.COUNT)
    program = lay_out(image, chip.config).spaces[Space.PROGRAM]
    address, word = blanked(program, op, which, kernel)
    client.write(Space.PROGRAM, address, [word])
    try:
        client.reset()
        assert hung_generation(client) == (0, Reason.WATCHDOG)
        # Whatever was fed before is gone.
        assert list(client.generate(1, True, 0, 1)) == []
        assert client.last_done is not None and client.last_done.reason == Reason.NO_PROMPT
        client.prompt(PROMPT)  # hangs alone; the write waits until the chip is free again
    finally:
        client.write(Space.PROGRAM, address, program[address : address + 1])
    for _ in range(3):
        assert generation(client) == (expected, Reason.COUNT)


PATIENCE = 15  # cycles, as an exponent: a pass of the chip below takes a sixth of it
PERIOD = 19


class FlakySystem(wiring.Component):
    """A chip whose AXI4 memory stops in the middle of what it does, for a quarter of the time."""

    rx: In(1, init=1)
    tx: Out(1, init=1)

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.chip = chip = Chip(self.config, technology=SIMULATOR, patience=PATIENCE)
        m.submodules.memory = memory = memory_model(self.config).component(self.config)
        wiring.connect(m, chip.memory, memory.axi)
        time, away = Signal(PERIOD), Signal()
        m.d.sync += [time.eq(time + 1), away.eq(time[-2:].all())]
        with m.If(away):
            m.d.comb += [chip.memory.rvalid.eq(0), memory.axi.rready.eq(0)]
        m.d.comb += [chip.rx.eq(self.rx), self.tx.eq(chip.tx)]
        return m


@pytest.mark.slow
def test_a_memory_that_stops_and_comes_back(image: Image) -> None:
    """Generations that end by their count are golden; the others end by the watchdog."""
    base = ChipConfig(columns=8, rows=8, lanes=4, packing="1.6b", memory="axi4-64", contexts=2)
    config = simulated_config(sized_for(image, base))
    verilog = to_verilog(FlakySystem(config), TOP) + dot_verilog(config.columns)
    verilog += bulk_verilog(*memory_model(config).words(config))
    contents = system_contents(config, lay_out(image, config)).items()
    files = {name: memory_file(c.words, c.width) for name, c in contents}
    executable = compile_chip(verilog, TOP, config.divisor, init_files=files)
    expected = list(GoldenBackend(image, config.numerics).generate(PROMPT, COUNT, Sampling()))
    ends: Counter[int] = Counter()
    with SimulatedChip(executable) as chip, open_port(chip.port, config.baud) as port:
        client = ChipClient(port)
        while min(ends[Reason.COUNT], ends[Reason.WATCHDOG]) < 12:
            for context in (0, 1):
                client.reset(context)
                client.prompt(PROMPT, context)
            iterators = [client.generate(COUNT, True, 0, 1, context) for context in (0, 1)]
            for iterator in iterators:
                tokens = list(iterator)
                assert client.last_done is not None
                reason = client.last_done.reason
                assert tokens == expected[: len(tokens)], reason
                # The one that the watchdog overtook before it began was fed nothing.
                assert reason in (Reason.COUNT, Reason.WATCHDOG, Reason.NO_PROMPT)
                assert len(tokens) == COUNT or reason != Reason.COUNT
                ends[reason] += 1
            assert sum(ends.values()) < 4000
    print(dict(ends))
