"""Loads of an external memory, piece by piece: verified, cut short, gone on with."""

import zlib
from collections.abc import Callable

import numpy as np
import pytest

from setun.backends.loading import differing, load
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image import memory_layout
from setun.firmware.image.external import ExternalModel
from setun.firmware.image.memory_layout import MemoryLayout, Space, lay_out, sized_for
from setun.models.random import random_image

IMAGE = random_image((72, 2, 96))
BLOCK = 2048


class Lost(Exception):
    """The cable is out."""


class Chip:
    """A client of a chip that is nothing but memory; `writes` are those of the external memory."""

    def __init__(self, size: int) -> None:
        self.memory = {space: np.full(size, 0xDEADBEEF, np.uint32) for space in Space}
        self.writes: list[tuple[int, int]] = []
        self.most: int | None = None

    def write(
        self,
        space: int,
        address: int,
        words: np.ndarray,
        progress: Callable[[int, int], None] | None = None,
        *,
        sector: int = 0,
        summed: bool = False,
    ) -> list[tuple[int, int]]:
        if self.most is not None and len(self.writes) >= self.most:
            raise Lost
        assert not sector or address % sector == 0
        if space == Space.WEIGHTS:
            self.writes.append((address, len(words)))
        self.memory[Space(space)][address : address + len(words)] = words
        if progress:
            progress(len(words), len(words))
        return []

    def crc(self, space: int, address: int, count: int) -> int:
        return zlib.crc32(self.memory[Space(space)][address : address + count].tobytes())


@pytest.fixture(params=["axi4-64", "sdram-16", "qspi"])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> MemoryLayout:
    monkeypatch.setattr(memory_layout, "BLOCK_WORDS", BLOCK)
    options = {"memory": request.param, "columns": 16, "rows": 4, "lanes": 4, "packing": "1.6b"}
    return lay_out(IMAGE, sized_for(IMAGE, ChipConfig(**options)))


def test_blocks_are_the_whole_memory(layout: MemoryLayout) -> None:
    words = layout.spaces[Space.WEIGHTS]
    blocks = list(layout.blocks(Space.WEIGHTS))
    assert [start for start, _ in blocks] == list(range(0, len(words), BLOCK))
    assert all(len(part) == BLOCK for _, part in blocks[:-1]) and len(blocks) > 3
    np.testing.assert_array_equal(np.concatenate([part for _, part in blocks]), words)
    assert layout.size(Space.WEIGHTS) == len(words)
    assert layout.total == sum(len(each) for each in layout.spaces.values())


def test_words_are_laid_out_as_parts(layout: MemoryLayout) -> None:
    model = layout.external
    assert isinstance(model, ExternalModel)
    joined = np.concatenate(list(model.contents()))
    assert joined.size == model.filled() <= model.size()
    assert model.words().tobytes()[: joined.size] == joined.tobytes()


def test_a_model_larger_than_the_memory_is_refused(layout: MemoryLayout) -> None:
    """In one line, before anything is written: needed of what the chip has."""
    assert layout.external is not None
    config, needed = layout.external.config, layout.external.size()
    smaller = config.override(memory_bytes=needed // 128 * 64)
    with pytest.raises(
        SetunError, match=f"memory_bytes {needed} of {smaller.memory_bytes}"
    ) as told:
        lay_out(IMAGE, smaller)
    assert "\n" not in str(told.value)


def test_a_load_that_was_cut_short_goes_on(layout: MemoryLayout) -> None:
    chip, told = Chip(layout.total), []
    words = layout.spaces[Space.WEIGHTS]
    chip.most = 4  # the blank beginning and three blocks
    with pytest.raises(Lost):
        load(chip, layout)  # type: ignore[arg-type]
    assert not chip.memory[Space.WEIGHTS][:4].any()  # no model
    before, chip.most = len(chip.writes), None
    load(chip, layout, lambda done, total: told.append((done, total)))  # type: ignore[arg-type]
    np.testing.assert_array_equal(chip.memory[Space.WEIGHTS][: len(words)], words)
    again = chip.writes[before:]
    assert [start for start, _ in again[1:3]] == [3 * BLOCK, 4 * BLOCK]  # behind the blank one
    assert again[0][0] == 0 and again[-1] == (0, layout.beginning)
    assert told == sorted(told) and told[-1] == (layout.total, layout.total)
    assert not differing(chip, layout, weights=True)  # type: ignore[arg-type]


def test_what_is_there_is_not_sent_again(layout: MemoryLayout) -> None:
    chip = Chip(layout.total)
    load(chip, layout)  # type: ignore[arg-type]
    before = len(chip.writes)
    load(chip, layout)  # type: ignore[arg-type]
    assert len(chip.writes) - before == (0 if layout.sector else 2)  # blanked, and named again


def test_a_block_that_reads_back_otherwise_is_refused(layout: MemoryLayout) -> None:
    chip = Chip(layout.total)
    write = chip.write

    def flip(
        space: int, address: int, words: np.ndarray, *rest: object, sector: int = 0, **more: object
    ) -> list[tuple[int, int]]:
        write(space, address, words, sector=sector)
        if address != 2 * BLOCK:
            return [(address, len(words))] * bool(more)  # lost, and sent again behind its CRC
        chip.memory[Space(space)][address + 5] ^= 1
        return [(address, 1), (address + 5, 1)]

    chip.write = flip  # type: ignore[method-assign, assignment]
    with pytest.raises(SetunError, match="weights memory: must read back with CRC"):
        load(chip, layout)  # type: ignore[arg-type]
    assert not chip.memory[Space.WEIGHTS][:4].any()
    assert chip.writes[-1][0] == 2 * BLOCK
