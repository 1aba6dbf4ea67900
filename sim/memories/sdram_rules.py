"""The rules that the SDRAM model enforces, and what to say when one is broken."""

from enum import IntEnum
from typing import Any

from amaranth.lib import data

from setun.hw.memory.controllers.sdram_timing import Command, SdramPart

POSTPONED = 8  # refreshes that may be outstanding


class Rule(IntEnum):
    """Violation codes; 0 is none. Of rules broken in one cycle the lowest is latched."""

    POWER_UP = 1
    CKE = 2
    INIT = 3
    T_RFC = 4
    T_MRD = 5
    MODE = 6
    CAS = 7
    BANK_IDLE = 8
    BANK_OPEN = 9
    T_RP = 10
    T_RC = 11
    T_RRD = 12
    T_RCD = 13
    T_RAS = 14
    T_WR = 15
    T_RAS_MAX = 16
    T_REFI = 17
    AUTO_PRECHARGE = 18
    RANGE = 19
    WRITE_DATA = 20
    DQ_CONFLICT = 21
    TURNAROUND = 22


WORDS = {
    Rule.POWER_UP: "no command during the pause after power-up",
    Rule.CKE: "CKE stays high: power-down and self-refresh are not modelled",
    Rule.INIT: "PRECHARGE of all banks, refreshes and LOAD MODE come before any access",
    Rule.T_RFC: "tRFC: from REFRESH to any command",
    Rule.T_MRD: "tMRD: from LOAD MODE to any command",
    Rule.MODE: "LOAD MODE: sequential bursts of 1, 2, 4 or 8, CAS latency of the part, rest zero",
    Rule.CAS: "the CAS latency of LOAD MODE is too low for the clock",
    Rule.BANK_IDLE: "the bank must be precharged (every bank, for REFRESH and LOAD MODE)",
    Rule.BANK_OPEN: "READ and WRITE need an active row",
    Rule.T_RP: "tRP: from PRECHARGE to ACTIVATE, REFRESH or LOAD MODE",
    Rule.T_RC: "tRC: from ACTIVATE to ACTIVATE of one bank, or to REFRESH",
    Rule.T_RRD: "tRRD: from ACTIVATE to ACTIVATE of another bank",
    Rule.T_RCD: "tRCD: from ACTIVATE to READ or WRITE",
    Rule.T_RAS: "tRAS: from ACTIVATE to PRECHARGE",
    Rule.T_WR: "tWR: from the last word written to PRECHARGE",
    Rule.T_RAS_MAX: "tRAS, maximum: a row is open too long",
    Rule.T_REFI: "tREFI: refreshes outstanding",
    Rule.AUTO_PRECHARGE: "A10 must be low: auto precharge is not modelled",
    Rule.RANGE: "row, column or the model's memory exceeded",
    Rule.WRITE_DATA: "a word is written while nobody drives DQ",
    Rule.DQ_CONFLICT: "controller and part drive DQ in one cycle",
    Rule.TURNAROUND: "a cycle must pass between the part's last word and the controller's first",
}

violation_layout = data.StructLayout({"code": 5, "command": 3, "bank": 2, "cycle": 32, "found": 24})


def needed_cycles(part: SdramPart, rule: Rule, clock_hz: float, power_up_us: float) -> int | None:
    """Cycles that a rule asks for, at most for T_RAS_MAX; None when it is not about time."""
    spans = {
        Rule.T_RFC: part.rfc,
        Rule.T_MRD: part.mrd,
        Rule.T_RP: part.rp,
        Rule.T_RC: part.rc,
        Rule.T_RRD: part.rrd,
        Rule.T_RCD: part.rcd,
        Rule.T_RAS: part.ras,
        Rule.T_WR: part.wr,
    }
    if rule in spans:
        # In picoseconds, not as the controller computes it.
        period = 1e12 / clock_hz
        span = spans[rule]
        return max(span.cycles, int(-(-round(span.ns * 1e3, 6) // period)))
    if rule is Rule.T_RAS_MAX:
        return int(part.ras_max_ns * clock_hz / 1e9)
    return int(power_up_us * clock_hz / 1e6) if rule is Rule.POWER_UP else None


def describe(
    violation: Any, part: SdramPart, clock_hz: float, power_up_us: float | None = None
) -> str:
    """One line about a latched violation: cycle, command, bank, rule, found against needed.

    Parameters
    ----------
    violation
        Mapping or constant with the fields of `violation_layout`.
    """
    fields = {name: int(violation[name]) for name in ("code", "command", "bank", "cycle", "found")}
    rule, command = Rule(fields["code"]), Command(fields["command"])
    line = f"{part.name}, cycle {fields['cycle']}: {command.name} bank {fields['bank']}: "
    line += WORDS[rule]
    period = 1e9 / clock_hz
    found = fields["found"]
    pause = part.power_up_us if power_up_us is None else power_up_us
    needed = needed_cycles(part, rule, clock_hz, pause)
    if needed is not None:
        side = "at most" if rule is Rule.T_RAS_MAX else "at least"
        line += (
            f"; found {found * period:.1f} ns ({found} cycles),"
            f" needed {side} {needed * period:.1f} ns ({needed} cycles)"
        )
    elif rule is Rule.T_REFI:
        line += f"; found {found}, allowed {POSTPONED}"
    return line
