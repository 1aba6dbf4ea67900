"""Frames on the host: round trips, damage, garbage."""

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setun.firmware.errors import SetunError
from setun.firmware.link.crc import crc32_combine
from setun.firmware.link.frames import (
    MAX_FRAME,
    Frame,
    FrameError,
    FrameReader,
    cobs_decode,
    cobs_encode,
    decode_frame,
    encode_frame,
)
from setun.firmware.link.messages import Done, ErrorCode

BYTES = st.integers(0, 255)
FRAMES = st.builds(Frame, BYTES, BYTES, st.binary(max_size=240))


def wire(frame: Frame) -> bytes:
    return encode_frame(frame.kind, frame.seq, frame.payload)


@given(st.binary(max_size=1200) | st.integers(0, 600).map(lambda n: b"\1" * n))
def test_cobs_round_trip(data: bytes) -> None:
    encoded = cobs_encode(data)
    assert 0 not in encoded
    assert len(encoded) <= len(data) + len(data) // 254 + 1
    assert cobs_decode(encoded) == data


def test_cobs_published_examples() -> None:
    """The table of Wikipedia's article on COBS."""
    examples = [
        ("00", "0101"),
        ("0000", "010101"),
        ("001100", "01021101"),
        ("11220033", "0311220233"),
        ("11223344", "0511223344"),
        ("11000000", "0211010101"),
    ]
    for plain, encoded in examples:
        assert cobs_encode(bytes.fromhex(plain)).hex() == encoded
    long = bytes(range(1, 255))
    assert cobs_encode(long) in (b"\xff" + long, b"\xff" + long + b"\x01")


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(1, 40), min_size=1))
def test_reader_finds_frames_in_any_pieces(frames: list[Frame], sizes: list[int]) -> None:
    stream = b"".join(wire(frame) for frame in frames)
    reader = FrameReader()
    got = []
    place = turn = 0
    while place < len(stream):
        size = sizes[turn % len(sizes)]
        got += reader.feed(stream[place : place + size])
        place, turn = place + size, turn + 1
    assert got == frames
    assert not reader.refused


@given(st.binary(max_size=2000), FRAMES)
def test_reader_survives_garbage(garbage: bytes, frame: Frame) -> None:
    reader = FrameReader()
    reader.feed(garbage)
    assert reader.feed(b"\0" + wire(frame))[-1:] == [frame]


def test_hundred_thousand_damaged_frames() -> None:
    """Flips, losses, doublings and random bytes: none is taken for a frame."""
    rng = random.Random(5)
    reader = FrameReader()
    for _ in range(100_000):
        original = encode_frame(rng.randrange(256), rng.randrange(256), rng.randbytes(8))[:-1]
        damaged = bytearray(original)
        for _ in range(rng.choice((1, 1, 2, 4))):
            place = rng.randrange(len(damaged)) if damaged else 0
            choice = rng.randrange(4)
            if choice == 0 and damaged:
                damaged[place] ^= 1 << rng.randrange(8)
            elif choice == 1 and damaged:
                del damaged[place]
            elif choice == 2 and damaged:
                damaged.insert(place, damaged[place])
            else:
                damaged[place : place + 1] = rng.randbytes(rng.randrange(3))
        if original not in bytes(damaged).split(b"\0"):
            assert not reader.feed(b"\0" + bytes(damaged) + b"\0")
    assert sum(reader.refused.values()) > 95_000
    assert set(reader.refused) >= {ErrorCode.BAD_CRC, ErrorCode.BAD_COBS, ErrorCode.TOO_SHORT}


def test_limits() -> None:
    longest = Frame(1, 2, bytes(range(240)))
    assert decode_frame(wire(longest)[:-1]) == longest
    for kind, seq, payload in ((1, 2, bytes(241)), (256, 0, b""), (0, -1, b"")):
        with pytest.raises(SetunError) as refused:
            encode_frame(kind, seq, payload)
        assert "\n" not in str(refused.value)
    body = bytes(MAX_FRAME - 3)
    with pytest.raises(FrameError) as error:
        decode_frame(cobs_encode(body + zlib.crc32(body).to_bytes(4, "little")))
    assert error.value.code == ErrorCode.OVERLONG
    reader = FrameReader()
    for _ in range(100):
        assert not reader.feed(b"\1" * 1000)
    assert reader.feed(b"\0" + wire(longest)) == [longest]
    assert reader.refused == {ErrorCode.OVERLONG: 1}


@given(st.binary(max_size=300), st.binary(max_size=3000))
def test_crc_of_a_concatenation(first: bytes, second: bytes) -> None:
    combined = crc32_combine(zlib.crc32(first), zlib.crc32(second), len(second))
    assert combined == zlib.crc32(first + second)


def test_done_payload() -> None:
    assert Done.unpack(b"\x01\x02\x01\xff\xff\xff\xff") == Done(1, 258, 0xFFFFFFFF)
    assert Done.unpack(b"\x01") is None
