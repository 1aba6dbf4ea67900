"""The rules that the flash model enforces, and what to say when one is broken."""

from enum import IntEnum
from typing import Any

from amaranth.lib import data


class Rule(IntEnum):
    """Violation codes; 0 is none. Of rules broken in one cycle the lowest is latched."""

    BUSY = 1
    PAGE = 2
    CONFLICT = 3
    QUAD = 4
    LATCH = 5
    UNKNOWN = 6
    DESELECT = 7
    HOLD = 8
    ASLEEP = 9
    MODE = 10
    RANGE = 11
    PARTIAL = 12


WORDS = {
    Rule.BUSY: "a command while the part is busy",
    Rule.PAGE: "a page program runs over the end of its page",
    Rule.CONFLICT: "both sides drive a pin",
    Rule.QUAD: "quad I/O without the quad enable bit",
    Rule.LATCH: "a write without the write enable latch",
    Rule.UNKNOWN: "a command that the part does not know",
    Rule.DESELECT: "CS# is high for less than tSHSL",
    Rule.HOLD: "HOLD# is low while it is no data pin",
    Rule.ASLEEP: "a command to a part in power-down, or before it has woken up",
    Rule.MODE: "a mode byte that makers take differently",
    Rule.RANGE: "an access beyond the model's memory",
    Rule.PARTIAL: "a write that ends within a byte, or without its data",
}

violation_layout = data.StructLayout({"code": 4, "opcode": 8, "cycle": 32})


def describe(violation: Any) -> str:
    """One line about a latched violation, a mapping with the fields of `violation_layout`."""
    code, opcode, cycle = (int(violation[name]) for name in ("code", "opcode", "cycle"))
    return f"cycle {cycle}, opcode {opcode:#04x}: {WORDS[Rule(code)]}"
