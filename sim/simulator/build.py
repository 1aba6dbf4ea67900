"""Compile a chip once for each design, and give it each model's memories."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from setun.firmware.errors import SetunError
from setun.sim.simulator.cache import build_once, cache_folder
from setun.sim.simulator.compiler import (
    Progress,
    build_chip,
    build_runtime,
    driver_text,
    recipe,
    wrapper,
)
from setun.sim.simulator.memories import check_memory_file, externalise_memories, find_memory
from setun.sim.simulator.tools import Tools, find_tools, processor

PINS = {"clk", "rst", "rx", "tx"}
FAST_CLOCK = "fast_clk"
# Where in the generator a line came from: it would tie the cache to line numbers and folders.
_SOURCE = re.compile(r'[ \t]*\(\* src = "[^"\n]*" \*\)\n?')


def compile_chip(
    verilog: str,
    top: str,
    divisor: int,
    *,
    waves: bool = False,
    init_files: Mapping[str, bytes] | None = None,
    progress: Progress | None = None,
    tools: Tools | None = None,
) -> Path:
    """Compile a chip, or find it compiled.

    What is compiled depends on the hardware alone: contents of initialised memories are set
    aside first, so a design with other contents takes milliseconds.

    Parameters
    ----------
    verilog
        Whole design, as Amaranth writes it.
    top
        Its top module, with pins ``clk``, ``rst``, ``rx``, ``tx``, a bit each. A pin ``fast_clk``
        gets a clock of twice the speed, which rises with ``clk`` and halfway between.
    divisor
        Clock cycles per UART bit, at least 2.
    waves
        Whether the chip can write waves (slower).
    init_files
        Other initial contents by memory name, as :func:`memory_file` makes them.
    progress
        Called with a line of text as work goes on.
    tools
        Default: :func:`find_tools`.

    Returns
    -------
    Path
        Executable, for :class:`SimulatedChip`.

    Raises
    ------
    SetunError
        When the top module is not such, a tool is missing, or a tool refuses the design.
    """
    if not 2 <= divisor < 1 << 20:
        raise SetunError("UART divisor", "must be 2 to 1048575 cycles per bit", divisor)
    fast = _check_pins(verilog, top)
    tools = tools or find_tools()
    plain = _SOURCE.sub("", verilog)
    hardware, memories = externalise_memories(plain, readmemh=tools.simulator == "verilator")
    contents = [m.contents for m in memories]
    for name, data in (init_files or {}).items():
        index = memories.index(find_memory(name, memories))
        check_memory_file(data, memories[index])
        contents[index] = data
    cache = cache_folder()
    code = _code(cache, hardware, top, divisor, tools, waves, fast, progress)
    about = {
        "simulator": tools.simulator,
        "waves": waves,
        "divisor": divisor,
        "top": top,
        "memories": [m.describe() for m in memories],
    }
    text = json.dumps(about, indent=1, sort_keys=True)
    digest = _digest(code.name, text, *contents)

    def assemble(folder: Path) -> None:
        try:
            os.link(code / "chip", folder / "chip")
        except OSError:
            shutil.copy2(code / "chip", folder / "chip")
        for memory, data in zip(memories, contents, strict=True):
            (folder / memory.file).write_bytes(data)
        (folder / "chip.json").write_text(text)

    return build_once(cache / "chips", digest, assemble)[0] / "chip"


def _code(
    cache: Path,
    hardware: str,
    top: str,
    divisor: int,
    tools: Tools,
    waves: bool,
    fast: bool,
    progress: Progress | None,
) -> Path:
    verilog = hardware + "\n" + wrapper(f"\\{top} ", fast)
    common = (str(tools), str(tools.include), recipe(tools, waves), processor())
    digest = _digest(verilog, str(divisor), driver_text(), *common)

    def build(folder: Path) -> None:
        if progress is not None:
            progress(f"compiling the simulated chip with {tools}")
        runtime = None
        if tools.simulator == "verilator":
            name = _digest(driver_text(), *common)
            runtime, _ = build_once(
                cache / "runtime", name, lambda scratch: build_runtime(scratch, tools, waves)
            )
        build_chip(folder, verilog, divisor, tools, runtime, waves, fast, progress)

    return build_once(cache / "code", digest, build)[0]


def _digest(*parts: str | bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()[:32]


def _check_pins(verilog: str, top: str) -> bool:
    """Whether there is a fast clock; refuses other pins than the known ones."""
    header = re.search(rf"^\s*module \\?{re.escape(top)}\s*\(([^)]*)\)", verilog, re.MULTILINE)
    if header is None:
        raise SetunError("chip", "needs its top module in the Verilog", top)
    pins = {port.split()[-1] for port in header[1].split(",") if port.strip()}
    if pins - {FAST_CLOCK} != PINS:
        found = ", ".join(sorted(pins)) or "none"
        raise SetunError(f"module {top}", "must have the pins clk, rst, rx, tx only", found)
    return FAST_CLOCK in pins
