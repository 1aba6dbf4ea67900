"""Cycles per token, measured on the chip's RTL."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from setun.backends import GoldenBackend, Sampling, SimulatedBackend
from setun.backends.simulated import simulated_config
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import bound_cycles
from setun.hw.control.generation import COUNTERS
from setun.hw.cores import core_gateware

AXI4 = {"packing": "1.6b", "memory": "axi4-256", "clock_hz": 200_000_000}
# Configurations of `setun bench`, memories sized for the model.
BENCH_CONFIGS: dict[str, dict[str, Any]] = {
    "onchip-64": {"columns": 16, "rows": 4, "lanes": 4},
    "onchip-256": {"columns": 32, "rows": 8, "lanes": 8, "contexts": 2},
    # Fewer float lanes, for a smaller FPGA.
    "board-256": {"columns": 32, "rows": 8, "lanes": 4, "contexts": 2},
    # What boards/ulx3s-85f.toml suggests.
    "board-512": {
        "columns": 32,
        "rows": 16,
        "pump": 2,
        "lanes": 4,
        "contexts": 4,
        "packing": "1.6b",
    },
    "onchip-512": {"columns": 32, "rows": 16, "lanes": 16, "contexts": 2},
    # Weights, head and cache on the chip, for a transformer.
    "onchip-attention": {
        "columns": 16,
        "rows": 8,
        "lanes": 8,
        "contexts": 2,
        "packing": "1.6b",
    },
    "sdram-16": {"packing": "1.6b", "memory": "sdram-16", "clock_hz": 100_000_000, "contexts": 4},
    # What suits a board with an SDRAM: the array as wide as the memory needs it for four streams.
    "board-sdram": {
        "columns": 16,
        "rows": 4,
        "lanes": 4,
        "packing": "1.6b",
        "memory": "sdram-16",
        "clock_hz": 60_000_000,
        "contexts": 4,
    },
    "axi4-256": {**AXI4, "contexts": 4},
    # The MatMul-free LM's sizes: whole, and two layers and the last with the head.
    "axi4-370m": {**AXI4, "contexts": 4},
    "axi4-1.3b": AXI4,
    "axi4-2.7b": AXI4,
    # BitNet 2B4T's: its first two layers and its last, with the whole head.
    "axi4-2b4t": AXI4,
    "qspi": {"columns": 16, "rows": 4, "lanes": 4, "packing": "1.6b", "memory": "qspi"},
    # An array as wide as the RAM.
    "spram": {"columns": 8, "rows": 4, "lanes": 4, "memory": "spram", "clock_hz": 24_000_000},
}
# What they run unless told: a model of the memory's size.
BENCH_MODELS = {
    "onchip-attention": "shakespeare-transformer",
    "sdram-16": "random-13m",
    "board-sdram": "random-13m",
    "axi4-256": "random-370m-2l",
    "axi4-370m": "random-370m",
    "axi4-1.3b": "random-1.3b-3l",
    "axi4-2.7b": "random-2.7b-3l",
    "axi4-2b4t": "random-2b4t-3l",
    "spram": "random-112x2",
}
LARGE = (
    "onchip-attention",
    "axi4-370m",
    "axi4-1.3b",
    "axi4-2.7b",
    "axi4-2b4t",
)  # minutes each: only if they are named
DEFAULT_MODEL = "shakespeare"
# Tokens that the other streams go on for each of them, so that the measured one never runs alone;
# chips that share weights are slow to a token, and the link is not.
MARGIN, SHARED_MARGIN = 32, 4
TRIES = 4  # with four times the margin each
PROMPT = 17  # tokens of the prompt that is timed


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One model on one chip; the keys of `bench --json`, and `account`.

    bound_cycles_per_token is all that a token reads, of block RAM the weights, over what the weight
    port or the memory's pins deliver per cycle. With several streams all tokens count:
    cycles_per_token is the time from a stream's token to its next over the streams, and where they
    share weights the fraction exceeds 1. prefill_cycles_per_token is that of a prompt, which has as
    many tokens in a pass as the chip has contexts. `account` splits a token's cycles by what the
    array does.
    """

    config: str
    model: str
    streams: int
    cycles_per_token: float
    bound_cycles_per_token: int
    roofline_fraction: float
    mac_per_cycle: float
    prefill_cycles_per_token: float | None
    account: dict[str, float]


class _Bench:
    """A simulated chip whose every token is compared with the golden model's."""

    def __init__(
        self,
        image: Image,
        config: ChipConfig,
        progress: Callable[[str], None],
        position: int = 0,
    ) -> None:
        self.image, self.config, self.position = image, config, position
        self.backend = SimulatedBackend(image, simulated_config(config), progress=progress)

    def counters(self) -> dict[str, int]:
        return dict(zip(COUNTERS, self.backend.counters(), strict=True))

    def since(self, before: dict[str, int]) -> dict[str, int]:
        after = self.counters()
        return {key: (after[key] - before[key]) % (1 << 32) for key in COUNTERS}

    def prompt(self, context: int, length: int = 1) -> list[int]:
        """Another prompt for each context."""
        return [(7 * context + 5 * k) % self.image.vocab_size for k in range(length)]

    def start(self, context: int, count: int) -> Iterator[int]:
        prompt, sampling = self.prompt(context, 1 + self.position), Sampling()
        tokens = self.backend.start(prompt, count, sampling, context)
        return self._checked(tokens, prompt, count, context)

    def _checked(
        self, tokens: Iterator[int], prompt: list[int], count: int, context: int
    ) -> Iterator[int]:
        golden = GoldenBackend(self.image, self.config.numerics).generate(prompt, count, Sampling())
        for number, token in enumerate(tokens):
            if token != (expected := next(golden)):
                raise SetunError(
                    f"token {number} of context {context}",
                    f"must equal the golden model's {expected}",
                    token,
                )
            yield token

    def together(self, streams: int, tokens: int, margin: int) -> tuple[float, int]:
        """Cycles from a token to the next of one stream of `tokens` while `streams` - 1 others,
        `margin` longer, are under way; tokens that these were ahead when it ended."""
        before = self.counters()
        others = [self.start(k, tokens + margin) for k in range(streams - 1)]
        for _ in self.start(streams - 1, tokens):
            pass
        lead = self.since(before)["heads"] - streams * tokens
        per_stream = self.backend.cycles_per_token
        for other in others:
            for _ in other:
                pass
        if per_stream is None:
            raise SetunError("measurement", "needs a chip that counts its cycles", "none")
        return per_stream, lead

    def prefill(self) -> float:
        """Cycles per token of a long prompt; the token after it is compared."""
        prompt = self.prompt(0, PROMPT)
        before = self.counters()
        self.backend.feed(prompt)
        cycles = self.since(before)["cycles"]
        golden = GoldenBackend(self.image, self.config.numerics).model
        for token in prompt:
            golden.feed(token)
        state = self.backend.state()
        for region in self.image.memory.state:
            if not np.array_equal(state[region.slice], golden.state[region.slice]):
                rule = "must equal the golden model's"
                raise SetunError("state after the prompt", rule, f"{region.name} differs")
        return cycles / len(prompt)


def streams_together(
    bench: _Bench, streams: int, tokens: int, margin: int
) -> tuple[float, dict[str, int]]:
    """Cycles per token of one of `streams`, and the counters before; `margin` grows as needed.

    Raises
    ------
    SetunError
        The host is held up for longer than any margin lasts.
    """
    for _ in range(TRIES):
        before = bench.counters()
        per_stream, lead = bench.together(streams, tokens, margin)
        if streams == 1 or lead < margin:
            return per_stream, before
        margin *= 4
    raise SetunError(
        f"{streams} streams",
        f"must be under way together for {tokens} tokens",
        f"others were {lead} tokens ahead",
        "measure more tokens, or with less else to do",
    )


def measure(
    name: str,
    model: str,
    image: Image,
    config: ChipConfig,
    tokens: int = 16,
    progress: Callable[[str], None] = lambda stage: None,
    *,
    prefill: bool = True,
    position: int = 0,
) -> list[Measurement]:
    """Greedy tokens of one stream, and of as many as the chip has contexts, checked and counted.

    They come behind a prompt of `position` + 1. `tokens` are those of each stream that are timed;
    a prompt is, unless `prefill` is False.
    """
    bench = _Bench(image, config, progress, position)
    results = []
    try:
        if not core_gateware(config).counters:
            return [_uncounted(name, model, image, config, bench, tokens)]
        for streams in sorted({1, config.contexts}):
            margin = (SHARED_MARGIN if config.shares_weights else MARGIN) * (streams - 1)
            per_stream, before = streams_together(bench, streams, tokens, margin)
            spent = bench.since(before)
            last = prefill and streams == config.contexts
            prompt = bench.prefill() if last else None
            found = _result(name, model, image, config, streams, per_stream, spent, prompt)
            if position or config.attention:
                found = _behind(found, image, config, position + 1 + tokens / 2)
            results.append(found)
    finally:
        bench.backend.close()
    return results


def _uncounted(
    name: str, model: str, image: Image, config: ChipConfig, bench: _Bench, tokens: int
) -> Measurement:
    """One stream of a chip without event counters, which tells only how long it took."""
    for _ in bench.start(0, tokens):
        pass
    cycles = bench.backend.cycles_per_token
    if cycles is None:
        raise SetunError("measurement", "needs a chip that counts its cycles", "none")
    bound = bound_cycles(image, config)
    return Measurement(
        config=name,
        model=model,
        streams=1,
        cycles_per_token=cycles,
        bound_cycles_per_token=bound,
        roofline_fraction=bound / cycles,
        mac_per_cycle=image.weights / cycles,
        prefill_cycles_per_token=None,
        account={},
    )


def _result(
    name: str,
    model: str,
    image: Image,
    config: ChipConfig,
    streams: int,
    per_stream: float,
    spent: dict[str, int],
    prefill: float | None,
) -> Measurement:
    # The prompt's token has a body too; its head is the first sample's.
    share = spent["bodies"]
    waits = ("array_busy", "wait_codes", "wait_sink", "wait_weights")
    account = {key: spent[key] / share for key in waits}
    account["array_idle"] = spent["cycles"] / share - sum(account.values())
    cycles, bound = per_stream / streams, bound_cycles(image, config)
    return Measurement(
        config=name,
        model=model,
        streams=streams,
        cycles_per_token=cycles,
        bound_cycles_per_token=bound,
        roofline_fraction=bound / cycles,
        mac_per_cycle=image.weights / cycles,
        prefill_cycles_per_token=prefill,
        account=account,
    )


def _behind(found: Measurement, image: Image, config: ChipConfig, positions: float) -> Measurement:
    """The same against a bound that counts keys and values of so many positions; what the chip
    spent on the prompt is not the tokens'."""
    bound = bound_cycles(image, config, positions)
    return replace(
        found, bound_cycles_per_token=bound, roofline_fraction=bound / found.cycles_per_token
    )
