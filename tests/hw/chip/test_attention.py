"""Chips that run transformers: every token and the cache equal to the golden model's."""

from typing import Any

import numpy as np
import pytest

from setun.backends import GoldenBackend, Sampling, SimulatedBackend
from setun.backends.simulated import simulated_config
from setun.estimate.cycles import cycles_per_token
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image import external
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import lay_out, sized_for
from setun.firmware.link import Reason, identity
from setun.firmware.models.architecture import find
from setun.firmware.models.bitnet.config import BitnetConfig
from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.numerics.options import PRESETS
from setun.firmware.program.isa import Op
from setun.models.random import random_checkpoint
from setun.sim.golden import GoldenModel

pytestmark = pytest.mark.many_cycles

POSITIONS = 24
PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]
MODEL = BitnetConfig(
    vocab_size=80,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=32,
    max_position_embeddings=POSITIONS,
    rms_norm_eps=1e-5,
    rope_theta=1e4,
    hidden_act="relu2",
    sub_norms=True,
    qk_norm=False,
    ternary_head=False,
)
CHIPS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "onchip": ({}, {"columns": 16, "lanes": 4, "queries": 2, "contexts": 2}),
    "without norms, axi4": (
        {"hidden_act": "silu", "sub_norms": False},
        {"columns": 16, "lanes": 4, "memory": "axi4-64", "packing": "1.6b"},
    ),
    "one key for all, words of a head": (
        {"num_key_value_heads": 1},
        {"columns": 16, "lanes": 2, "attention": 8, "queries": 4, "contexts": 4},
    ),
    "sdram": (
        {"ternary_head": True},
        {"columns": 16, "lanes": 2, "memory": "sdram-16", "packing": "1.6b", "contexts": 2},
    ),
    "cache outside, axi4": (
        {},
        {
            "columns": 16,
            "lanes": 4,
            "attention": 8,
            "queries": 2,
            "memory": "axi4-64",
            "packing": "1.6b",
            "contexts": 2,
            "outer_cache": 1,
        },
    ),
    "cache outside, sdram": (
        {"ternary_head": True},
        {
            "columns": 16,
            "lanes": 2,
            "attention": 32,
            "memory": "sdram-16",
            "packing": "1.6b",
            "contexts": 4,
            "outer_cache": 1,
        },
    ),
    "norms": (
        {"qk_norm": True, "sub_norms": False, "hidden_act": "silu"},
        {"columns": 16, "lanes": 4, "queries": 2, "contexts": 2},
    ),
    "norms, words of a head, axi4": (
        {"qk_norm": True, "head_dim": 64, "num_key_value_heads": 1},
        {
            "columns": 16,
            "lanes": 2,
            "attention": 16,
            "queries": 2,
            "memory": "axi4-64",
            "packing": "1.6b",
            "contexts": 4,
            "outer_cache": 1,
        },
    ),
    "norms, fp8": (
        {"qk_norm": True},
        {"columns": 16, "lanes": 1, "attention": 8, "numerics": PRESETS["fp8"]},
    ),
    "norms, lmul": (
        {"qk_norm": True, "ternary_head": True},
        {"columns": 32, "lanes": 8, "memory": "axi4-256", "numerics": PRESETS["lmul"]},
    ),
    "a key each, one lane, fp8": (
        {"num_attention_heads": 2, "sub_norms": False, "ternary_head": True},
        {"columns": 16, "lanes": 1, "attention": 16, "numerics": PRESETS["fp8"]},
    ),
    "lmul": ({}, {"columns": 32, "lanes": 8, "queries": 3, "numerics": PRESETS["lmul"]}),
    "the paper's lmul": ({}, {"columns": 32, "lanes": 4, "numerics": PRESETS["lmul-paper"]}),
}
QUICK = {"onchip", "cache outside, axi4", "norms"}


def model(**changes: Any) -> Image:
    config = BitnetConfig(**(vars(MODEL) | changes))
    return compile_checkpoint(random_checkpoint(find("bitnet"), config, seed=3))


def chip_for(image: Image, options: dict[str, Any]) -> ChipConfig:
    return sized_for(image, ChipConfig(rows=8, terminal=0, **options))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in CHIPS]
)
def test_conversations(name: str) -> None:
    """Up to the last position, several at once; the cache that they leave; what ends them."""
    changes, options = CHIPS[name]
    image = model(**changes)
    config = chip_for(image, options)
    chip = SimulatedBackend(image, simulated_config(config))
    try:
        assert identity.decode(chip._serial.client.info()) == chip.config
        samplings = [Sampling(temperature=1.5 if k else 1.0, seed=k) for k in range(4)]
        prompts = [PROMPT[: 3 + k] for k in range(4)]
        wanted, begun = [], []
        many = range(max(2, config.contexts))
        for k in many:
            golden = GoldenBackend(image, config.numerics)
            wanted.append(list(golden.generate(prompts[k], 40, samplings[k])))
            started = chip.start(prompts[k], 40, samplings[k], k % config.contexts)
            begun.append(started if config.contexts > 1 else iter(list(started)))
        assert [list(tokens) for tokens in begun] == wanted
        assert [len(tokens) for tokens in wanted] == [POSITIONS + 1 - len(prompts[k]) for k in many]
        assert chip._serial.client.last_done is not None
        assert chip._serial.client.last_done.reason == Reason.CONTEXT_FULL
        last = many[-1]
        held = GoldenModel(image, config.numerics)
        for token in [*prompts[last], *wanted[last][:-1]]:
            held.feed(token)
        for region in image.memory.cache:
            want = held.cached(region.start, POSITIONS)
            where, of_values = last % config.contexts, region.name.endswith(".v")
            head = changes.get("head_dim", MODEL.head_dim)
            got = chip.cached(region, head, POSITIONS, where, values=of_values)
            np.testing.assert_array_equal(got.codes, want.codes)
            np.testing.assert_array_equal(got.exponent, want.exponent)
    finally:
        chip.close()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("onchip", 0.01),
        ("norms", 0.01),
        ("cache outside, axi4", 0.03),
        ("cache outside, sdram", 0.03),
    ],
)
def test_a_prompt_that_is_too_long_and_cycles(name: str, error: float) -> None:
    """The rest of it is not read; nothing more is said. A token takes what the estimate says."""
    changes, options = CHIPS[name]
    image = model(**changes)
    config = chip_for(image, options)
    chip = SimulatedBackend(image, simulated_config(config))
    try:
        with pytest.raises(SetunError, match=r"context: holds 24 tokens, .*; found 72"):
            list(chip.generate([k % 80 for k in range(3 * POSITIONS)], 5, Sampling()))
        client = chip._serial.client
        client.reset(0)
        client.prompt([k % 80 for k in range(3 * POSITIONS)], 0)
        client.prompt([3, 1, 4], 1)
        done = list(chip.connected.generate(5, Sampling(), 0)), client.last_done
        assert done[0] == [] and done[1] is not None and done[1].reason == Reason.CONTEXT_FULL
        for prompt in (2, 19):
            tokens = list(chip.generate([k % 80 for k in range(prompt)], 4, Sampling()))
            assert len(tokens) == 4 and chip.cycles_per_token is not None
            said = [cycles_per_token(image, config, 1, prompt + k) for k in range(4)]
            assert abs(chip.cycles_per_token / np.mean(said) - 1) < error
    finally:
        chip.close()


def test_gains_of_norms_come_with_each_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a chip keeps none."""
    monkeypatch.setattr(external, "RESIDENT_PAIRS", 0)
    changes, options = CHIPS["norms, words of a head, axi4"]
    image = model(**changes)
    config = chip_for(image, options)
    chip = SimulatedBackend(image, simulated_config(config))
    try:
        want = list(GoldenBackend(image, config.numerics).generate(PROMPT, 8, Sampling()))
        assert list(chip.generate(PROMPT, 8, Sampling())) == want
    finally:
        chip.close()


def test_what_does_not_fit_is_refused() -> None:
    image = model()
    config = chip_for(image, {"columns": 16, "lanes": 4})
    assert config.attention == 32 and config.positions == POSITIONS
    for options, line in (
        ({"attention": 0}, "model's instruction .* must be one that the parallel core has units"),
        ({"attention": 64, "head_elements": 64}, "heads of .*: must be a multiple of 64 elem"),
        ({"cache_elements": 64}, "cache_elements 256 of 64"),
        ({"positions": 32}, "positions: must be at most the model's 24; found 32"),
        ({"outer_cache": 1}, "outer_cache: must be 0, or 1 with the model in an external RAM"),
        ({"head_elements": 32, "cache_elements": 256, "positions": 1}, "positions: must be from 2"),
    ):
        with pytest.raises(SetunError, match=line):
            lay_out(image, config.override(**options))
    normed = model(qk_norm=True)
    config = chip_for(normed, {"columns": 16, "lanes": 4})
    assert config.head_norms == 1
    with pytest.raises(SetunError, match="one that the parallel core has units for; found NORM"):
        lay_out(normed, config.override(head_norms=0))
    with pytest.raises(SetunError, match="head_norms: must be 0 or 1; found 2"):
        config.override(head_norms=2)
    # A chip may have fewer positions than its model: its conversations are shorter.
    assert (
        chip_for(image, {"columns": 16, "lanes": 4, "attention": 32, "positions": 8}).positions == 8
    )


def test_chips_without_attention_are_what_they_were() -> None:
    config = ChipConfig()
    assert not {"attention", "queries", "positions", "head_norms"} & set(config.to_dict())
    assert Op.ATTEND not in config.core.operations
    assert Op.ATTEND in config.override(attention=32).core.operations
