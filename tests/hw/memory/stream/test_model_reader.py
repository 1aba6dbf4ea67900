"""Model reader: weights, instructions, gains, gates and rows out of one memory, under stalls."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from bench.runner import run_bench
from setun.firmware.image.records import Kind, header, record, unit_bits, units_of
from setun.hw.memory.controllers.port import MAX_BEATS, controller_members, read_request
from setun.hw.memory.stream.model_reader import ModelReader
from setun.hw.memory.stream.unit_store import UnitStore, UnitStoreShape

BURST, WIDTH = 8, 18


class Outside(wiring.Component):
    """A controller whose memory the bench plays: `outer_read` and `outer_o` are wires."""

    burst = MAX_BEATS

    def __init__(self, beat: int, capacity: int) -> None:
        members = controller_members(beat, capacity)
        bits = (capacity * 8 // beat - 1).bit_length()
        self.outer_read = stream.Signature(read_request(bits)).create()
        self.outer_o = stream.Signature(beat).create()
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [
            self.outer_read.valid.eq(self.read.valid),
            self.outer_read.payload.eq(self.read.payload),
            self.read.ready.eq(self.outer_read.ready),
            self.o.valid.eq(self.outer_o.valid),
            self.o.payload.eq(self.outer_o.payload),
            self.outer_o.ready.eq(self.o.ready),
        ]
        return m


class Bench(wiring.Component):
    """A `ModelReader` and the far side of its controller."""

    def __init__(self, reader: ModelReader, outside: Outside) -> None:
        self.reader, self.outside = reader, outside
        self.inner = reader.signature.members
        members = dict(self.inner.items())
        members["outer_read"] = Out(outside.outer_read.signature)
        members["outer_o"] = In(outside.outer_o.signature)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reader = reader = self.reader
        for name, member in self.inner.items():
            mine, unit = getattr(self, name), getattr(reader, name)
            if member.is_signature:
                wiring.connect(m, wiring.flipped(mine), unit)
            else:
                m.d.comb += mine.eq(unit) if member.flow is Out else unit.eq(mine)
        read, o = self.outside.outer_read, self.outside.outer_o
        m.d.comb += [
            self.outer_read.valid.eq(read.valid),
            self.outer_read.payload.eq(read.payload),
            read.ready.eq(self.outer_read.ready),
            o.valid.eq(self.outer_o.valid),
            o.payload.eq(self.outer_o.payload),
            self.outer_o.ready.eq(o.ready),
        ]
        return m


def model(
    rng: np.random.Generator, *, beat: int, weight_bits: int, lanes: int, depth: int, kept: bool
) -> tuple[dict[str, Any], bytes]:
    """A random model: what a token must give, and the memory that holds it."""
    unit = unit_bits(beat)
    size, align = unit // 8, BURST * beat // 8

    def block(numbers: int, first: int) -> tuple[bytes, list[str], int]:
        """Payload, words and first unit of a block of whole words at word `first`."""
        words = int(rng.integers(1, depth // 2 + 1))
        per_unit = unit // 32
        while words * numbers % per_unit:
            words += 1
        values = rng.integers(0, 1 << WIDTH, words * numbers)
        shown = [
            f"{sum(int(v) << WIDTH * k for k, v in enumerate(row)):x}"
            for row in values.reshape(words, numbers)
        ]
        return values.astype("<u4").tobytes(), shown, first * numbers // per_unit

    about: dict[str, Any] = {"weights": [], "instructions": [], "gains": [], "gates": []}
    weights = b""
    boot, token = [], []

    def put(part: list[bytes], kind: Kind, payload: bytes, **fields: Any) -> None:
        head = header(kind, units_of(len(payload), unit), **fields)
        part.append(record(head, np.frombuffer(payload, np.uint8), unit).tobytes())

    put(boot, Kind.MODEL, b"model's hash")
    given = 0  # bits of weights in records
    for step in range(12):
        for name, kind, numbers in (("gains", Kind.GAINS, 2 * lanes), ("gates", Kind.GATES, lanes)):
            first = (step % 2) * (depth // 2)
            if kept and step > 1:
                continue
            payload, words, at = block(numbers, first)
            about[name].append((first, words))
            put(boot if kept else token, kind, payload, address=at)
        instructions = [rng.bytes(16) for _ in range(int(rng.integers(1, 5)))]
        about["instructions"] += [f"{int.from_bytes(i, 'little'):x}" for i in instructions]
        padded = b"".join(i.ljust(max(size, 16), b"\0") for i in instructions)
        put(token, Kind.INSTRUCTIONS, padded)
        count = int(rng.integers(1, 40))
        words = [rng.bytes(weight_bits // 8) for _ in range(count)]
        about["weights"] += [f"{int.from_bytes(w, 'little'):x}" for w in words]
        weights += b"".join(words)
        until = -(-len(weights) // size) * size
        about.setdefault("cuts", []).append((len(token), given, until))
        token.append(b"")
        given = until
    weights = weights.ljust(given, b"\0")
    for at, start, end in about.pop("cuts"):
        part: list[bytes] = []
        put(part, Kind.WEIGHTS, weights[start:end])
        token[at] = part[0]
    put(token, Kind.STOP, b"")
    front = sum(map(len, boot)) + size
    begins = -(-front // align)
    head = header(Kind.TOKEN, 0, begins, gains=kept, gates=kept)
    boot.append(record(head, np.zeros(0, np.uint8), unit).tobytes())
    memory = b"".join(boot).ljust(begins * align, b"\0") + b"".join(token)
    memory = memory.ljust(-(-len(memory) // align) * align, b"\0")
    about["rows"] = []
    for _ in range(5):
        beats = [rng.bytes(beat // 8) for _ in range(int(rng.integers(1, 30)))]
        about["rows"].append(
            {
                "address": len(memory) * 8 // beat,
                "beats": [f"{int.from_bytes(b, 'little'):x}" for b in beats],
            }
        )
        memory += b"".join(beats)
    memory = memory.ljust(-(-len(memory) // align) * align, b"\0")
    return about | {"kept": kept, "gains_word": 2 * lanes, "gates_word": lanes}, memory


@pytest.mark.parametrize(
    ("beat", "weight_bits", "lanes", "kept"),
    [(16, 104, 2, False), (256, 416, 4, False), (64, 24, 1, True), (512, 128, 8, False)],
)
def test_model_reader(beat: int, weight_bits: int, lanes: int, kept: bool) -> None:
    depth, seed = 64, beat + kept
    about, memory = model(
        np.random.default_rng(seed),
        beat=beat,
        weight_bits=weight_bits,
        lanes=lanes,
        depth=depth,
        kept=kept,
    )
    unit = unit_bits(beat)
    outside = Outside(beat, len(memory))
    reader = ModelReader(
        outside,
        beat=beat,
        capacity=len(memory),
        weight_bits=weight_bits,
        gains=UnitStore(UnitStoreShape(unit, 2 * lanes, WIDTH, depth)),
        gates=UnitStore(UnitStoreShape(unit, lanes, WIDTH, depth)),
        burst=BURST,
        depth=4 * BURST,
        align=BURST,
    )
    about["address_bits"] = reader.address_bits
    run_bench(
        Bench(reader, outside),
        "hw.memory.stream.bench_model_reader",
        parameters={
            "model": about,
            "beat": beat,
            "burst": BURST,
            "contents": memory.hex(),
            "tokens": 8,
        },
        seed=seed,
    )
