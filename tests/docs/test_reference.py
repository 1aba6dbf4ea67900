"""The reference pages' tables against the code: numbers, names, types, none missing."""

import re

import pytest

from bench.folders import ROOT
from setun.firmware import attention_options
from setun.firmware.image.memory_layout import Space
from setun.firmware.link import identity, mailbox
from setun.firmware.link.messages import (
    OF_CONTEXT,
    SPACES,
    Command,
    ErrorCode,
    Event,
    Reason,
    Status,
)
from setun.firmware.numerics.options import CHOICES
from setun.firmware.program import kernels
from setun.firmware.program.isa import PLACES, WIDE, Op, Place
from setun.hw.control.generation import COUNTERS
from setun.hw.memory.controllers.axi4_lite import IDENTITY, VERSION, Register

LINK, REGISTERS = "link.md", "registers.md"
SIZES = {"u64": 8, "u8": 1, "u16": 2, "u32": 4}


def rows(page: str, *heading: str) -> list[list[str]]:
    """Cells of the page's one table with this heading, or whose heading begins so."""
    tables: list[tuple[list[str], list[list[str]]]] = []
    inside = False
    for line in (ROOT / "docs" / page).read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]] if line.startswith("|") else []
        if cells and not inside:
            tables.append((cells, []))
        elif cells and set(cells[0]) != {"-"}:
            tables[-1][1].append(cells)
        inside = bool(cells)
    wanted = list(heading)
    found = [body for head, body in tables if head == wanted]
    found = found or [body for head, body in tables if head[: len(wanted)] == wanted]
    assert len(found) == 1, (page, heading, len(found))
    return found[0]


@pytest.mark.parametrize(
    ("kind", "page", "heading"),
    [
        (Command, LINK, ("type", "name", "payload", "data in the reply after status")),
        (Event, LINK, ("type", "name", "payload")),
        (Status, LINK, ("status",)),
        (Space, REGISTERS, ("space", "name")),
        (Op, REGISTERS, ("operation", "name")),
        (kernels.KERNELS, REGISTERS, ("kernel", "name")),
        (Register, REGISTERS, ("offset", "register")),
        (mailbox.Register, REGISTERS, ("offset", "of the mailbox")),
    ],
)
def test_names_and_numbers_are_the_codes(kind, page, heading) -> None:  # type: ignore[no-untyped-def]
    found = rows(page, *heading)
    codes = {k.name: getattr(k, "code", k) for k in kind}
    assert {row[1]: int(row[0].split()[0], 0) for row in found} == codes


def test_operations_mean_what_is_declared() -> None:
    shown = {row[1]: row[2] for row in rows(REGISTERS, "operation", "name", "does")}
    assert shown == {op.name: op.meaning for op in Op}
    shown = {row[1]: row[2] for row in rows(REGISTERS, "kernel", "name")}
    assert shown == {kernel.name: kernel.formula for kernel in kernels.KERNELS}


def test_fields_of_instructions_lie_where_they_are_declared() -> None:
    def bits(place: Place, word: int) -> str:
        last = place.low + place.bits - 1
        shown = f"{last}:{place.low}" if place.bits > 1 else str(last)
        shown = f"{shown} x {place.grain}" if place.grain > 1 else shown
        return shown if place.word == word else f"{shown} of word {place.word}"

    def line(of: str, name: str, kind: str, meaning: str) -> list[str]:
        place, wide = PLACES[name], WIDE[name]
        shown = (bits(each, place.word) for each in (place, wide))
        return [of, name, str(place.word), *shown, kind, meaning]

    declared = [line("all", "op", "operation", "the operation")]
    for op in Op:
        declared += [line(op.name, f.name, f.kind.value, f.meaning) for f in op.fields]
    assert rows(REGISTERS, "of", "field", "word") == declared


@pytest.mark.parametrize(("kind", "heading"), [(Reason, "reason"), (ErrorCode, "code")])
def test_every_reason_has_its_line(kind, heading) -> None:  # type: ignore[no-untyped-def]
    found = rows(LINK, heading)
    assert [int(row[0]) for row in found] == sorted(int(k) for k in kind)
    assert all(row[1] for row in found)


def test_commands_and_events_of_contexts_say_so() -> None:
    shown = rows(LINK, "type", "name", "payload", "data in the reply after status")
    assert {row[1] for row in shown if "context" in row[0]} == {c.name for c in OF_CONTEXT}
    spaces = re.search(r"spaces are 0–(\d)", (ROOT / "docs" / LINK).read_text("utf-8"))
    assert spaces and int(spaces[1]) == SPACES - 1 and max(Space) < SPACES


SIZED = "weight_words, constant_pairs, instructions"


def info(streams: bool) -> list[list[str]]:
    """Rows of the INFO record's fields."""
    found = rows(REGISTERS, "field", "type")
    if not streams:
        return found
    (at,) = (k for k, row in enumerate(found) if row[0] == SIZED)
    return found[:at] + rows(REGISTERS, "size", "type") + found[at + 1 :]


@pytest.mark.parametrize("streams", [False, True])
def test_the_info_record_is_the_codes(streams: bool) -> None:
    found = info(streams)
    names = [name for row in found for name in row[0].split(", ")]
    assert len(names) == len(set(names))
    types = [row[1].removesuffix(" each") for row in found for _ in row[0].split(", ")]
    sizes = [SIZES[t] if t in SIZES else int(t.split()[0]) for t in types]
    letters = {1: "B", 4: "I", 8: "Q"}
    texts = [size if "bytes" in t else 0 for t, size in zip(types, sizes, strict=True)]
    layout = "".join(
        f"{text}s" if text else letters[size] for text, size in zip(texts, sizes, strict=True)
    )
    record, names_of_sizes = identity._record(7 if streams else 5)
    flat = re.sub(r"(\d+)([BIQ])", lambda m: int(m[1]) * m[2], record.format)
    assert "<" + layout == flat and sum(sizes) == record.size
    assert int(found[0][2].split(";")[0]) == min(identity.INSTRUCTION_SETS)
    assert all(f in names for f in (*CHOICES, *names_of_sizes, "digest", "part", "flash_base"))


@pytest.mark.parametrize("streams", [False, True])
def test_the_info_records_fields_are_in_their_order(streams: bool) -> None:
    """Each name stands where a chip that differs in it differs."""
    from setun.firmware.config import ChipConfig

    plain = ChipConfig(memory="qspi" if streams else "onchip")
    own = {
        True: {
            "memory": {"memory": "sdram-16"},
            "memory_bytes": {"memory_bytes": 1 << 33},
            "gate_elements": {"gate_elements": 99},
            "part": {"part": "W25Q32JV"},
        },
        False: {"weight_words": {"weight_words": 99}, "instructions": {"instructions": 99}},
    }
    changed = own[streams] | {
        "columns": {"columns": 64},
        "rows": {"rows": 16},
        "lanes": {"lanes": 4},
        "pump": {"pump": 2},
        "packing": {"packing": "1.6b"},
        "contexts": {"contexts": 4},
        "constant_pairs": {"constant_pairs": 99},
        "vector_elements": {"vector_elements": 99},
        "state_elements": {"state_elements": 99},
        "max_columns": {"max_columns": 99},
        "clock_hz": {"clock_hz": 60_000_000},
        "baud": {"baud": 2_000_000},
        "flash_base": {"flash_base": 4096},
    }
    layout = {}
    start = 0
    for row in info(streams):
        for name in row[0].split(", "):
            kind = row[1].removesuffix(" each")
            size = SIZES[kind] if kind in SIZES else int(kind.split()[0])
            layout[name] = slice(start, start + size)
            start += size
    before = identity.encode(plain)
    for name, options in changed.items():
        after = identity.encode(plain.override(**options))
        differs = {field for field, place in layout.items() if before[place] != after[place]} - {
            "digest"
        }
        assert differs == {name}


def test_counters_are_the_codes() -> None:
    assert [(int(row[0]), row[1]) for row in rows(REGISTERS, "counter", "name")] == list(
        enumerate(COUNTERS)
    )


def test_the_register_map_says_its_constants() -> None:
    meaning = {row[1]: row[3] for row in rows(REGISTERS, "offset", "register")}
    assert f"0x{IDENTITY:08X}" in meaning["IDENTITY"]
    assert meaning["VERSION"].endswith(f": {VERSION}")


def test_the_mailbox_says_its_constants() -> None:
    meaning = {row[1]: row[3] for row in rows(REGISTERS, "offset", "of the mailbox")}
    assert f"0x{mailbox.IDENTITY:08X}" in meaning["IDENTITY"]
    assert meaning["VERSION"].endswith(f": {mailbox.VERSION}")
    page = (ROOT / "docs" / REGISTERS).read_text("utf-8")
    assert f"While {mailbox.DEPTH:,} bytes wait" in page


def test_a_missing_line_would_be_seen() -> None:
    with pytest.raises(AssertionError):
        rows(REGISTERS, "space", "name", "nothing")


def test_the_options_of_attention_are_the_codes() -> None:
    found = rows(REGISTERS, "option", "type")
    assert tuple(name for row in found for name in row[0].split(", ")) == attention_options.NAMES
    letters = {1: "B", 2: "H", 4: "I"}
    sizes = [SIZES[row[1].removesuffix(" each")] for row in found for _ in row[0].split(", ")]
    assert "<" + "".join(letters[size] for size in sizes) == identity._ATTENDING.format
