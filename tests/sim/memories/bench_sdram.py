"""Cocotb benches of the SDRAM model itself: raw commands, and traffic that breaks rules."""

from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly, Timer

from bench import context
from setun.hw.memory.controllers.sdram_timing import PARTS, Command
from setun.sim.memories.sdram import pattern
from setun.sim.memories.sdram_rules import WORDS, Rule, describe, violation_layout
from sim.memories.sdram_scripts import (
    CLOCK_HZ,
    PART,
    POWER_UP_US,
    Script,
    contents,
    orders,
    timings,
)

PERIOD_NS = 10


def encode(pins: dict[str, int]) -> int:
    """`RawPart.script` of one cycle."""
    word, at = 0, 0
    for name, width in (
        ("command", 3),
        ("ba", 2),
        ("a", PART.address_pins),
        ("dqm", PART.dq // 8),
        ("dq_oe", 1),
        ("dq_o", PART.dq),
    ):
        word |= int(pins.get(name, 0)) << at
        at += width
    return word


async def run(dut: Any, script: Script) -> list[str]:
    """Reset the part, play a script; what differs from what it expects."""
    edge = FallingEdge(dut.clk)
    idle = encode({"command": Command.NOP})
    dut.raw__script.value = idle
    dut.raw__cke.value = 1
    dut.rst.value = 1
    await edge
    dut.rst.value = 0
    differs = []
    cycle = 0
    moments = sorted({*script.pins, *script.dq, script.length})
    for moment in moments:
        if moment > cycle:  # nothing but NOP until then
            dut.raw__script.value = idle
            dut.raw__cke.value = 1
            await Timer((moment - cycle) * PERIOD_NS, "ns")
            cycle = moment
        pins = script.pins.get(moment, {"command": Command.NOP})
        dut.raw__script.value = encode(pins)
        dut.raw__cke.value = pins.get("cke", 1)
        await ReadOnly()
        if moment in script.dq:
            got = int(dut.raw__dq.value)
            if got != script.dq[moment]:
                differs.append(f"cycle {moment}: DQ {got:#x}, expected {script.dq[moment]:#x}")
        await edge
        cycle += 1
    fields = violation_layout.from_bits(int(dut.raw__violation.value))
    code = int(fields["code"])
    if code != (script.rule or 0):
        said = describe(fields, PART, CLOCK_HZ, POWER_UP_US) if code else "nothing"
        differs.append(f"broke {script.rule!r}, the model says: {said}")
    elif code:
        line = describe(fields, PART, CLOCK_HZ, POWER_UP_US)
        on_dq = script.rule in (Rule.DQ_CONFLICT, Rule.TURNAROUND)
        blamed = max(script.pins) if on_dq else script.now
        if WORDS[Rule(code)] not in line:
            differs.append(f"says: {line}")
        # Those two come without a command of their own.
        if script.rule not in (Rule.T_REFI, Rule.WRITE_DATA) and int(fields["cycle"]) != blamed:
            differs.append(f"blames another cycle than {blamed}: {line}")
    return [f"{script.name}: {text}" for text in differs]


@cocotb.test()
async def scripts(dut: Any) -> None:
    """Every rule kept to the cycle and broken by one; every kind of access."""
    await context.start(dut, period_ns=PERIOD_NS)
    words = [pattern(PART.columns + k, PART.dq) for k in range(64)]
    every = [*timings(), *orders(), *contents(words)]
    wrong = [line for script in every for line in await run(dut, script)]
    assert not wrong, "\n".join(wrong)
    assert {script.rule for script in every} == {None, *Rule}


@cocotb.test()
async def mutants(dut: Any) -> None:
    """Controllers that believe wrong figures: the rule that each of them breaks."""
    given = context.parameters()
    await context.start(dut, period_ns=PERIOD_NS)
    for about in given["readers"]:
        getattr(dut, f"{about['name']}__run").value = 1
    await Timer(given["cycles"] * PERIOD_NS, "ns")
    await FallingEdge(dut.clk)
    wrong = []
    for about in given["readers"]:
        name = about["name"]
        fields = violation_layout.from_bits(int(getattr(dut, f"{name}__violation").value))
        code = int(fields["code"])
        got = Rule(code).name if code else "none"
        if got != about["rule"]:
            said = describe(fields, PARTS[about["part"]], about["clock_hz"]) if code else ""
            wrong.append(f"{about['what']}: expected {about['rule']}, got {got} {said}")
        bad = int(getattr(dut, f"{name}__wrong").value)
        beats = int(getattr(dut, f"{name}__beats").value)
        if about["rule"] == "none" and (bad > 0) != about["corrupt"]:
            wrong.append(f"{about['what']}: {bad} of {beats} beats are wrong")
    assert not wrong, "\n".join(wrong)
