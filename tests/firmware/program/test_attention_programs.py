"""Programs with attention: what means nothing is refused, the rest runs; chips refuse them all."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.folders import BITNET
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image, Region
from setun.firmware.image.memory_layout import lay_out, sized_for
from setun.firmware.image.model_hash import with_hash
from setun.firmware.models.checkpoint import load_checkpoint
from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import Numerics
from setun.firmware.program.isa import Op, Table
from setun.firmware.program.verify import verify
from setun.sim.golden import GoldenModel

ON_HEADS = (Op.ROTATE, Op.CACHE, Op.ATTEND)
SMALL = Numerics(vector=Format(6, 9))
CHIPS = {
    "parallel": ChipConfig(columns=16, rows=4, lanes=1),
    "external": ChipConfig(columns=64, rows=4, lanes=4, memory="axi4-256"),
    "small": ChipConfig(
        columns=1, rows=10, lanes=1, packing="1.6b", memory="spram-16", numerics=SMALL
    ),
}


@cache
def image() -> Image:
    return compile_checkpoint(load_checkpoint(BITNET / "a_h64_l2_silu"))


def changed(at: int, **fields: Any) -> Image:
    program = list(image().program)
    program[at] = replace(program[at], **fields)
    return with_hash(replace(image(), program=tuple(program)))


def place(op: Op, number: int = 0) -> int:
    """Where the program has an operation."""
    return [at for at, do in enumerate(image().program) if do.op is op][number]


@pytest.mark.parametrize(
    ("op", "fields", "rule"),
    [
        (Op.ROTATE, {"block": 15}, "even width that 64 is a multiple of"),
        (Op.ROTATE, {"block": 0}, "even width"),
        (Op.ROTATE, {"block": 64}, "phases lie within 8"),
        (Op.ROTATE, {"immediate": 1}, "phases lie within 8"),
        (Op.ROTATE, {"src": 4096}, "nobody wrote 64 elements at v[4096]"),
        (Op.ROTATE, {"n": 32}, "nobody wrote 32 elements"),
        (Op.ROTATE, {"dst": 64}, "has no field dst"),
        (Op.CACHE, {"immediate": 16}, "must be a region of the cache"),
        (Op.CACHE, {"immediate": 32}, "c[32] is written once a token"),
        (Op.CACHE, {"block": 8}, "nobody wrote keys of 16 a head at c[0]"),
        (Op.CACHE, {"of_values": True}, "nobody wrote keys of 16 a head at c[0]"),
        (Op.ATTEND, {"immediate": 128}, "nobody wrote keys of 16 a head at c[128]"),
        (Op.ATTEND, {"apart": 3}, "nobody wrote values of 16 a head at c[3]"),
        (Op.ATTEND, {"block": 32}, "nobody wrote keys of 32"),
        (Op.ATTEND, {"group": 1}, "groups of queries share 32 elements of keys"),
    ],
)
def test_what_means_nothing_is_refused(op: Op, fields: dict[str, int], rule: str) -> None:
    with pytest.raises(SetunError) as refusal:
        verify(changed(place(op), **fields), "m")
    assert rule in str(refusal.value)


@pytest.mark.parametrize("op", ON_HEADS)
def test_heads_are_in_the_body(op: Op) -> None:
    do = image().program[place(op)]
    program = (*image().program[:-3], do, *image().program[-3:])
    with pytest.raises(SetunError, match="must be in the body"):
        verify(with_hash(replace(image(), program=program)), "m")


def test_a_region_is_written_once_a_token() -> None:
    at = place(Op.CACHE)
    program = (*image().program[:at], image().program[at], *image().program[at:])
    with pytest.raises(SetunError, match=r"c\[0\] is written once a token"):
        verify(with_hash(replace(image(), program=program)), "m")


@pytest.mark.parametrize(
    ("memory", "rule"),
    [
        ({"positions": 0}, "positions: must be 1 to 1048576; found 0"),
        ({"positions": 1 << 21}, "positions: must be 1 to 1048576"),
        ({"cache": (), "positions": 9}, "positions: must be 0 without a cache"),
        ({"cache": (Region("k", 3, 32),)}, "must be a region of the cache"),
    ],
)
def test_maps_of_the_cache(memory: dict[str, Any], rule: str) -> None:
    with pytest.raises(SetunError, match=rule):
        verify(replace(image(), memory=replace(image().memory, **memory)), "m")


@pytest.mark.parametrize("wrong", [[1.5], [-1.0], [float(1 << 24)], [[1.0]]])
def test_phases_are_whole_numbers(wrong: list[Any]) -> None:
    tables = {**image().tables, Table.ROPE: np.array(wrong, np.float32)}
    with pytest.raises(SetunError, match=r"m rope: must be"):
        verify(replace(image(), tables=tables), "m")


@settings(deadline=None)
@given(
    op=st.sampled_from(ON_HEADS),
    number=st.integers(0, 1),
    name=st.sampled_from(["n", "src", "dst", "block", "immediate"]),
    value=st.sampled_from([0, 1, 2, 16, 32, 64, 128, 192, 256]),
)
def test_what_is_not_refused_runs(op: Op, number: int, name: str, value: int) -> None:
    other = changed(place(op, number), **{name: value})
    try:
        verify(other, "m")
    except SetunError:
        return
    model = GoldenModel(other)
    for token in (3, 1):
        model.feed(token)
    assert np.isfinite(model.logits()).all()


@pytest.mark.parametrize("chip", CHIPS)
def test_chips_without_attention_refuse_it(chip: str) -> None:
    config = CHIPS[chip]
    at = place(Op.ROTATE)
    refused = (sized_for, lay_out) if chip == "small" else (lay_out,)
    for act in refused:
        with pytest.raises(SetunError) as refusal:
            act(image(), config)
        assert str(refusal.value) == (
            f"model's instruction {at} ROTATE model.layers.0.self_attn.q: must be one that the "
            f"{config.core.name} core has units for; found ROTATE "
            "(setun run --backend golden runs the model)"
        )


def test_norms_of_heads_have_a_unit_where_they_are_needed() -> None:
    program = [
        replace(do, op=Op.NORM, immediate=0) if do.op is Op.ROTATE else do for do in image().program
    ]
    normed = replace(image(), program=tuple(program))
    config = sized_for(normed, CHIPS["parallel"])
    assert config.head_norms == 1
    assert sized_for(image(), CHIPS["parallel"]).head_norms == 0
    with pytest.raises(SetunError, match=r"must be one that .* has units for; found NORM"):
        lay_out(normed, config.override(head_norms=0))
