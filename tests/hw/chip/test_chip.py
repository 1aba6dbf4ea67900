"""The whole chip, compiled, behind its serial port: every token and state bit as golden's."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from bench.folders import DEMO, VECTORS
from bench.mismatch import Mismatch, compare
from hw.chip.finder import compare_state, find_mismatch, starts
from setun.firmware.config import ChipConfig
from setun.firmware.image.array_words import matrix_words, weight_words
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import Space, lay_out, requirements, sized_for
from setun.firmware.link import ChipClient, Reason, open_port
from setun.firmware.link.identity import decode
from setun.firmware.models.checkpoint import load_checkpoint
from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import seed_state
from setun.firmware.numerics.options import PRESETS, Numerics
from setun.firmware.numerics.sampling import Sampler
from setun.hw.control.generation import COUNTERS
from setun.hw.emit.verilog import chip_verilog
from setun.sim.golden import GoldenModel
from setun.sim.memories.system import system_contents, system_verilog
from setun.sim.simulator import SimulatedChip, compile_chip, memory_file

MODELS = {
    "a": VECTORS / "a_h64_l2",
    "b": VECTORS / "b_h128_l4",
    "d": VECTORS / "d_h64_l3_nolb",
    "demo": DEMO,
}
SEED = 7
TEMPERATURE = 0.8


@dataclass(frozen=True)
class Case:
    """A model and the shape of the chip it runs on."""

    model: str
    columns: int
    rows: int
    lanes: int
    packing: str = "2b"
    fmt: tuple[int, int] = (8, 9)
    memory: str = "onchip"
    contexts: int = 1
    numerics: Numerics | None = None  # instead of those of `fmt`

    def __str__(self) -> str:
        vector = "" if self.fmt == (8, 9) else f"-e{self.fmt[0]}m{self.fmt[1]}"
        shape = f"{self.columns}x{self.rows}x{self.lanes}"
        memory = "" if self.memory == "onchip" else f"-{self.memory}"
        contexts = "" if self.contexts == 1 else f"-{self.contexts}"
        fp8 = f"-fp8-{self.numerics.accumulate}" if self.numerics and self.numerics.fp8 else ""
        return f"{self.model}-{shape}-{self.packing}{vector}{memory}{contexts}{fp8}"

    def config(self, *models: str) -> ChipConfig:
        """A chip of this shape that holds each of `models`, its own by default."""
        base = ChipConfig(
            columns=self.columns,
            rows=self.rows,
            lanes=self.lanes,
            packing=self.packing,
            numerics=self.numerics or Numerics(vector=Format(*self.fmt)),
            memory=self.memory,
            contexts=self.contexts,
            clock_hz=40_000_000,
            baud=10_000_000,
        )
        sized = sized_for(image(self.model), base)
        for name in models:
            for option, needed in requirements(image(name), sized).items():
                sized = sized.override(**{option: max(needed, getattr(sized, option))})
        return sized


@lru_cache
def image(model: str) -> Image:
    return compile_checkpoint(load_checkpoint(MODELS[model]))


def tokens_of(model: str, count: int) -> list[int]:
    """A prompt of in-vocabulary tokens, the same every time."""
    rng = np.random.default_rng(SEED)
    return [int(t) for t in rng.integers(0, image(model).vocab_size, count)]


@lru_cache
def compiled(config: ChipConfig, model: str) -> Path:
    layout = lay_out(image(model), config)
    if config.external:
        contents = system_contents(config, layout).items()
        files = {name: memory_file(c.words, c.width) for name, c in contents}
        return compile_chip(system_verilog(config), "setun", config.divisor, init_files=files)
    return compile_chip(chip_verilog(config, layout), "setun", config.divisor)


@contextmanager
def running(config: ChipConfig, model: str) -> Iterator[ChipClient]:
    """A client of a simulated chip with `model` in its memories."""
    with SimulatedChip(compiled(config, model)) as chip:
        port = open_port(chip.port, config.baud)
        try:
            yield ChipClient(port)
        finally:
            port.close()


def check_generation(
    client: ChipClient, model: str, config: ChipConfig, count: int, temperature: float | None
) -> None:
    """Reset, prompt, generate; compare tokens and state, and say where they part."""
    im, fmt, context = image(model), config.vector, config.contexts - 1
    print(f"model {model}, {count} tokens, temperature {temperature}, seed {SEED}")
    prompt = tokens_of(model, 9)
    golden = GoldenModel(im, config.numerics)
    sampler = Sampler(config.numerics, None if temperature is None else 1.0 / temperature, SEED)
    for token in prompt:
        golden.feed(token)
    expected = []
    for _ in range(count):
        expected.append(sampler(golden.logits()))
        golden.feed(expected[-1])

    client.reset(context)
    client.prompt(prompt, context)
    factor = 0 if temperature is None else int(fmt.to_bits(1.0 / temperature)[0])
    got = list(client.generate(count, temperature is None, factor, seed_state(SEED), context))
    assert client.last_done is not None and client.last_done.reason == Reason.COUNT
    try:
        compare("tokens", expected, got, unit="sampler", width=16)
        start = starts(config, context)[Space.STATE]
        compare_state(client, im, golden, f"after {count} tokens", start)
    except Mismatch:
        for token in dict.fromkeys([*prompt, *expected[:8]]):
            find_mismatch(client, im, config, token, context)
        raise


FP8 = PRESETS["fp8"]
CASES = [
    Case("a", 16, 4, 2),
    Case("demo", 32, 8, 8),
    Case("a", 16, 4, 4, "1.6b", memory="sdram-16", contexts=4),
    Case("a", 32, 8, 8, numerics=FP8),
]
SLOW_CASES = [
    Case("a", 8, 4, 1, "1.6b"),
    Case("a", 64, 64, 32),
    Case("a", 4, 16, 4, "2b", (8, 7)),
    Case("b", 32, 8, 8, "1.6b"),
    Case("b", 64, 8, 4),
    Case("b", 32, 8, 8, "2b", memory="sdram-32"),
    Case("b", 32, 8, 8, "2b", contexts=2),
    Case("d", 8, 8, 4, "1.6b", memory="axi4-64"),
    Case("a", 32, 8, 8, "1.6b", memory="axi4-256", contexts=4),
    Case("d", 8, 8, 4, "1.6b", (6, 9)),
    Case("d", 8, 8, 8, "2b", (8, 7), contexts=4),
    Case("demo", 64, 16, 16, "1.6b"),
    Case("a", 32, 8, 8, numerics=Numerics(activation="fp8")),
    Case("a", 16, 4, 4, memory="sdram-16", contexts=2, numerics=FP8),
    Case("a", 8, 16, 4, "1.6b", contexts=4, numerics=Numerics(activation="fp8", accumulate=8)),
    Case("a", 1, 8, 1, numerics=Numerics(activation="fp8", accumulate=1)),
]


@pytest.mark.parametrize(
    "case", [*CASES, *(pytest.param(c, marks=pytest.mark.slow) for c in SLOW_CASES)], ids=str
)
def test_generation(case: Case) -> None:
    config = case.config()
    with running(config, case.model) as client:
        assert decode(client.info()) == config
        check_generation(client, case.model, config, 64, None)
        check_generation(client, case.model, config, 64, TEMPERATURE)
        counters = dict(zip(COUNTERS, client.counters(), strict=True))
        assert counters["bodies"] == 2 * (9 + 64)
        assert counters["heads"] == 2 * 64
        assert counters["faults"] == 0
        assert case.memory != "onchip" or counters["wait_weights"] == 0
        # Every body reads all matrices but the head's, every head the head's.
        head_words = matrix_words(image(case.model).matrices[-1], config)
        words = weight_words(image(case.model), config)
        busy = counters["bodies"] * (words - head_words)
        assert counters["array_busy"] == busy + counters["heads"] * head_words


def load(client: ChipClient, model: str, config: ChipConfig) -> None:
    """Write every space of a model over the link and check what the chip then reads."""
    for space, words in lay_out(image(model), config).spaces.items():
        client.write(space, 0, words)
        crc = zlib.crc32(words.astype("<u4").tobytes())
        assert client.crc(space, 0, len(words)) == crc, f"space {space.name} of model {model}"


def check_swap(case: Case, other: str) -> None:
    """Another model over the link, without compiling, and back again."""
    config = case.config(other)
    with running(config, case.model) as client:
        check_generation(client, case.model, config, 16, None)
        load(client, other, config)
        check_generation(client, other, config, 64, None)
        check_generation(client, other, config, 16, TEMPERATURE)
        load(client, case.model, config)
        check_generation(client, case.model, config, 16, TEMPERATURE)


@pytest.mark.parametrize(
    "memory",
    ["sdram-16", *(pytest.param(m, marks=pytest.mark.slow) for m in ("onchip", "axi4-64"))],
)
@pytest.mark.many_cycles
def test_another_model_over_the_link(memory: str) -> None:
    check_swap(Case("a", 16, 4, 4, "1.6b", memory=memory), "d")


@pytest.mark.slow
def test_smaller_model_on_a_larger_chip() -> None:
    check_swap(Case("b", 32, 8, 8, "1.6b"), "a")


def test_finder_names_the_spoilt_matrix() -> None:
    case = Case("a", 16, 4, 2)
    config = case.config()
    words = lay_out(image("a"), config).spaces[Space.WEIGHTS]
    name = "model.layers.1.attn.f_proj"
    first, stride = 0, -(-config.weight_bits // 32)
    for matrix in image("a").matrices:
        if matrix.name == name:
            break
        first += matrix_words(matrix, config) * stride
    assert config.panel > 2
    with running(config, "a") as client:
        # Rows 8 to 11 of the matrix, all of their first 16 weights.
        at = first + 2 * stride
        client.write(Space.WEIGHTS, at, words[at : at + stride] ^ np.uint32(0x55555555))
        with pytest.raises(Mismatch, match=rf"layer 1 unit MLGRU {name}: \d of 64 differ") as found:
            find_mismatch(client, image("a"), config, 5)
        assert {int(line.split()[1][:-1]) for line in str(found.value).splitlines()[1:]} <= {
            8,
            9,
            10,
            11,
        }
        client.write(Space.WEIGHTS, at, words[at : at + stride])
        find_mismatch(client, image("a"), config, 5)
        check_generation(client, "a", config, 8, None)
