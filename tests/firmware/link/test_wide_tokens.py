"""Tokens of 18 bits: what chips say of them, and frames that carry them."""

import struct

import pytest

from firmware.link.test_client import client, ok, refusal
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.link import Command, encode_frame, identity
from setun.firmware.link.messages import Event, Reason
from setun.firmware.numerics.lmul import MOST_SEGMENTS
from setun.firmware.numerics.options import PRESETS, Numerics

WIDE = {"token_bits": 18, "terminal": 0}


@pytest.mark.parametrize(
    ("options", "version"),
    [
        ({}, 6),
        ({"terminal": 0}, 5),
        ({"memory": "qspi"}, 8),
        (WIDE, 9),
        ({"memory": "axi4-256", **WIDE}, 11),
    ],
)
def test_a_chip_says_how_wide_its_tokens_are(options, version) -> None:  # type: ignore[no-untyped-def]
    config = ChipConfig(**options)
    record = identity.encode(config)
    assert record[0] == version
    assert identity.decode(record) == config


@pytest.mark.parametrize("segments", range(MOST_SEGMENTS + 1))
def test_a_chip_says_how_it_multiplies(segments: int) -> None:
    config = ChipConfig(numerics=Numerics(multiplier="lmul", segments=segments))
    record = identity.encode(config)
    assert record[:1] == identity.encode(ChipConfig())[:1], "the version is that of before"
    assert identity.decode(record) == config


def test_segments_without_lmul_are_refused() -> None:
    config = ChipConfig(numerics=Numerics(multiplier="lmul", segments=3))
    record = bytearray(identity.encode(config))
    record[record.index(3 << 4 | 1)] ^= 1
    with pytest.raises(SetunError, match="segments: needs multiplier"):
        identity.decode(bytes(record))


def test_chips_of_before_have_their_hashes() -> None:
    """Of a chip built before its tokens could have another width, or L-Mul other offsets."""
    assert ChipConfig().digest.hex() == "7a441ce1c1ab58b5"
    assert ChipConfig(numerics=PRESETS["lmul-paper"]).digest.hex() == "ea03c9142639c714"
    assert ChipConfig(**WIDE).digest != ChipConfig(terminal=0).digest


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"token_bits": 17}, "token_bits: must be 16 or 18; found 17"),
        ({"token_bits": 18}, "terminal: must be 0 with tokens of 18 bits; found 1"),
        (
            {"memory": "spram-16", "columns": 1, "rows": 10, "lanes": 1, "packing": "1.6b", **WIDE},
            "token_bits: must be 16 with memory spram-16; found 18",
        ),
    ],
)
def test_refused(options, line) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SetunError, match=line):
        ChipConfig(**options)


def test_a_record_of_wide_tokens_and_a_terminal_is_refused() -> None:
    record = bytearray(identity.encode(ChipConfig(**WIDE)))
    record[0] += 1
    with pytest.raises(SetunError, match="must report an INFO record of version 5 to 131"):
        identity.decode(bytes(record))


@pytest.mark.parametrize(("bits", "letter", "most"), [(16, "H", 64), (18, "I", 60)])
def test_frames(bits: int, letter: str, most: int) -> None:
    tokens = [0, 1, (1 << bits) - 1] * 30
    ends = [5, (1 << bits) - 1]
    sampled = [7, (1 << bits) - 2]

    def answer(kind: int, seq: int, payload: bytes) -> bytes:
        if kind != Command.GENERATE:
            return ok(kind, seq, payload)
        frames = encode_frame(kind | 0x80, seq, b"\0\x03")
        for number, token in enumerate(sampled, 3):
            frames += encode_frame(Event.TOKEN, number, struct.pack(f"<{letter}", token))
        done = struct.pack("<BHI", Reason.COUNT, len(sampled), 9)
        return frames + encode_frame(Event.DONE, 3 + len(sampled), done)

    chip, port = client(answer)
    chip.token_bits = bits
    chip.prompt(tokens)
    parts = [payload for kind, _, payload in port.asked if kind == Command.PROMPT]
    assert len(parts[0]) == most * struct.calcsize(letter)
    assert b"".join(parts) == struct.pack(f"<{len(tokens)}{letter}", *tokens)
    assert list(chip.generate(2, True, 0, 0, ends=ends)) == sampled
    assert port.asked[-1][2].startswith(struct.pack(f"<2{letter}", *ends))
    said = refusal(lambda: chip.prompt([1 << bits]))
    assert said == f"prompt: token ids from 0 to {(1 << bits) - 1}; found {1 << bits}"


def test_a_token_of_another_width_is_no_token() -> None:
    def answer(kind: int, seq: int, payload: bytes) -> bytes:
        event = encode_frame(Event.TOKEN, 0, b"\1\0")
        return encode_frame(kind | 0x80, seq, b"\0\0") + event

    chip, _ = client(answer)
    chip.token_bits = 18
    assert "token of 2 bytes" in refusal(lambda: list(chip.generate(2, True, 0, 0)))
