"""Numeric options: what is refused and how, files, presets."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setun.firmware.errors import SetunError
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import (
    CHUNK,
    EXACT,
    FILE_LIMIT,
    PRESETS,
    Numerics,
    choose,
    from_file,
)


@st.composite
def numerics(draw: st.DrawFn) -> Numerics:
    options: dict[str, Any] = {
        "vector": Format(draw(st.integers(5, 8)), draw(st.integers(2, 10))),
        "activation": draw(st.sampled_from(["int8", "fp8"])),
        "multiplier": draw(st.sampled_from(["exact", "lmul"])),
        "state_rounding": draw(st.sampled_from(["nearest", "stochastic"])),
        "state_mantissa": draw(st.none() | st.integers(4, 16)),
    }
    if options["multiplier"] == "lmul":
        options["segments"] = draw(st.integers(0, 4))
    if options["activation"] == "fp8":
        options["accumulate"] = draw(st.just(EXACT) | st.integers(0, 16).map(lambda k: 1 << k))
    if options["state_rounding"] == "stochastic":
        options["state_seed"] = draw(st.integers(0, (1 << 32) - 1))
    return Numerics(**options)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"vector": [8, 11]}, "numerics vector mantissa: must have 2 to 10 bits; found 11"),
    ({"vector": [8, 1]}, "numerics vector mantissa: must have 2 to 24 bits; found 1"),
    ({"vector": [4, 9]}, "numerics vector exponent: must have 5 to 8 bits; found 4"),
    (
        {"vector": [8, 9, 1]},
        "numerics vector: must be bits of exponent and mantissa, [8, 9]; found '[8, 9, 1]'",
    ),
    (
        {"vector": [8, True]},
        "numerics vector: must be bits of exponent and mantissa, [8, 9]; found '[8, True]'",
    ),
    (
        {"vector": "8, 9"},
        "numerics vector: must be bits of exponent and mantissa, [8, 9]; found '8, 9'",
    ),
    ({"activation": "fp16"}, "numerics activation: must be int8 or fp8; found 'fp16'"),
    ({"activation": 8}, "numerics activation: must be int8 or fp8; found '8'"),
    ({"multiplier": "log"}, "numerics multiplier: must be exact or lmul; found 'log'"),
    ({"multiplier": None}, "numerics multiplier: must be exact or lmul; found 'None'"),
    ({"multiplier": "lmul", "segments": 5}, "numerics segments: must be 0 to 4 bits; found 5"),
    ({"multiplier": "lmul", "segments": -1}, "numerics segments: must be 0 to 4 bits; found -1"),
    ({"multiplier": "lmul", "segments": "3"}, "numerics segments: must be a number; found '3'"),
    ({"segments": 3}, 'numerics segments: needs multiplier = "lmul"; found 3'),
    (
        {"state_rounding": "up"},
        "numerics state_rounding: must be nearest or stochastic; found 'up'",
    ),
    (
        {"accumulate": 64},
        'numerics accumulate: needs activation = "fp8"; found 64 (sums of int8 codes are exact)',
    ),
    *(
        (
            {"activation": "fp8", "accumulate": chunk},
            f'numerics accumulate: must be a power of two up to 65536, or "none"; found {chunk}',
        )
        for chunk in (3, -1, 1 << 17)
    ),
    *(
        (
            {"activation": "fp8", "accumulate": chunk},
            f"numerics accumulate: must be a power of two, or \"none\"; found '{chunk}'",
        )
        for chunk in (0, 64.0, "all", True)
    ),
    ({"state_mantissa": 3}, "numerics state_mantissa: must be 4 to 16 bits; found 3"),
    ({"state_mantissa": 17}, "numerics state_mantissa: must be 4 to 16 bits; found 17"),
    ({"state_mantissa": "9"}, "numerics state_mantissa: must be a number; found '9'"),
    (
        {"state_rounding": "stochastic", "state_seed": 1 << 32},
        "numerics state_seed: must be a number of 32 bits; found 4294967296",
    ),
    (
        {"state_rounding": "stochastic", "state_seed": -1},
        "numerics state_seed: must be a number of 32 bits; found -1",
    ),
    (
        {"state_seed": 2},
        'numerics state_seed: needs state_rounding = "stochastic"; found 2',
    ),
    (
        {"mantissa": 9},
        "numerics: options are vector, activation, accumulate, multiplier, segments,"
        " state_rounding, state_mantissa, state_seed; found 'mantissa'",
    ),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda x: str(x)[:40])
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SetunError) as error:
        Numerics.from_dict(options)
    assert str(error.value) == message


def test_long_values_are_cut_in_messages() -> None:
    for options in ({"activation": "x" * 500}, {"multiplier": ["y"] * 300}, {"z" * 500: 1}):
        with pytest.raises(SetunError) as error:
            Numerics.from_dict(options)
        assert len(str(error.value)) < 250


def test_direct_construction_is_checked_too() -> None:
    with pytest.raises(SetunError, match=r"^activation: must be int8 or fp8; found 'fp9'$"):
        Numerics(activation="fp9")
    with pytest.raises(SetunError, match=r"^vector mantissa: must have 2 to 10 bits; found 24$"):
        Numerics(vector=Format(8, 24))


@given(numerics())
def test_dictionaries_go_round(chosen: Numerics) -> None:
    options = chosen.to_dict()
    again = Numerics.from_dict(json.loads(json.dumps(options)))
    assert again.to_dict() == options
    same = ("vector", "activation", "accumulate", "multiplier", "state_rounding", "state_seed")
    assert [getattr(again, name) for name in same] == [getattr(chosen, name) for name in same]
    assert again.state == chosen.state and again.wide == chosen.wide


@given(numerics())
def test_toml_goes_round(tmp_path_factory: pytest.TempPathFactory, chosen: Numerics) -> None:
    options = chosen.to_dict()
    file = tmp_path_factory.mktemp("numerics") / "options.toml"
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items()))
    assert from_file(file).to_dict() == options


@given(numerics())
def test_derived_formats(chosen: Numerics) -> None:
    assert chosen.state.exponent == chosen.wide.exponent == chosen.vector.exponent
    dropped = chosen.wide.mantissa - chosen.state.mantissa
    assert dropped >= (8 if chosen.stochastic else 0)
    assert chosen.wide.mantissa >= chosen.vector.mantissa
    assert chosen.code_bits == (19 if chosen.fp8 else 8)
    assert chosen.fraction == (16 if chosen.fp8 else 0)


def test_options_without_effect_are_left_out() -> None:
    assert Numerics(state_mantissa=9).to_dict() == Numerics().to_dict()
    assert "accumulate" not in Numerics().to_dict() and "state_seed" not in Numerics().to_dict()
    assert Numerics.from_dict({}) == Numerics()


def test_fp8_has_chunks_unless_told_otherwise() -> None:
    assert Numerics.from_dict({"activation": "fp8"}).accumulate == CHUNK
    exact = Numerics.from_dict({"activation": "fp8", "accumulate": "none"})
    assert exact.accumulate == EXACT and exact.to_dict()["accumulate"] == "none"


def test_presets_are_themselves() -> None:
    assert PRESETS["default"] == Numerics()
    for name, preset in PRESETS.items():
        assert choose(name) is preset
        assert Numerics.from_dict(preset.to_dict()).to_dict() == preset.to_dict()
    for one, other in itertools.combinations(PRESETS.values(), 2):
        assert one.to_dict() != other.to_dict()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"vector = [8, 9", "must be a TOML file"),
        (b"\xff\xfe", "must be a TOML file"),
        (b"#" * (FILE_LIMIT + 1), f"has at most {FILE_LIMIT} bytes"),
        (b"a = " + b"[" * 5000, "must be a TOML file"),
        (b'activation = "int4"', "activation: must be int8 or fp8; found 'int4'"),
        (b"[vector]\nexponent = 8", "must be bits of exponent and mantissa, [8, 9]"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    with pytest.raises(SetunError) as error:
        choose(str(file))
    assert message in str(error.value) and str(file) in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_a_name_that_is_nothing(tmp_path: Path) -> None:
    for name in ("half", str(tmp_path), str(tmp_path / "none.toml")):
        with pytest.raises(SetunError) as error:
            choose(name)
        assert str(error.value) == (
            f"numerics {name}: must be a preset or a TOML file; found no such file"
            f" (presets: {', '.join(PRESETS)})"
        )
