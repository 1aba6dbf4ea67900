"""A model in an external memory: its records give back what the image has, for any chip."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from setun.firmware.config import ChipConfig
from setun.firmware.image import external
from setun.firmware.image.array_words import packed_words
from setun.firmware.image.external import ExternalModel
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import sized_for
from setun.firmware.image.records import BURST, Kind
from setun.firmware.program.isa import WIDE, Op, Table
from setun.firmware.program.kernels import MLGRU
from setun.models.random import random_image

CHIPS = {
    "sdram-16": {"columns": 16, "rows": 4, "lanes": 4},
    "sdram-32": {"columns": 8, "rows": 8, "lanes": 8, "packing": "2b"},
    "axi4-64": {"columns": 32, "rows": 8, "lanes": 1},
    "axi4-256": {"columns": 32, "rows": 8, "lanes": 4},
    "axi4-512": {"columns": 16, "rows": 16, "lanes": 2},
}


def chip(image: Image, memory: str) -> ChipConfig:
    options: dict[str, Any] = {"packing": "1.6b", "memory": memory} | CHIPS[memory]
    return sized_for(image, ChipConfig(**options))


def read(data: bytes, unit: int) -> Iterator[tuple[Kind, int, bytes, int]]:
    """Kind, header, payload and place of the records from the start of `data` to STOP or TOKEN."""
    at, size = 0, unit // 8
    while True:
        head = int.from_bytes(data[at : at + 8], "little")
        kind, units = Kind(head & 15), head >> 32
        begin = at + size
        yield kind, head, data[begin : begin + units * size], at
        if kind in (Kind.STOP, Kind.TOKEN):
            return
        at = begin + units * size


@pytest.mark.parametrize("resident", [0, 1 << 20], ids=["streamed", "kept"])
@pytest.mark.parametrize("memory", CHIPS)
def test_the_map_is_of_all_the_memory(
    memory: str, resident: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regions follow each other without a gap, and each begins with what it is named for."""
    monkeypatch.setattr(external, "RESIDENT_PAIRS", resident)
    image = random_image((72, 3, 160))
    model = ExternalModel(image, chip(image, memory))
    data = b"".join(part.tobytes() for part in model.contents())
    regions = model.regions()
    assert regions[0].start == 0 and regions[-1].end == len(data) == model.filled()
    assert all(one.end == after.start and one.size > 0 for one, after in pairwise(regions))
    begins = {region.name: data[region.start] & 15 for region in regions}
    expected = {"model": Kind.MODEL, "token": Kind.TOKEN, "records": Kind.INSTRUCTIONS}
    if not resident:
        expected["records"] = Kind.GAINS  # which come beside the weights
    kept = {"gains": Kind.GAINS, "gates": Kind.GATES} if resident else {}
    rows = begins.pop("embedding")
    assert begins == expected | kept and list(begins)[-1] == "records"
    first = model.config.vector.to_bits(image.tables[Table.EMBEDDING][0, :1])
    assert rows == int(first[0]) & 15


@pytest.mark.parametrize("resident", [0, 1 << 20], ids=["streamed", "kept"])
@pytest.mark.parametrize("memory", CHIPS)
def test_records_hold_the_model(
    memory: str, resident: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external, "RESIDENT_PAIRS", resident)
    image = random_image((72, 3, 160))
    config = chip(image, memory)
    model = ExternalModel(image, config)
    data = b"".join(part.tobytes() for part in model.contents())
    unit, beat, fmt = model.unit, config.beat // 8, config.vector
    assert len(data) <= model.size() and model.size() % (BURST * beat) == 0

    records = list(read(data, unit))
    assert records[0][0] is Kind.MODEL
    assert records[0][2][:12].hex() == image.model_hash
    kept = [r for r in records if r[0] in (Kind.GAINS, Kind.GATES)]
    kind, head, _, at = records[-1]
    assert kind is Kind.TOKEN
    assert bool(head >> 4 & 1) == bool(head >> 5 & 1) == bool(resident) == bool(kept)
    begins = (head >> 8 & 0xFFFFFF) * BURST * beat
    assert at < begins <= at + 2 * BURST * beat

    # What a chip's stores hold when an instruction wants its block.
    stores = {Kind.GAINS: bytearray(1 << 20), Kind.GATES: bytearray(1 << 20)}

    def write(kind: Kind, head: int, payload: bytes) -> None:
        start = (head >> 8 & 0xFFFFFF) * unit // 8
        stores[kind][start : start + len(payload)] = payload

    def numbers(kind: Kind, start: int, count: int) -> np.ndarray:
        """`count` numbers from element `start` on, of pairs in words of lanes."""
        found = np.frombuffer(bytes(stores[kind]), "<u4")
        return fmt.from_bits(found[start : start + count])

    for kind, head, payload, _ in kept:
        write(kind, head, payload)
    program, weights = model.program(model.gains(), model.gates(), model.first_row()), b""
    token = list(read(data[begins:], unit))
    codes = b"".join(packed_words(m, config).tobytes() for m in image.matrices)
    waiting = {Kind.GAINS: [], Kind.GATES: []}
    seen: list[bytes] = []
    v = config.lanes
    for kind, head, payload, _ in token:
        if kind is Kind.INSTRUCTIONS:
            step = max(unit // 8, 16)
            seen += [payload[k : k + 16] for k in range(0, len(payload), step)]
        elif kind is Kind.WEIGHTS:
            weights += payload
        elif kind is not Kind.STOP:
            waiting[kind].append((head, payload))
    assert seen == [i.encode(fmt, WIDE).astype("<u4").tobytes() for i in program]
    assert weights[: len(codes)] == codes and not any(weights[len(codes) :])
    for k, i in enumerate(program):
        original = image.program[k]
        if i.op is Op.QUANTISE:
            if waiting[Kind.GAINS]:
                write(Kind.GAINS, *waiting[Kind.GAINS].pop(0))
            padded = -(-i.n // v) * v
            got = numbers(Kind.GAINS, 2 * int(i.constants), 2 * padded)
            got = got.reshape(-1, 2, v).transpose(0, 2, 1).reshape(-1, 2)[: i.n]
            start = int(original.constants)
            assert (got == fmt.round(image.tables[Table.CONSTANTS][start : start + i.n])).all()
        if i.op is Op.MATVEC and i.kernel is MLGRU:
            if waiting[Kind.GATES]:
                write(Kind.GATES, *waiting[Kind.GATES].pop(0))
            want = fmt.round(image.tables[Table.GATES][i.dst : i.dst + i.n])
            assert (numbers(Kind.GATES, i.block, i.n) == want).all()
        if i.op is Op.EMBED:
            for row in (0, 1, len(image.tables[Table.EMBEDDING]) - 1):
                at = (int(i.constants) + int(i.immediate) * row) * beat
                got = fmt.from_bits(np.frombuffer(data[at : at + 4 * i.n], "<u4"))
                assert (got == fmt.round(image.tables[Table.EMBEDDING][row])).all()


@pytest.mark.parametrize("memory", CHIPS)
def test_two_blocks_are_never_in_one_place(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "RESIDENT_PAIRS", 0)
    image = random_image((72, 3, 160))
    config = chip(image, memory)
    model = ExternalModel(image, config)
    for blocks, kind in ((model.gains(), Op.QUANTISE), (model.gates(), Op.MATVEC)):
        per = 2 if kind is Op.QUANTISE else 1
        places = [
            (start, start + -(-per * image.program[user].n // blocks.word))
            for user, start in blocks.users.items()
        ]
        assert max(end for _, end in places) <= blocks.words
        for (a, b), (c, d) in pairwise(places):
            assert b <= c or d <= a
