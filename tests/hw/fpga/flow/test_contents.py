"""Where a memory's bits lie in block RAM: marks, their recovery, and the file that keeps it."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from hypothesis import given, settings
from hypothesis import strategies as st

from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image import container
from setun.firmware.image.memory_layout import lay_out, sized_for
from setun.hw.fpga.families import ECP5
from setun.hw.fpga.flow.bit_map import BYTES, Piece, fill, recover, rows
from setun.hw.fpga.flow.finished import Finished, parse
from setun.hw.fpga.flow.marks import contents, markable, marks
from setun.hw.fpga.flow.toolchain import find_tool
from setun.hw.memory.blocks import segments
from setun.hw.memory.store import Store, bus_signature
from setun.models.random import random_image

PATCHING = ECP5.patching

IMAGE = random_image((64, 1, 64), seed=5)
CONFIG = sized_for(IMAGE, ChipConfig(columns=8, rows=4, lanes=2, packing="1.6b"))
REPORT = {"board": "ulx3s-25f", "clock_mhz": 25.0, "fmax_mhz": 30.0, "timing_met": True, "seed": 1}


def config_text(blocks: dict[int, np.ndarray]) -> str:
    """What nextpnr writes, as far as it concerns block RAM."""
    text = ".device LFE5U-25F\n\n.tile CIB_R1C1:CIB\narc: A B\n\n"
    zero = np.zeros((BYTES, 9), np.uint8)
    empty = "\n".join([" ".join(["000"] * 8)] * (BYTES // 8))
    text += "".join(f".bram_init {number}\n{empty}\n\n" for number in blocks)
    assert all((block == zero).all() for block in PATCHING.placed_blocks(text).values())
    return PATCHING.with_blocks(text, blocks)


def finished() -> Finished:
    """A chip whose memories lie in blocks of 18 bits, as synthesis would put them."""
    pieces, number = {}, 3
    for name, bits in contents(CONFIG, marks(CONFIG)).items():
        for first in range(0, len(bits), 1024):
            for low in range(0, bits.shape[1], 18):
                width = min(18, bits.shape[1] - low)
                columns = tuple((k, low + k) for k in range(width))
                pieces[number] = Piece(memory=name, first=first, stride=4, columns=columns)
                number += 1
    text = config_text(fill(pieces, contents(CONFIG, marks(CONFIG))) | {1: other(1)})
    return Finished(
        family=ECP5,
        name="setun",
        config=CONFIG,
        work="0" * 24,
        pieces=pieces,
        text=text,
        report=REPORT,
    )


def other(seed: int) -> np.ndarray:
    """A block that is none of the model's."""
    return np.random.default_rng(seed).integers(0, 2, (BYTES, 9), np.uint8)


@pytest.mark.parametrize(
    "config",
    [CONFIG, CONFIG.override(lanes=4, columns=16, constant_pairs=5000), CONFIG.override(pump=2)],
)
def test_every_column_of_the_marks_is_its_own(config: ChipConfig) -> None:
    found = contents(config, marks(config))
    columns = [column.tobytes().rstrip(b"\0") for bits in found.values() for column in bits.T]
    assert b"" not in columns and len(set(columns)) == len(columns)
    again = contents(config, marks(config))
    assert all(np.array_equal(bits, again[name]) for name, bits in found.items())
    if config is CONFIG:
        real = contents(config, lay_out(IMAGE, config))
        assert {name: bits.shape for name, bits in real.items()} == {
            name: bits.shape for name, bits in found.items()
        }


def test_memory_too_small_to_mark_is_refused() -> None:
    tiny = CONFIG.override(rows=8, lanes=8, state_elements=32)
    with pytest.raises(SetunError, match="gates0: must be deep enough"):
        marks(tiny)
    assert not markable(tiny) and markable(CONFIG)


def flat(stride: int, row: int, column: int) -> tuple[int, int]:
    """Byte and bit of a bit of a word, from the addresses of the data sheet."""
    if stride < 3:
        address = (row << stride) + column
        return address >> 3, address & 7
    byte, bit = divmod(column, 9)
    return (row << (stride - 3)) + byte, bit


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_pieces_are_found_and_filled(data: st.DataObject) -> None:
    """Memories of any shape, their bits anywhere in the columns, beside blocks of other use."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 30), label="seed"))
    blocks, marked, expected = {}, {}, {}
    number = 0
    for m in range(data.draw(st.integers(1, 3), label="memories")):
        stride = data.draw(st.sampled_from([0, 2, 3, 4, 5, 6, 7]), label="stride")
        count = 1 << (14 - stride)
        deep = count >= 512 and data.draw(st.booleans(), label="two deep")
        depth = 2 * count if deep else data.draw(st.integers(min(40, count), count), label="depth")
        room = rows(np.zeros((BYTES, 9), np.uint8), stride).shape[1]
        width = data.draw(st.integers(1, 12), label="width")
        bits = rng.integers(0, 2, (depth, width), np.uint8)
        marked[f"m{m}"] = bits
        other_bits = rng.integers(0, 2, (depth, width), np.uint8)
        order = list(rng.permutation(width))
        for first in range(0, depth, count):
            for low in range(0, width, room):
                block, wanted = np.zeros((2, BYTES, 9), np.uint8)
                some = order[low : low + room]
                for column, bit in zip(rng.permutation(room), some, strict=False):
                    for row in range(min(count, depth - first)):
                        place = flat(stride, row, int(column))
                        block[place] = bits[first + row, bit]
                        wanted[place] = other_bits[first + row, bit]
                blocks[number], expected[number] = block, wanted
                number += 1
        marked[f"m{m}"], expected[f"m{m}"] = bits, other_bits
    blocks[number] = other(int(rng.integers(1 << 30)))
    pieces = recover(blocks, marked)
    assert pieces.keys() == blocks.keys() - {number}
    filled = fill(pieces, {name: expected[name] for name in marked})
    for key, block in filled.items():
        np.testing.assert_array_equal(block, expected[key])


def test_missing_bit_is_refused() -> None:
    marked = contents(CONFIG, marks(CONFIG))
    whole = fill(finished().pieces, marked)
    name = finished().pieces[3].memory
    for change in ("none", "one bit"):
        blocks = dict(whole)
        if change == "none":
            del blocks[3]
        else:
            blocks[3] = blocks[3].copy()
            blocks[3][0, 0] ^= 1
        with pytest.raises(SetunError, match=f"memory {name}: must lie in block RAM"):
            recover(blocks, marked)
    assert recover(whole | {1: other(2)}, marked) == finished().pieces


class Room(wiring.Component):
    """Stores of several shapes on one bus, as a chip's memories."""

    STORES = (("a", 18, 2, 300), ("b", 13, 5, 1100), ("c", 16, 1, 2048), ("d", 18, 4, 16))

    def __init__(self) -> None:
        rng = np.random.default_rng(9)
        self.marked = {}
        self.stores = []
        for name, element, elements, depth in self.STORES:
            bits = rng.integers(0, 2, (depth, element * elements), np.uint8)
            words = [int("".join(map(str, row[::-1])), 2) for row in bits]
            self.marked[name] = bits
            self.stores.append(
                Store(name, element=element, elements=elements, depth=depth, init=words)
            )
        super().__init__({f"bus_{store.name}": In(bus_signature()) for store in self.stores})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for store in self.stores:
            m.submodules[store.name] = store
            wiring.connect(m, wiring.flipped(getattr(self, f"bus_{store.name}")), store.bus)
        return m


def test_stores_are_found_in_their_netlist(tmp_path: Path) -> None:
    """As synthesis lays them out; small ones lie in block RAM too."""
    room = Room()
    (tmp_path / "room.il").write_text(str(rtlil.convert(room, name="room", emit_src=False)))
    (tmp_path / "synth.ys").write_text(ECP5.flow().synthesis.format(name="room"))
    subprocess.run([*find_tool("yosys").command, "-q", "-s", "synth.ys"], cwd=tmp_path, check=True)
    blocks = PATCHING.netlist_blocks(json.loads((tmp_path / "room.json").read_text()))
    marked = {}
    for store in room.stores:
        bits, start = room.marked[store.name], 0
        for k, depth in enumerate(segments(store.depth, store.width)):
            part = bits[start : start + depth]
            marked[f"{store.name}{k}"] = np.pad(part, ((0, depth - len(part)), (0, 0)))
            start += depth
    pieces = recover(blocks, marked)
    assert pieces.keys() == blocks.keys()
    for key, block in fill(pieces, marked).items():
        np.testing.assert_array_equal(block, blocks[key])


def test_file_round_trip_and_model() -> None:
    chip = finished()
    data = chip.dump()
    assert parse(data, "f") == chip and parse(data, "f").dump() == data
    layout = lay_out(IMAGE, CONFIG)
    blocks = PATCHING.placed_blocks(chip.with_model(layout))
    np.testing.assert_array_equal(blocks[1], other(1))
    there = fill(chip.pieces, contents(CONFIG, layout))
    assert all((blocks[number] == block).all() for number, block in there.items())


DATA = finished().dump()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_refused(data: st.DataObject) -> None:
    damaged = bytearray(DATA)
    kind = data.draw(st.sampled_from(["flip", "cut", "append", "noise"]))
    at = data.draw(st.integers(0, len(DATA) - 1))
    if kind == "flip":
        damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del damaged[at:]
    elif kind == "append":
        damaged += data.draw(st.binary(min_size=1, max_size=20))
    else:
        damaged = bytearray(data.draw(st.binary(max_size=200)))
    with pytest.raises(SetunError):
        parse(bytes(damaged), "f")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 1 << 40) | st.text(max_size=5) | st.floats(-1, 1),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


def test_true_is_no_version() -> None:
    header, sections = container.parse(DATA, "f")
    text = sections["text"]
    changed = container.dump(
        header | {"finished": True}, [container.Section("text", "nextpnr", text.data, text.meta)]
    )
    with pytest.raises(SetunError, match="version must be"):
        parse(changed, "f")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_header_is_understood_or_refused(data: st.DataObject) -> None:
    """With checksums that match: nothing but SetunError, from the file or from putting a model."""
    header, sections = container.parse(DATA, "f")
    key = data.draw(st.sampled_from([*header, "piece", "number", "meta", "text"]))
    value = data.draw(VALUES)
    text = sections["text"]
    meta, packed = dict(text.meta), text.data
    if key == "piece":
        header["pieces"][data.draw(st.integers(0, len(header["pieces"]) - 1))] = value
    elif key == "number":
        header["pieces"][0][data.draw(st.integers(0, 4))] = value
    elif key == "meta":
        meta[data.draw(st.sampled_from(["length", "sha256"]))] = value
    elif key == "text":
        packed = data.draw(st.binary(max_size=50))
    else:
        header[key] = value
    changed = container.dump(header, [container.Section("text", "nextpnr", packed, meta)])
    try:
        parse(changed, "f").with_model(lay_out(IMAGE, CONFIG))
    except SetunError:
        return
    assert key in ("report", "work", "name", "number", "config")
