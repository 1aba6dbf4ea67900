"""Float units in simulation against their models, on every corner and on random vectors."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from bench.corners import anything, coverage, near, pairs, specials
from bench.pipeline import Job, check
from hw.arith.registered import SMALL, IntegerUnit, KeyUnit, RoundUnit, SumsUnit, WholeUnit
from setun.firmware.numerics import lmul
from setun.firmware.numerics.arithmetic import STAT_BITS
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import Ints, code_reciprocals
from setun.firmware.numerics.lmul import MOST_SEGMENTS
from setun.firmware.numerics.options import (
    ACCUMULATOR,
    CODE,
    CODE_FRACTION,
    SEGMENTS,
)
from setun.hw.arith import (
    BlockLMulSquare,
    BlockSquare,
    Code8,
    CodeDivider,
    CodeQuantiser,
    CodeReciprocal,
    FloatAdder,
    FloatFromInt,
    FloatMultiplier,
    FloatToFixed,
    FloatToKey,
    LMul,
    Reciprocal,
    Rsqrt,
    Sigmoid,
    TimesPower,
    WholeLMulSquare,
    WholeSquare,
)

FORMATS = [Format(8, 9), Format(6, 9), Format(8, 7)]
COUNT = 20_000
SEED = 2026


def _additions() -> Iterator[Job]:
    """Every pair of whole numbers, either of them signed or not."""
    a, b = (grid.ravel() for grid in np.meshgrid(np.arange(64), np.arange(32)))
    for first in (False, True):
        for second in (False, True):
            unit = SumsUnit(first=first, second=second)
            yield Job(name=f"additions_{first:d}{second:d}", unit=unit, inputs=(a, b))


def _multiplier_of_adders(fmt: Format) -> FloatMultiplier:
    return FloatMultiplier(fmt, adders=True)


def _name(unit: type, fmt: Format) -> str:
    return f"{unit.__name__}_{fmt.exponent}_{fmt.mantissa}"


def _every(fmt: Format) -> Ints:
    return np.arange(1 << fmt.width, dtype=np.int64)


def _singles(fmt: Format, seed: int) -> Ints:
    """All patterns of a format up to 17 bits; else all near one, the specials and random ones."""
    if fmt.width <= 17:
        return _every(fmt)
    fields = np.arange(fmt.bias - 18, fmt.bias + 14) << fmt.mantissa
    close = (fields[:, None] + np.arange(1 << fmt.mantissa)).ravel()
    return np.concatenate(
        [
            close,
            close | 1 << (fmt.width - 1),
            specials(fmt),
            anything(fmt, np.random.default_rng(seed), COUNT),
        ]
    )


def _binary(unit: Any, *more: int, formats: Sequence[Format] = FORMATS) -> Iterator[Job]:
    """Random pairs, and every one of a small format; `more` is what the unit is told besides."""
    name = "".join(f"_{number}" for number in more)
    for fmt in formats:
        inputs = pairs(fmt, SEED, COUNT)
        yield Job(name=_name(unit, fmt) + name, unit=unit(fmt, *more), inputs=inputs)
    every = _every(SMALL)
    a, b = (grid.ravel() for grid in np.meshgrid(every, every))
    yield Job(name=_name(unit, SMALL) + name, unit=unit(SMALL, *more), inputs=(a, b))


def _unary() -> Iterator[Job]:
    for fmt in [*FORMATS, SMALL]:
        bits = _singles(fmt, SEED)
        for unit in (Sigmoid, Rsqrt, FloatToKey, CodeReciprocal, KeyUnit):
            yield Job(name=_name(unit, fmt), unit=unit(fmt), inputs=(bits,))
        positive = bits[(bits >> fmt.mantissa > 0) & (bits >> (fmt.width - 1) == 0)]
        yield Job(name=_name(Reciprocal, fmt), unit=Reciprocal(fmt), inputs=(positive,))
        for size, fraction in ((29, 14), (12, 3)):
            unit = FloatToFixed(fmt, size, fraction)
            yield Job(name=f"{_name(FloatToFixed, fmt)}_{size}", unit=unit, inputs=(bits,))
        name = f"{_name(Sigmoid, fmt)}_adders"
        yield Job(name=name, unit=Sigmoid(fmt, adders=True), inputs=(bits,))


def _integers(width: int, fmt: Format) -> Ints:
    """Powers of two and their neighbours, ties, both ends, random sizes."""
    rng = np.random.default_rng(SEED)
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    powers = 1 << np.arange(width - 1)
    large = powers[fmt.mantissa + 2 :, None]
    ties = large + (large >> (fmt.mantissa + 1)) * np.arange(1, 16)
    values = np.concatenate([(powers[:, None] + np.arange(-3, 4)).ravel(), ties.ravel()])
    spread = rng.integers(low, high, COUNT, endpoint=True) >> rng.integers(0, width, COUNT)
    return np.clip(np.concatenate([values, -values, [low, low + 1, high, 0], spread]), low, high)


def _from_int() -> Iterator[Job]:
    for fmt, width in (*((fmt, 24) for fmt in FORMATS), (SMALL, 24), (FORMATS[0], 8), (SMALL, 33)):
        unit = FloatFromInt(fmt, width)
        yield Job(
            name=f"{_name(FloatFromInt, fmt)}_{width}", unit=unit, inputs=(_integers(width, fmt),)
        )


def _fractions() -> Iterator[Job]:
    for fmt in (*FORMATS, SMALL):
        unit = FloatFromInt(fmt, 28, fraction=CODE_FRACTION)
        yield Job(
            name=_name(FloatFromInt, fmt) + "_fraction", unit=unit, inputs=(_integers(28, fmt),)
        )


CODED = [*FORMATS, SMALL, Format(5, 10)]
SUMS = (10, 11, 12, 20, 28, 34)


def _small_elements(fmt: Format) -> tuple[Ints, Ints]:
    """(elements, exponent fields of maxima): every significand at every distance, and noise."""
    rng = np.random.default_rng(SEED)
    tops = np.array([(1 << fmt.exponent) - 1, fmt.bias, 17, 16, 15, 2, 1, 0])
    field, top = np.broadcast_arrays(tops - np.arange(19)[:, None], tops)
    inside = field >= 0
    field, top = field[inside][:, None], np.repeat(top[inside], 1 << fmt.mantissa)
    close = (np.arange(1 << fmt.mantissa) | field << fmt.mantissa).ravel()
    # Maxima below their elements are none; whatever is zero stays it.
    others = np.concatenate([anything(fmt, rng, COUNT), specials(fmt)])
    a = np.concatenate([close, others])
    top = np.concatenate([top, rng.integers(0, 1 << fmt.exponent, len(others))])
    return a | rng.integers(0, 2, len(a)) << (fmt.width - 1), top


def _sums(width: int) -> Ints:
    """Numbers that a power of two above them still fits, as chunks' sums are."""
    values = _integers(width, ACCUMULATOR)
    edge = 1 << (width - 2)
    values = np.concatenate([values, edge - 1 - (np.arange(300) << max(width - 13, 0))])
    values = values[np.abs(values) <= edge]
    return np.concatenate([values, -values])


def _small_codes() -> Iterator[Job]:
    for fmt in CODED:
        yield Job(name=_name(Code8, fmt), unit=Code8(fmt), inputs=_small_elements(fmt))


def _roundings() -> Iterator[Job]:
    for width in SUMS:
        yield Job(name=f"round{width}", unit=RoundUnit(width), inputs=(_sums(width),))


def _valid_codes() -> Ints:
    every = _every(CODE)
    return every[np.abs(CODE.from_bits(every)) <= 2.0]


def _elements(fmt: Format) -> tuple[Ints, Ints]:
    """(elements, maxima) of vectors, ties of the codes included."""
    rng = np.random.default_rng(SEED)
    sign = 1 << (fmt.width - 1)
    ones = 1 << fmt.mantissa
    # A tie needs a significand that shares the factor 127.
    tops = [ones, ones + 1, 2 * ones - 1, *range(127 * (ones // 127 + 1), 2 * ones, 127)]
    distance = np.arange(11)[:, None]
    a, largest = np.broadcast_arrays(
        np.arange(ones) | (fmt.bias - distance) << fmt.mantissa,
        fmt.bias << fmt.mantissa | np.array(tops)[:, None, None] - ones,
    )
    random, special = anything(fmt, rng, COUNT), specials(fmt)
    left, right = (grid.ravel() for grid in np.meshgrid(special, special))
    a = np.concatenate([a.ravel(), near(fmt, rng, random, 10), left]) & ~sign
    largest = np.concatenate([largest.ravel(), random, right]) & ~sign
    a, largest = np.minimum(a, largest), np.maximum(a, largest)
    return a | rng.integers(0, 2, len(a)) * sign, largest


def _codes() -> Iterator[Job]:
    for fmt in [*FORMATS, SMALL]:
        a, largest = _elements(fmt)
        field = (largest >> fmt.mantissa) & ((1 << fmt.exponent) - 1)
        reciprocal = code_reciprocals(fmt)[largest & ((1 << fmt.mantissa) - 1)]
        unit = CodeQuantiser(fmt)
        yield Job(name=_name(CodeQuantiser, fmt), unit=unit, inputs=(a, reciprocal, field))
        yield Job(name=_name(CodeDivider, fmt), unit=CodeDivider(fmt), inputs=(a, largest))


def _squares() -> Iterator[Job]:
    rng = np.random.default_rng(SEED)
    for fmt in [*FORMATS, SMALL]:
        a = np.concatenate([specials(fmt), anything(fmt, rng, COUNT)])
        field = (a >> fmt.mantissa) & ((1 << fmt.exponent) - 1)
        block = np.clip(field + rng.integers(-2, 21, len(a)), 0, (1 << fmt.exponent) - 1)
        yield Job(name=_name(BlockSquare, fmt), unit=BlockSquare(fmt), inputs=(a, block))
        # Every magnitude on its own exponent, and cut by up to all of its bits.
        ones = np.arange(1 << fmt.mantissa)
        mantissa, d = (grid.ravel() for grid in np.meshgrid(ones, np.arange(18)))
        inputs = (fmt.bias - d) << fmt.mantissa | mantissa, np.full(len(d), fmt.bias)
        for segments in range(MOST_SEGMENTS + 1) if fmt == FORMATS[0] else (0, SEGMENTS):
            name, unit = (f"{_name(BlockLMulSquare, fmt)}_{segments}", BlockLMulSquare)
            yield Job(name=name, unit=unit(fmt, segments), inputs=(a, block))
            yield Job(name=f"{name}_all", unit=unit(fmt, segments), inputs=inputs)


def _whole_squares() -> Iterator[Job]:
    """Every number of 12 bits, as the rows' statistic has them, and of the narrowest widths."""
    for width in (2, 3, 8, STAT_BITS):
        a = np.arange(-(1 << (width - 1)), 1 << (width - 1))
        yield Job(name=f"square_{width}", unit=IntegerUnit(WholeSquare(width)), inputs=(a,))
        for segments in range(MOST_SEGMENTS + 1):
            unit = IntegerUnit(WholeLMulSquare(width, segments))
            yield Job(name=f"lmul_square_{width}_{segments}", unit=unit, inputs=(a,))


def test_units_equal_their_models() -> None:
    codes = list(_codes())
    for job in codes:
        fmt = job.unit.fmt
        assert np.array_equal(job.unit.model(*job.inputs), code_of(fmt, *_elements(fmt))), job.name
    jobs = [
        *_binary(FloatMultiplier),
        *_binary(_multiplier_of_adders),
        *_additions(),
        *(job for kept in (0, SEGMENTS) for job in _binary(LMul, kept)),
        *(job for kept in (1, 2, 4) for job in _binary(LMul, kept, formats=FORMATS[:1])),
        *_binary(FloatAdder),
        *_unary(),
        *_from_int(),
        *_fractions(),
        *_binary(TimesPower),
        *codes,
        *_small_codes(),
        Job(name="whole", unit=WholeUnit(), inputs=(np.tile(_valid_codes(), 2),)),
        *_roundings(),
        *_squares(),
    ]
    assert min(len(np.asarray(job.inputs[0])) for job in jobs) >= 72
    jobs += _whole_squares()
    assert sum(len(np.asarray(job.inputs[0])) >= COUNT for job in jobs) >= 27
    check(jobs, seed=SEED)


@pytest.mark.parametrize("segments", range(1, MOST_SEGMENTS + 1))
def test_squares_with_segments_fit_the_same_widths(segments: int) -> None:
    size = np.arange(1 << 16)
    square = lmul.square(size.astype(np.float64), segments)
    assert square.max() < 17 << 28 and square[: 1 + (1 << 11)].max() <= 17 << 18


def test_squares_by_lmul_fit_their_widths() -> None:
    """Each is a whole number of at most 17/16 of the next power's square, as the paper's formula
    has it where no carry reaches the exponent."""
    size = np.arange(1 << 16)
    square = lmul.square(size.astype(np.float64))
    assert square.max() < 17 << 28 and square[: 1 + (1 << 11)].max() <= 17 << 18
    whole = np.floor(lmul.formula(size[1:], size[1:], 9))
    x = np.frexp(size[1:])[0] * 2.0 - 1.0
    inside = 2.0 * x + 1 / 16 < 1.0
    assert np.array_equal(square[1:][inside], whole[inside]) and inside.sum() > 30_000
    assert square[0] == 0.0 and (square[1:][~inside] >= whole[~inside]).all()


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_vectors_reach_the_corners(fmt: Format) -> None:
    a, b = (fmt.from_bits(bits) for bits in pairs(fmt, SEED, COUNT))
    for met in (coverage(fmt, a * b), coverage(fmt, a + b)):
        assert min(met.exact, met.ties, met.flushed, met.saturated, met.zero) >= 50, met
    assert coverage(fmt, _integers(24, fmt).astype(np.float64)).ties >= 100
    assert coverage(SMALL, _integers(24, SMALL).astype(np.float64)).saturated >= 1000


@pytest.mark.parametrize("fmt", CODED, ids=str)
def test_small_code_vectors_reach_every_code_and_corner(fmt: Format) -> None:
    a, top = _small_elements(fmt)
    field = (a >> fmt.mantissa) & ((1 << fmt.exponent) - 1)
    inside = (field != 0) & (field <= top)
    exact = np.where(inside, np.ldexp(fmt.from_bits(a), fmt.bias - top), 0.0)
    codes = CODE.round(exact)
    every = np.unique(CODE.from_bits(_valid_codes()))
    assert set(codes) == set(every if fmt.mantissa > 2 else every[np.abs(every) < 2.0])
    met = coverage(CODE, exact)
    assert min(met.exact, met.flushed, met.zero) >= 10, met
    if fmt.mantissa > 2:
        assert met.ties >= 100, met
        assert np.any((np.abs(exact) < CODE.smallest) & (codes != 0.0))  # rounded, not flushed


@pytest.mark.parametrize("width", [w for w in SUMS if w >= 20])
def test_sums_reach_ties_and_the_next_power(width: int) -> None:
    values, top = _sums(width), 1 << (width - 2)
    assert coverage(ACCUMULATOR, values.astype(np.float64)).ties >= 100
    assert values.max() == top and values.min() == -top
    assert np.any((values < top) & (ACCUMULATOR.round(values) == top))


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_code_vectors_reach_every_code_and_ties(fmt: Format) -> None:
    bits, maxima = _elements(fmt)
    a, largest = np.abs(fmt.from_bits(bits)), fmt.from_bits(maxima)
    codes = code_of(fmt, bits, maxima)
    assert set(codes.tolist()) == set(range(-127, 128))
    some = largest > 0.0
    quotient = 254.0 * a[some] / largest[some]  # odd integers are ties; those are exact
    assert ((quotient % 2.0 == 1.0) & (quotient * largest[some] == 254.0 * a[some])).sum() >= 50


def code_of(fmt: Format, bits: Ints, maxima: Ints) -> Ints:
    """sign(a) * floor(127*|a|/max + 1/2) in exact integers."""
    field = (bits >> fmt.mantissa) & ((1 << fmt.exponent) - 1)
    top = (maxima >> fmt.mantissa) & ((1 << fmt.exponent) - 1)
    ones = 1 << fmt.mantissa
    distance = np.clip(top - field, 0, 12)
    below = ((maxima & (ones - 1)) | ones) << distance
    size = (254 * ((bits & (ones - 1)) | ones) + below) // (2 * below)
    size = np.where(field == 0, 0, size)
    return np.where(bits >> (fmt.width - 1) == 1, -size, size)
