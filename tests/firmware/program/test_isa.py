"""The instruction set: one declaration, from which everything else follows."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from setun.firmware.errors import SetunError
from setun.firmware.image import file
from setun.firmware.link import identity
from setun.firmware.numerics.arithmetic import MeanSquare
from setun.firmware.numerics.formats import Format
from setun.firmware.program import isa, kernels
from setun.firmware.program.isa import PLACES, WIDE, WORDS, Instruction, Kind, Op, Place, Places

FMT = Format(8, 9)
VALUES: dict[Kind, Any] = {
    Kind.FLAG: st.booleans(),
    Kind.FLOAT: st.floats(-1e6, 1e6).map(FMT.round1),
    Kind.KERNEL: st.sampled_from(kernels.KERNELS),
    Kind.MEAN_SQUARE: st.sampled_from(MeanSquare),
}


@st.composite
def instructions(draw: Any) -> tuple[Instruction, Places]:
    """Any instruction, with any value in every field."""
    op, places = draw(st.sampled_from(Op)), draw(st.sampled_from([PLACES, WIDE]))
    values = {}
    for field in op.fields:
        place = places[field.name]
        whole = st.integers(0, (1 << place.bits) - 1).map(lambda n, by=place.grain: by * n)
        values[field.name] = draw(VALUES.get(field.kind, whole))
    return Instruction(op=op, **values), places


@given(instructions())
def test_decoding_is_the_inverse_of_encoding(drawn: tuple[Instruction, Places]) -> None:
    instruction, places = drawn
    words = instruction.encode(FMT, places)
    assert words.shape == (WORDS,) and words.dtype == np.uint32
    assert Instruction.decode(words.tolist(), FMT, places=places) == instruction


@pytest.mark.parametrize("places", [PLACES, WIDE], ids=["plain", "wide"])
def test_fields_have_places_of_their_own(places: Places) -> None:
    for op in Op:
        used: set[tuple[int, int]] = set()
        for place in (places["op"], *(places[field.name] for field in op.fields)):
            bits = {(place.word, bit) for bit in range(place.low, place.low + place.bits)}
            assert not bits & used, (op.name, place)
            assert place.word < WORDS and place.low + place.bits <= isa.WORD_BITS
            used |= bits
    assert {f.name for op in Op for f in op.fields} | {"op"} == set(PLACES)
    assert max(Op) < 1 << PLACES["op"].bits and 0 not in list(Op)


def test_every_field_is_an_instructions() -> None:
    own = {field.name for field in dataclasses.fields(Instruction)}
    assert own - {"note"} == set(PLACES)


def test_values_that_do_not_fit_are_refused() -> None:
    for name, bits, wide in (
        ("n", 16, 20),
        ("src", 16, 22),
        ("stat_shift", 5, 5),
        ("block", 32, 24),
    ):
        for size, places in ((bits, PLACES), (wide, WIDE)):
            with pytest.raises(SetunError, match=f"{name} must fit {size} bits; found {1 << size}"):
                Instruction(op=Op.MATVEC, **{name: 1 << size}).encode(FMT, places)
    with pytest.raises(SetunError, match="dst must be a multiple of 64; found 32"):
        Instruction(op=Op.EMBED, dst=32).encode(FMT, WIDE)


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"op": 0}, "operation: must be 1 to 10; found 0"),
        ({"op": 11}, "operation: must be 1 to 10; found 11"),
        ({"kernel": 7}, "kernel: must be one of 0, 1, 2, 3, 4, 5, 6; found 7"),
    ],
)
def test_codes_that_mean_nothing_are_refused(changed: dict[str, int], rule: str) -> None:
    word = int(Instruction(op=Op.MATVEC).encode(FMT)[0])
    for name, code in changed.items():
        place = PLACES[name]
        mask = (1 << place.bits) - 1 << place.low
        word = word & ~mask | code << place.low
    with pytest.raises(SetunError, match=rule):
        Instruction.decode([word, 0, 0, 0], FMT)


def test_every_mean_square_means_something() -> None:
    assert {int(each) for each in MeanSquare} == set(range(1 << PLACES["mean_square"].bits))


def test_widths_change_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer vectors: `n` moves to a word of its own."""
    monkeypatch.setitem(PLACES, "n", Place(4, 0, 20))
    monkeypatch.setattr(isa, "WORDS", 8)
    long = Instruction(op=Op.QUANTISE, n=262_144, src=64, immediate=0.5)
    words = long.encode(FMT)
    assert len(words) == 8 and words[4] == 262_144 and words[0] >> 16 == 0
    assert Instruction.decode(words.tolist(), FMT) == long
    with pytest.raises(SetunError, match="n must fit 20 bits"):
        dataclasses.replace(long, n=1 << 20).encode(FMT)


def test_images_and_chips_tell_their_instruction_set() -> None:
    """A new instruction set comes with a new format of images and a new INFO record."""
    assert set(file.INSTRUCTION_SETS) == set(file.READ)
    assert file.INSTRUCTION_SETS[file.FORMAT] == isa.VERSION
    assert set(identity.INSTRUCTION_SETS.values()) == {isa.VERSION, isa.WIDE_VERSION}


def test_listing() -> None:
    lines = {
        Instruction(op=Op.MODEL, src=3, note="hash 03"): "MODEL hash 03",
        Instruction(op=Op.SCALARS, constants=1e-5, immediate=1e-6): (
            "SCALARS eps_outer=1e-05 eps_inner=1e-06"
        ),
        Instruction(op=Op.EMBED, n=64, constants=9, immediate=32, note="e"): (
            "EMBED v[0:+64] = e[9+32*token] e"
        ),
        Instruction(
            op=Op.QUANTISE,
            n=64,
            src=64,
            constants=32,
            mean_square=MeanSquare.ARRAY,
            sync=True,
            stream=True,
        ): "QUANTISE slot <- v[64:+64] gains=32 mean_square=array sync stream",
        Instruction(
            op=Op.MATVEC, n=8, src=64, dst=128, immediate=0.5, kernel=kernels.MLGRU, keep=True
        ): "MATVEC v[64] = h[128:+8] = mlgru(y, v[64]) scale=0.5 keep",
        Instruction(op=Op.ROTATE, n=64, src=128, block=32, immediate=16): (
            "ROTATE v[128:+64] = rope(v[128:+64]) heads=32 turns=16"
        ),
        Instruction(op=Op.CACHE, n=64, src=128, immediate=192, block=32): (
            "CACHE c[192:+64] = codes(v[128:+64]) heads=32"
        ),
        Instruction(op=Op.ATTEND, n=128, src=64, block=32, immediate=64, apart=192): (
            "ATTEND v[64:+128] = attention(v[64:+128], c[64], c[+192]) heads=32"
        ),
        Instruction(op=Op.NORM, n=64, src=0, block=32, immediate=96): (
            "NORM v[0:+64] = norm(v[0:+64]) heads=32 gains=96"
        ),
        Instruction(op=Op.END): "END",
    }
    for instruction, line in lines.items():
        assert " ".join(str(instruction).split()) == line
