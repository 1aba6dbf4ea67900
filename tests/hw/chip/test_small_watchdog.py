"""A small chip whose program never ends, or asks for what never comes, says so and works again."""

from collections.abc import Iterator

import pytest

from hw.chip.test_small import OPTIONS
from hw.chip.test_watchdog import COUNT, PROMPT, blanked, generation, hung_generation
from setun.backends import GoldenBackend, Sampling
from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import Space, Words, lay_out, sized_for
from setun.firmware.link import ChipClient, Reason, open_port
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import Numerics
from setun.firmware.program import kernels
from setun.firmware.program.isa import WORDS, Op
from setun.hw.chip import Chip
from setun.hw.emit.conversion import to_verilog
from setun.hw.emit.verilog import TOP
from setun.models.random import random_image
from setun.sim.simulator import SimulatedChip, compile_chip
from setun.sim.simulator.dot import SIMULATOR

pytestmark = pytest.mark.many_cycles
INSTRUCTIONS = 32  # a power of two: program memory without a gap, some of it unused
PATIENCE = 17  # cycles, as an exponent: a pass of the chip below takes a fifth of it


@pytest.fixture(scope="module")
def image() -> Image:
    return random_image((64, 1, 64), seed=5)


@pytest.fixture(scope="module")
def config(image: Image) -> ChipConfig:
    base = ChipConfig(**OPTIONS, numerics=Numerics(vector=Format(6, 9)))
    return sized_for(image, base).override(instructions=INSTRUCTIONS)


@pytest.fixture(scope="module")
def client(image: Image, config: ChipConfig) -> Iterator[ChipClient]:
    chip = Chip(config, lay_out(image, config), SIMULATOR, patience=PATIENCE)
    executable = compile_chip(to_verilog(chip, TOP), TOP, config.divisor)
    with SimulatedChip(executable) as chip, open_port(chip.port, config.baud) as port:
        yield ChipClient(port)


def endless(program: Words) -> list[tuple[int, int]]:
    """Without its ENDs the body runs into the head, and that through the memory to the body."""
    behind = range(len(program), WORDS * INSTRUCTIONS, WORDS)
    both = [blanked(program, Op.END, which) for which in (0, 1)]
    return both + [(address, Op.MODEL) for address in behind]


@pytest.mark.parametrize("case", ["never ends", "sampler lacks logits"])
def test_a_pass_that_is_given_up(
    client: ChipClient, image: Image, config: ChipConfig, case: str
) -> None:
    expected = list(GoldenBackend(image, config.numerics).generate(PROMPT, COUNT, Sampling()))
    assert generation(client) == (expected, Reason.COUNT)
    program = lay_out(image, config).spaces[Space.PROGRAM]
    logits = [blanked(program, Op.MATVEC, 0, kernels.SAMPLE)]
    changes = endless(program) if case == "never ends" else logits
    kept = {address: int(client.read(Space.PROGRAM, address, 1)[0]) for address, _ in changes}
    for address, word in changes:
        client.write(Space.PROGRAM, address, [word])
    try:
        client.reset()
        assert hung_generation(client) == (0, Reason.WATCHDOG)
        # Whatever was fed before is gone, and what was to be fed.
        assert list(client.generate(1, True, 0, 1)) == []
        assert client.last_done is not None and client.last_done.reason == Reason.NO_PROMPT
        # May hang alone, at any moment of a pass; what follows waits until the chip is free again.
        for pause in range(4):
            client.prompt(PROMPT)
            client.read(Space.PROGRAM, 0, 1 + pause)
    finally:
        for address, word in kept.items():
            client.write(Space.PROGRAM, address, [word])
    for _ in range(3):
        assert generation(client) == (expected, Reason.COUNT)
