"""Whole chips with several contexts at once: every token and state as golden's."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bench.mismatch import compare
from hw.chip.finder import compare_state, starts
from setun.backends import SimulatedBackend
from setun.backends.simulated import simulated_config
from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import Space, sized_for
from setun.firmware.link import ChipClient, Reason
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import seed_state
from setun.firmware.numerics.options import Numerics
from setun.firmware.numerics.sampling import Sampler
from setun.hw.control.generation import COUNTERS
from setun.hw.control.prompts import PROMPT_DEPTH
from setun.models.random import VOCABULARY, random_image
from setun.sim.golden import GoldenModel

pytestmark = pytest.mark.many_cycles

IMAGE = random_image((64, 2, 128), seed=3)
CHIPS: dict[str, dict[str, Any]] = {
    "onchip-2": {"columns": 8, "rows": 4, "lanes": 2, "contexts": 2},
    "sdram-16-4": {
        "columns": 8,
        "rows": 8,
        "lanes": 4,
        "packing": "1.6b",
        "memory": "sdram-16",
        "contexts": 4,
    },
    "onchip-4": {
        "columns": 8,
        "rows": 4,
        "lanes": 4,
        "contexts": 4,
        "numerics": Numerics(vector=Format(6, 9)),
    },
    "sdram-16-2": {"columns": 4, "rows": 16, "lanes": 4, "memory": "sdram-16", "contexts": 2},
    "axi4-64-4": {"columns": 32, "rows": 32, "lanes": 8, "memory": "axi4-64", "contexts": 4},
    "spram-2": {"columns": 8, "rows": 8, "lanes": 2, "memory": "spram", "contexts": 2},
}
QUICK = {"onchip-2", "sdram-16-4"}
Rng = np.random.Generator


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in CHIPS],
)
def chip(request: pytest.FixtureRequest) -> Iterator[SimulatedBackend]:
    base = ChipConfig(**CHIPS[request.param])
    backend = SimulatedBackend(IMAGE, simulated_config(sized_for(IMAGE, base)))
    yield backend
    backend.close()


class Conversation:
    """One context of the chip, beside a golden model that is told the same."""

    def __init__(self, chip: SimulatedBackend, context: int) -> None:
        self.client: ChipClient = chip._serial.client
        self.config, self.context = chip.config, context
        self.golden = GoldenModel(IMAGE, chip.config.numerics)
        self.client.stop(context)
        self.reset()

    def reset(self) -> None:
        self.golden.reset()
        self.client.reset(self.context)
        self.fed = 0

    def prompt(self, rng: Rng, length: int) -> None:
        tokens = [int(token) for token in rng.integers(0, VOCABULARY, length)]
        self.client.prompt(tokens, self.context)
        for token in tokens:
            self.golden.feed(token)
        self.fed += length

    def generate(self, count: int, temperature: float | None, seed: int) -> None:
        """Begin; what must come is known at once, and compared by `check`."""
        fmt = self.config.vector
        inverse = None if temperature is None else 1.0 / temperature
        bits = 0 if inverse is None else int(fmt.to_bits(inverse)[0])
        given = count, inverse is None, bits, seed_state(seed)
        self.tokens = self.client.generate(*given, self.context)
        sampler = Sampler(self.config.numerics, inverse, seed)
        self.expected = []
        for _ in range(count if self.fed else 0):
            self.expected.append(sampler(self.golden.logits()))
            self.golden.feed(self.expected[-1])

    def check(self, name: str) -> None:
        """All tokens of the generation that was begun."""
        compare(
            f"tokens of context {self.context}, {name}",
            self.expected,
            list(self.tokens),
            unit="sampler",
            width=16,
        )
        assert self.client.last_done is not None
        reason = Reason.COUNT if self.fed else Reason.NO_PROMPT
        assert self.client.last_done.reason == reason, name

    def check_state(self, name: str) -> None:
        """The state, unless it was reset and is made zero by the next token."""
        if self.fed:
            start = starts(self.config, self.context)[Space.STATE]
            compare_state(self.client, IMAGE, self.golden, f"{self.context}, {name}", start)


def all_of(chip: SimulatedBackend) -> list[Conversation]:
    return [Conversation(chip, k) for k in range(chip.config.contexts)]


def cycles(chip: SimulatedBackend) -> int:
    return dict(zip(COUNTERS, chip.counters(), strict=True))["cycles"]


def test_streams_at_once(chip: SimulatedBackend) -> None:
    """Greedy and sampled streams of different lengths in all contexts."""
    rng = np.random.default_rng(11)
    every = all_of(chip)
    for turn in range(2):
        for k, each in enumerate(every):
            each.prompt(rng, 3 + 4 * k)
            each.generate(12 + 5 * k, (None, 0.9)[(k + turn) % 2], seed=k)
        for k in rng.permutation(len(every)):
            every[k].check(f"turn {turn}")
        for each in every:
            each.check_state(f"turn {turn}")


def test_conversations(chip: SimulatedBackend) -> None:
    """Contexts prompt, generate and are reset in any order, while others are at work."""
    rng = np.random.default_rng(12)
    every = all_of(chip)
    speaking: list[Conversation] = []
    for step in range(40):
        each = every[rng.integers(len(every))]
        if each in speaking:
            speaking.remove(each)
            each.check(f"step {step}")
        if rng.random() < 0.3:
            each.reset()
        if rng.random() < 0.8:
            each.prompt(rng, int(rng.integers(1, 9)))
        if rng.random() < 0.8:
            temperature = None if rng.random() < 0.5 else 0.7
            each.generate(int(rng.integers(1, 13)), temperature, seed=step)
            speaking.append(each)
    for each in speaking:
        each.check("in the end")
    for each in every:
        each.check_state("in the end")


def test_long_prompt(chip: SimulatedBackend) -> None:
    """Many tokens of one prompt in a pass leave what they leave one by one, and sooner."""
    every = all_of(chip)
    spent = []
    length = 21
    for each, single in ((every[0], False), (every[-1], True)):
        rng = np.random.default_rng(13)
        before = cycles(chip)
        for piece in [1] * length if single else [length]:
            each.prompt(rng, piece)
            chip._serial.client.read(Space.STATE, 0, 1)  # waits for the end of the pass
        spent.append(cycles(chip) - before)
        each.check_state("after the prompt")
    for each in (every[0], every[-1]):
        each.generate(4, None, 0)
        each.check("after the prompt")
    assert every[0].expected == every[-1].expected
    assert spent[0] < spent[1]


@pytest.mark.slow
def test_prompts_beyond_the_queues(chip: SimulatedBackend) -> None:
    """Prompts that fill the queues while a context speaks, which goes on undisturbed."""
    rng = np.random.default_rng(14)
    every = all_of(chip)
    every[-1].prompt(rng, 1)
    every[-1].generate(PROMPT_DEPTH, 0.9, seed=1)
    for each in every[:-1]:
        each.prompt(rng, PROMPT_DEPTH + 20)
        each.generate(3, None, 0)
    for each in every:
        each.check("beside long prompts")
    for each in every:
        each.check_state("beside long prompts")


def test_others_are_reset(chip: SimulatedBackend) -> None:
    """A conversation goes on while another is reset, stopped and begun again and again."""
    rng = np.random.default_rng(15)
    every = all_of(chip)
    first = every[0]
    first.prompt(rng, 4)
    first.generate(60, 0.8, seed=2)
    for turn in range(6):
        other = every[1 + turn % (len(every) - 1)]
        other.reset()
        if turn % 3:
            other.prompt(rng, 3)
        other.generate(3, None, 0)
        if turn % 2:
            other.check(f"turn {turn}")
        else:
            other.client.stop(other.context)
            got = list(other.tokens)
            compare(f"stopped in turn {turn}", other.expected[: len(got)], got, unit="sampler")
    first.check("while others were reset")
    first.check_state("while others were reset")
