"""The stages from RTL text to bitstream, each kept by the hash of what goes in."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from setun.firmware.errors import SetunError
from setun.hw.fpga.family import Device, Family
from setun.hw.fpga.flow.cache import Cache, digest
from setun.hw.fpga.flow.process import Children, Watch
from setun.hw.fpga.flow.routing import Unroutable, circling
from setun.hw.fpga.flow.toolchain import Tool, find_tool

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Design:
    """Text that the tools start from: RTLIL of the module `name`, and pin constraints."""

    name: str
    rtlil: str
    constraints: str = ""
    family: Family


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

    def _run(
        self,
        tool: Tool,
        arguments: list[str],
        work: Path,
        log: str,
        watch: Watch = lambda text: None,
    ) -> None:
        path, command = work / log, [*tool.command, *arguments]
        try:
            self.children.run(tool.name, command, cwd=work, log=path, watch=watch)
        except SetunError as error:
            shutil.copyfile(path, self.logs / log)
            if isinstance(error, Unroutable):
                raise
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
        script = design.family.flow().synthesis.format(name=design.name)
        key = digest(
            "synthesis",
            "carries",
            "output registers",
            design.name,
            design.rtlil,
            script,
            str(yosys),
        )

        def produce(work: Path) -> None:
            self.progress("synthesise")
            (work / f"{design.name}.il").write_text(design.rtlil, "utf-8")
            (work / "synth.ys").write_text(script, "utf-8")
            self._run(yosys, ["-s", "synth.ys"], work, "yosys.log")
            path = work / f"{design.name}.json"
            netlist = json.loads(path.read_text("utf-8"))
            if design.family.finish_netlist(netlist):
                path.write_text(json.dumps(netlist, indent=1), "utf-8")

        return self._get(key, produce, "yosys.log"), key

    def place_and_route(
        self, design: Design, device: Device, *, clock_mhz: float, seed: int, several: bool = False
    ) -> tuple[Path, str]:
        """Layout folder (NAME.config or NAME.asc, timing.json) and its key.

        Timing that is not met is no error here: timing.json tells. `Unroutable`: the router
        went in circles.
        """
        netlist, netlist_key = self.synthesise(design)
        kind = design.family.flow()
        nextpnr, pins = self._tool(kind.placer.name), f"pins.{kind.constraints}"
        options = [
            *design.family.device_options(device),
            *("--freq", f"{clock_mhz:g}", "--seed", str(seed), *kind.placer_options),
            *("--timing-allow-fail", "--report", "timing.json"),
            *("--json", f"{design.name}.json", kind.placed_option, f"{design.name}.{kind.placed}"),
            *((kind.pins, pins) if design.constraints else (kind.open_pins,)),
        ]
        key = digest("layout", netlist_key, design.constraints, options, str(nextpnr))

        def produce(work: Path) -> None:
            self.progress(f"place and route, seed {seed}" if several else "place and route")
            shutil.copyfile(netlist / f"{design.name}.json", work / f"{design.name}.json")
            if design.constraints:
                (work / pins).write_text(design.constraints, "utf-8")
            self._run(nextpnr, options, work, "nextpnr.log", circling)
            (work / f"{design.name}.json").unlink()

        return self._get(key, produce, "nextpnr.log"), key

    def pack(self, name: str, family: Family, text: str, layout_key: str = "") -> Path:
        """Bitstream file made from the text of a placed chip that has this key, if any."""
        kind = family.flow()
        packer, options = self._tool(kind.packer.name), kind.pack(name)
        file = f"{name}.{kind.placed}"

        def produce(work: Path) -> None:
            self.progress("pack")
            (work / file).write_text(text, "utf-8")
            self._run(packer, options, work, f"{kind.packer.name}.log")
            (work / file).unlink()

        written = hashlib.sha256(text.encode()).hexdigest()
        key = digest("bitstream", layout_key, written, options, str(packer))
        return self.cache.get(key, produce) / f"{name}.{kind.suffix}"
