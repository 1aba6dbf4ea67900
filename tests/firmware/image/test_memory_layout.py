"""Memory layout: every word of every memory, read back into the model it came from."""

import numpy as np
import pytest

from bench.folders import BITNET, DEMO, VECTORS
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.image import ALIGN, Image, aligned
from setun.firmware.image.memory_layout import (
    Space,
    bound_cycles,
    check_fit,
    lay_out,
    requirements,
    sized_for,
    weight_stride,
    weight_words,
)
from setun.firmware.models.checkpoint import load_checkpoint
from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import Numerics
from setun.firmware.numerics.ternary import unpack_2b, unpack_trits
from setun.firmware.program.isa import WORDS, Op, Table

SHAPES = [(32, 8, 8), (8, 8, 1), (16, 32, 4), (64, 16, 16), (4, 2, 2)]


@pytest.fixture(scope="module", params=["a_h64_l2", "d_h64_l3_nolb"])
def image(request: pytest.FixtureRequest) -> Image:
    return compile_checkpoint(load_checkpoint(VECTORS / request.param))


def config_for(image: Image, shape: tuple[int, int, int], packing: str = "2b") -> ChipConfig:
    p, q, v = shape
    return sized_for(image, ChipConfig(columns=p, rows=q, lanes=v, packing=packing))


@pytest.mark.parametrize("packing", ["2b", "1.6b"])
@pytest.mark.parametrize("shape", SHAPES)
def test_weights_read_back(image: Image, shape: tuple[int, int, int], packing: str) -> None:
    config = config_for(image, shape, packing)
    p, q = config.columns, config.rows
    words = lay_out(image, config).spaces[Space.WEIGHTS].reshape(-1, weight_stride(config))
    assert len(words) == weight_words(image, config) == config.weight_words
    used = config.weight_bits // 8
    raw = words.astype("<u4").view(np.uint8).reshape(len(words), -1)
    assert not raw[:, used:].any()
    unpack = unpack_2b if packing == "2b" else unpack_trits
    codes = unpack(raw[:, :used], p * q).reshape(-1, q, p)
    at = 0
    for matrix in image.matrices:
        rows, columns = matrix.rows, matrix.columns
        across, down = -(-columns // p), -(-rows // q)
        whole = np.zeros((down * q, across * p), np.int8)
        word = at
        for panel in range(0, down, config.panel):
            for column in range(across):
                for row in range(panel, min(panel + config.panel, down)):
                    tile = slice(row * q, row * q + q), slice(column * p, column * p + p)
                    whole[tile] = codes[word]
                    word += 1
        np.testing.assert_array_equal(whole[:rows, :columns], matrix.codes(), err_msg=matrix.name)
        assert not whole[rows:].any() and not whole[:, columns:].any()
        at += across * down
    assert at == len(words)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fmt", [Format(8, 9), Format(6, 7)])
def test_constants_and_embedding_read_back(
    image: Image, shape: tuple[int, int, int], fmt: Format
) -> None:
    config = config_for(image, shape).override(numerics=Numerics(vector=fmt))
    numbers = fmt.from_bits(lay_out(image, config).spaces[Space.CONSTANTS])
    assert len(numbers) == 2 * config.constant_pairs
    pairs = image.tables[Table.CONSTANTS]
    gains = numbers[: 2 * len(pairs)].reshape(-1, 2, config.lanes)
    for k in range(2):
        np.testing.assert_array_equal(gains[:, k].ravel(), fmt.round(pairs[:, k]))
    embed = next(i for i in image.program if i.op is Op.EMBED)
    for token, row in enumerate(image.tables[Table.EMBEDDING]):
        start = 2 * (int(embed.constants) + int(embed.immediate) * token)
        np.testing.assert_array_equal(numbers[start : start + len(row)], fmt.round(row))


def test_gates_lie_at_their_states_addresses(image: Image) -> None:
    config = config_for(image, SHAPES[0])
    gates = config.vector.from_bits(lay_out(image, config).spaces[Space.GATES])
    state = image.memory.state
    assert len(gates) == image.memory.state_elements
    assert [r.start for r in state] == [k * aligned(r.size) for k, r in enumerate(state)]
    np.testing.assert_array_equal(gates, config.vector.round(image.tables[Table.GATES]))


def test_program_words(image: Image) -> None:
    config = config_for(image, SHAPES[0])
    words = lay_out(image, config).spaces[Space.PROGRAM].reshape(-1, WORDS)
    assert len(words) == len(image.program) == config.instructions
    matrices = iter(image.matrices)
    for word, i in zip(words.tolist(), image.program, strict=True):
        assert word[0] & 15 == i.op and word[0] >> 16 == i.n
        assert word[1] == i.src | i.dst << 16
        if i.op is Op.MATVEC:
            assert word[0] >> 4 & 7 == i.kernel.code
            assert bool(word[0] >> 7 & 1) == i.keep and word[0] >> 8 & 1 == 0
            assert word[0] >> 9 & 31 == i.stat_shift
            assert bool(word[0] >> 14 & 1) == i.feeds
            m = next(matrices)
            assert word[2] == -(-m.rows // config.rows) * -(-m.columns // config.columns)
        elif i.op is Op.QUANTISE:
            assert bool(word[0] >> 4 & 1) == i.sync and bool(word[0] >> 7 & 1) == i.stream
        if isinstance(i.immediate, float):
            value = float(config.vector.from_bits(np.uint32(word[3])))
            assert value == config.vector.round1(i.immediate)
        else:
            assert word[3] == i.immediate


def test_same_model_same_words(image: Image) -> None:
    config = config_for(image, SHAPES[0])
    one, two = lay_out(image, config).spaces, lay_out(image, config).spaces
    assert all(np.array_equal(one[s], two[s]) and one[s].dtype == np.uint32 for s in one)
    spaces = {Space.PROGRAM, Space.WEIGHTS, Space.CONSTANTS, Space.GATES}
    assert set(one) == spaces | {Space.TEXT}
    assert set(lay_out(image, config.override(terminal=0)).spaces) == spaces


def test_refusal_lists_every_resource_short(image: Image) -> None:
    config = config_for(image, SHAPES[0])
    check_fit(image, config)
    needed = requirements(image, config)
    del needed["token_bits"], needed["five_trits"]  # of two values each
    tight = config.override(**{name: n - 1 for name, n in needed.items()})
    with pytest.raises(SetunError) as caught:
        lay_out(image, tight)
    line = str(caught.value)
    for name, n in needed.items():
        assert f"{name} {n} of {n - 1}" in line
    for name, n in needed.items():
        with pytest.raises(SetunError) as caught:
            check_fit(image, config.override(**{name: n - 1}))
        assert caught.value.value == f"{name} {n} of {n - 1}"
    assert "\n" not in line


def test_requirements_of_the_demo_model_are_the_documented_sum() -> None:
    image = compile_checkpoint(load_checkpoint(DEMO))
    needed = requirements(image, ChipConfig())
    lm_head = -(-65 // 8) * 128 // 32
    assert needed["weight_words"] == 6 * (4 * 128 * 128 + 3 * 384 * 128) // 256 + lm_head
    assert needed["constant_pairs"] == len(image.tables[Table.CONSTANTS]) + 65 * 128 // 2
    assert needed["vector_elements"] == 128 + 384 and needed["state_elements"] == 6 * 128
    assert needed["vector_elements"] % ALIGN == 0
    check_fit(image, ChipConfig())


def test_options_are_written_in_one_order() -> None:
    """The same file whatever Python's hash seed: numerics last, the rest as declared."""
    for memory, attention, lacking in (("onchip", 0, 9), ("sdram-16", 0, 9), ("onchip", 32, 2)):
        names = list(ChipConfig(memory=memory, attention=attention).to_dict())
        assert names[:3] == ["columns", "rows", "pump"] and names[-1] == "state_rounding"
        assert names.index("baud") == len(ChipConfig.__dataclass_fields__) - 2 - lacking


def test_chunks_fit_the_array_and_vectors_their_sums() -> None:
    numerics = Numerics(activation="fp8", accumulate=16)
    ChipConfig(columns=16, numerics=numerics, max_columns=30_720)
    with pytest.raises(SetunError, match="accumulate: must be at least the 32 columns"):
        ChipConfig(columns=32, numerics=numerics)
    with pytest.raises(SetunError, match="max_columns: must be at most 30720"):
        ChipConfig(max_columns=30_721)


def test_a_bound_counts_keys_and_values() -> None:
    """A word of the cache a cycle beside the weights, or in the memory's beats among them."""
    image = compile_checkpoint(load_checkpoint(BITNET / "a_h64_l2_silu"))
    base = ChipConfig(columns=16, rows=8, lanes=4, attention=16, queries=2)
    onchip = sized_for(image, base)
    words = 2 * (2 * 32) // 16  # of both layers, read once for the two queries of a key
    assert bound_cycles(image, onchip, 100) == bound_cycles(image, onchip) + 100 * words
    assert bound_cycles(image, onchip.override(queries=1), 100) - bound_cycles(image, onchip) == (
        200 * words
    )
    outside = sized_for(image, base.override(memory="axi4-64", outer_cache=1))
    more = bound_cycles(image, outside, 100) - bound_cycles(image, outside)
    assert abs(more - 100 * words * 17 / 8) <= 1
