"""Boards that Setun builds for; each is one TOML file beside this module."""

import importlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError, nearest
from setun.firmware.memory_kinds import KINDS, ONCHIP

if TYPE_CHECKING:
    from setun.hw.fpga.family import Family


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A memory chip on the board.

    `bits` is its size, 0 if the design around the chip decides it; `width` the data pins, `mhz` the
    clock that open controllers reach. `part` is what `ChipConfig.part` calls it: where boards of
    one name differ, the one whose rows and columns all of them have.
    """

    kind: str
    bits: int
    width: int
    mhz: float
    part: str = ""

    @property
    def name(self) -> str:
        """What `ChipConfig.memory` calls it."""
        numbered = f"{self.kind}-{self.width}"
        return numbered if numbered in KINDS else self.kind


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board: what its FPGA holds, how it is clocked, how to reach it.

    Parameters
    ----------
    name
        What `--board` takes.
    title, label
        What it is, in full and in short.
    plug
        What to plug in where; "" where there is no board.
    model
        The shipped model that suits the board's usual chip.
    family, device, package, speed
        The FPGA as the vendor names it; family as of `setun.hw.fpga.families`.
    clock_mhz
        Oscillator on the board.
    chip_clock_mhz
        Clock of the chip unless another is asked for.
    capacity
        Cells of each kind in the FPGA, by the neutral names of `setun.hw.fpga.family`.
    memory
        Memory chips beside the FPGA.
    baud
        Rate of the USB serial port unless another is asked for.
    uart
        Resource of `platform` with the pins rx and tx.
    platform
        `module:class` of the amaranth-boards platform.
    constraints
        File of `setun.constraints` with the pins that the platform lacks; "" for none.
    programmer
        openFPGALoader and its options for this board; what to write and where comes behind.
    chip
        Options of the chip that suits the board, as `setun.firmware.config.ChipConfig` names them.
    status
        "builds": bitstreams meet timing; "runs": also tried on the board; "verilog": there is no
        bitstream; "untried": no bitstream has been built; "assembled": a recipe for a vendor's
        tool that was not run.
    parts
        Where there is no FPGA: usual ones and their cells, each LUT at least an ECP5's; `capacity`
        is then the most that one of them has of each kind.
    """

    name: str
    title: str
    label: str
    plug: str
    model: str
    family: str
    device: str
    package: str
    speed: str
    clock_mhz: float
    chip_clock_mhz: float
    capacity: dict[str, int]
    memory: tuple[Memory, ...]
    baud: int
    uart: str
    platform: str
    programmer: str
    status: str
    chip: dict[str, Any]
    constraints: str = ""
    parts: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def has_fpga(self) -> bool:
        """Whether it is a board, with pins and an FPGA; otherwise `setun build` ends at Verilog."""
        return self.fpga.tools is not None

    @property
    def fpga(self) -> "Family":
        """The family, which answers what the FPGA's tools and cells are."""
        from setun.hw.fpga.families import family

        return family(self.family)

    def has_memory(self, memory: str) -> bool:
        """Whether `ChipConfig.memory` names a memory chip on the board."""
        return self._wired(memory) in [m.name for m in self.memory]

    def memory_bytes(self, memory: str) -> int:
        """Bytes of the memory chip that `ChipConfig.memory` names; 0 where nobody knows them."""
        return next((m.bits >> 3 for m in self.memory if m.name == self._wired(memory)), 0)

    def part(self, memory: str) -> str:
        """`ChipConfig.part` of the memory chip of that name; "" if there is none."""
        return next((m.part for m in self.memory if m.name == self._wired(memory)), "")

    @staticmethod
    def _wired(memory: str) -> str:
        """What a memory is called by its pins."""
        return (KINDS[memory].slow if memory in KINDS else "") or memory

    def usual(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Options of the chip that suits the board, beside those that are `chosen`."""
        memory = chosen.get("memory", self.chip.get("memory", ONCHIP.name))
        return self.chip | {"part": self.part(str(memory))}

    def check_memory(self, config: ChipConfig) -> None:
        """Refuse a chip that needs a memory, or a processor, that the board does not have."""
        if config.mailbox and self.has_fpga:
            rule = f"must be 0 on {self.name}, which has no processor beside its FPGA"
            raise SetunError("mailbox", rule, config.mailbox, "--set mailbox=0")
        if config.external and not self.has_memory(config.memory):
            raise SetunError(
                "memory",
                f"must be {ONCHIP.name} or one of {self.name}",
                config.memory,
                "setun boards shows it; setun generate writes Verilog for any",
            )

    def load_platform(self) -> Any:
        """A fresh platform object; SetunError where amaranth-boards is not installed."""
        module, _, name = self.platform.partition(":")
        try:
            platform = getattr(importlib.import_module(module), name)()
            platform.add_resources(self._resources())
            return platform
        except ImportError as error:
            raise SetunError(
                "amaranth-boards",
                f"is needed for board {self.name}",
                error,
                "pip install 'setun[toolchain]'",
            ) from error

    def _resources(self) -> list[Any]:
        """Pins that the platform lacks, by `ChipConfig.memory` of what they lead to."""
        from amaranth.build import Attrs, Pins, PinsN, Resource, Subsignal

        if not self.constraints:
            return []
        path = resources.files("setun.constraints").joinpath(f"{self.constraints}.toml")
        return [
            Resource(
                name,
                0,
                Subsignal("cs", PinsN(pins["cs_n"], dir="o")),
                Subsignal("dq", Pins(pins["dq"], dir="io")),
                Attrs(**pins["attributes"]),
            )
            for name, pins in tomllib.loads(path.read_text("utf-8")).items()
        ]


def names() -> list[str]:
    """Names of all boards, sorted."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def get(name: str) -> Board:
    """The board called `name`; SetunError listing the known ones otherwise."""
    if name not in names():
        listed = ", ".join(names())
        raise SetunError("board", f"must be one of {listed}", name, nearest(name, names()))
    data = tomllib.loads(resources.files(__name__).joinpath(f"{name}.toml").read_text("utf-8"))
    data["memory"] = tuple(Memory(**chip) for chip in data.get("memory", ()))
    for cells in data.get("parts", {}).values():
        data["capacity"] |= {k: max(n, data["capacity"].get(k, 0)) for k, n in cells.items()}
    return Board(name=name, **data)
