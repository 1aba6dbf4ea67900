"""The stages from RTL text to bitstream, each kept by the hash of what goes in."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from setun.firmware.errors import SetunError
from setun.hw.build.cache import Cache, digest
from setun.hw.build.carries import release_carries
from setun.hw.build.process import Children
from setun.hw.build.toolchain import Tool, find_tool

Progress = Callable[[str], None]

# No unit uses a word of `setun.hw.memories` that it read in the cycle of its write (tests/
# test_chip_bitstream.py): without this Yosys keeps the old word, with registers and a multiplexer
# for each bit of a 36-bit wide block.
# The elements that Amaranth names x[0], x[1] would pass for bits of x where ABC9 hands over names,
# and synthesis of some chips ends there.
SYNTHESIS = """\
read_rtlil {name}.il
rename -hide */w:*\\[*\\]
setparam -set COLLISION_X_MASK 1'1 *.memories.*/t:$memrd_v2
synth_ecp5 -top {name}
tee -q -o stat.json stat -json
write_json {name}.json
"""
PACKAGES = {
    "BG256": "CABGA256",
    "MG285": "CSFBGA285",
    "BG381": "CABGA381",
    "BG554": "CABGA554",
    "BG756": "CABGA756",
}


@dataclass(frozen=True, kw_only=True)
class Design:
    """Text that the tools start from: RTLIL of the module `name`, and pin constraints."""

    name: str
    rtlil: str
    constraints: str = ""


@dataclass(frozen=True, kw_only=True)
class Device:
    """An ECP5 as the vendor names it."""

    device: str
    package: str
    speed: str

    def arguments(self) -> list[str]:
        """Options by which nextpnr knows it; SetunError for an unknown one."""
        kind, _, size = self.device.partition("-")
        prefix = {"LFE5U": "", "LFE5UM": "um-", "LFE5UM5G": "um5g-"}.get(kind)
        if prefix is None or not size.endswith("F") or self.package not in PACKAGES:
            raise SetunError("FPGA", "must be an ECP5", f"{self.device} in {self.package}")
        option = f"--{prefix}{size[:-1]}k"
        return [option, "--package", PACKAGES[self.package], "--speed", self.speed]


@dataclass
class Flow:
    """Runs the stages with one set of tools, one cache, one place for logs.

    Parameters
    ----------
    children
        Context in which the tools run.
    logs
        Folder that gets `yosys.log` and `nextpnr.log` (of the last placement), after a failure too.
    """

    children: Children
    cache: Cache
    logs: Path
    progress: Progress = lambda stage: None
    tools: dict[str, Tool] = field(default_factory=dict)

    def _tool(self, name: str) -> Tool:
        return self.tools.setdefault(name, find_tool(name))

    def _run(self, tool: Tool, arguments: list[str], work: Path, log: str) -> None:
        path = work / log
        try:
            self.children.run(tool.name, [*tool.command, *arguments], cwd=work, log=path)
        except SetunError as error:
            shutil.copyfile(path, self.logs / log)
            raise SetunError(
                error.thing, error.rule, error.value, f"see {self.logs / log}"
            ) from error

    def _get(self, key: str, produce: Callable[[Path], None], log: str) -> Path:
        entry = self.cache.get(key, produce)
        shutil.copyfile(entry / log, self.logs / log)
        return entry

    def synthesise(self, design: Design) -> tuple[Path, str]:
        """Netlist folder (NAME.json, stat.json) and its key."""
        yosys = self._tool("yosys")
        script = SYNTHESIS.format(name=design.name)
        key = digest("synthesis", "carries", design.name, design.rtlil, script, str(yosys))

        def produce(work: Path) -> None:
            self.progress("synthesise")
            (work / f"{design.name}.il").write_text(design.rtlil, "utf-8")
            (work / "synth.ys").write_text(script, "utf-8")
            self._run(yosys, ["-s", "synth.ys"], work, "yosys.log")
            path = work / f"{design.name}.json"
            netlist = json.loads(path.read_text("utf-8"))
            release_carries(netlist)
            path.write_text(json.dumps(netlist, indent=1), "utf-8")

        return self._get(key, produce, "yosys.log"), key

    def place_and_route(
        self, design: Design, device: Device, *, clock_mhz: float, seed: int, several: bool = False
    ) -> tuple[Path, str]:
        """Layout folder (NAME.config, timing.json) and its key.

        Timing that is not met is no error here: timing.json tells.
        """
        netlist, netlist_key = self.synthesise(design)
        nextpnr = self._tool("nextpnr-ecp5")
        options = [
            *device.arguments(),
            *("--freq", f"{clock_mhz:g}", "--seed", str(seed), "--router", "router2"),
            *("--timing-allow-fail", "--report", "timing.json"),
            *("--json", f"{design.name}.json", "--textcfg", f"{design.name}.config"),
            *(("--lpf", "pins.lpf") if design.constraints else ("--lpf-allow-unconstrained",)),
        ]
        key = digest("layout", netlist_key, design.constraints, options, str(nextpnr))

        def produce(work: Path) -> None:
            self.progress(f"place and route, seed {seed}" if several else "place and route")
            shutil.copyfile(netlist / f"{design.name}.json", work / f"{design.name}.json")
            if design.constraints:
                (work / "pins.lpf").write_text(design.constraints, "utf-8")
            self._run(nextpnr, options, work, "nextpnr.log")
            (work / f"{design.name}.json").unlink()

        return self._get(key, produce, "nextpnr.log"), key

    def pack(self, design: Design, layout: Path, layout_key: str) -> Path:
        """Bitstream file made from a layout folder."""
        ecppack = self._tool("ecppack")
        options = ["--compress", "--input", f"{design.name}.config", "--bit", f"{design.name}.bit"]

        def produce(work: Path) -> None:
            self.progress("pack")
            shutil.copyfile(layout / f"{design.name}.config", work / f"{design.name}.config")
            self._run(ecppack, options, work, "ecppack.log")
            (work / f"{design.name}.config").unlink()

        key = digest("bitstream", layout_key, options, str(ecppack))
        return self.cache.get(key, produce) / f"{design.name}.bit"
