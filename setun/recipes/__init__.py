"""Recipes: what a vendor's tool needs beside the Verilog to put the chip on a board.

Each board is one TOML file beside this module; Tcl that boards share is in files of its own.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

from setun import boards
from setun.boards import Board
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError, nearest
from setun.firmware.link.mapped import NODE, RULE
from setun.recipes.ipxact import SLAVE_RANGE, component, wrapper

GENERIC = "generic-axi4"
VIVADO = "vivado"
KINDS = (VIVADO,)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A board whose memory the vendor's tool brings, and the design around the chip.

    Parameters
    ----------
    name
        What `--board` takes.
    title
        The board and its FPGA.
    part, board_part
        The FPGA and the board as Vivado names them; the latter a pattern without its version.
    store
        The board's name in Vivado's store of boards; "" where Vivado brings it.
    design
        Tcl file of this package that builds what is around the chip.
    clock_mhz, baud
        Of the chip unless others are asked for. Where `fixed_clock`, the memory's controller
        gives the clock.
    memory
        `ChipConfig.memory` with the width of the port.
    base, room
        First byte of the model in the memory, and bytes from there on that are the chip's.
    segment
        First byte and bytes of what the chip's port sees.
    host
        The serial port by which the client reaches the chip.
    cells
        What the FPGA holds, by neutral names.
    chip
        Options of the chip that suits the board.
    pins
        Package pin of rx and tx, their standard, where they leave the FPGA.
    boot
        What keeps a system on the board's processor away from the model; "" for none.
    registers
        Where a processor has the page of the chip's mailbox; 0 without one.
    tree_cells
        Words of an address in its device tree.
    """

    name: str
    title: str
    part: str
    board_part: str
    store: str
    design: str
    clock_mhz: float
    fixed_clock: bool
    baud: int
    memory: str
    base: int
    room: int
    segment: tuple[int, int]
    host: str
    cells: dict[str, int]
    chip: dict[str, Any]
    pins: dict[str, str]
    boot: str
    registers: int = 0
    tree_cells: int = 0

    def board(self) -> Board:
        """The board as estimates know it."""
        generic = boards.get(GENERIC)
        chip = {**self.chip, "memory": self.memory}
        return replace(
            generic,
            name=self.name,
            title=self.title,
            status="assembled",
            device=self.part.partition("-")[0].upper(),
            clock_mhz=self.clock_mhz,
            chip_clock_mhz=self.clock_mhz,
            baud=self.baud,
            capacity=self.cells,
            parts={self.part: self.cells},
            memory=tuple(
                replace(m, bits=self.room << 3) for m in generic.memory if m.name == self.memory
            ),
            chip=chip,
        )

    def check(self, config: ChipConfig, fits: list[str] | None) -> None:
        """Refuse a chip that the board cannot have, before anything is written."""
        if config.memory != self.memory:
            rule = f"must be {self.memory} on {self.name}"
            raise SetunError("memory", rule, config.memory, f"--set memory={self.memory}")
        if config.mailbox and not self.registers:
            rule = f"must be 0 on {self.name}, which has no processor beside its FPGA"
            raise SetunError("mailbox", rule, config.mailbox, "--set mailbox=0")
        hertz = round(self.clock_mhz * 1e6)
        if self.fixed_clock and config.clock_hz != hertz:
            rule = f"must be {hertz}, the clock of {self.name}'s memory controller"
            raise SetunError("clock_hz", rule, config.clock_hz, "leave it out")
        if config.external_bytes > self.room:
            rule = f"must fit the memory behind {self.base:#x} ({self.room:,} bytes)"
            raise SetunError("model", rule, config.external_bytes, "a smaller model")
        if not fits:
            raise SetunError(
                "chip", f"must fit {self.name}'s {self.part}", "too large", "fewer rows or lanes"
            )


def names() -> list[str]:
    """Names of all boards with a recipe, sorted."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def get(kind: str, name: str | None) -> Recipe:
    """The recipe of a board; SetunError listing the known ones otherwise."""
    if kind not in KINDS:
        raise SetunError("recipe", f"must be one of {', '.join(KINDS)}", kind)
    if name is None or name not in names():
        listed, fix = ", ".join(names()), nearest(name or "", names())
        rule = f"must be one of {listed} with --recipe {kind}"
        raise SetunError("board", rule, name or "none", fix or "--board NAME")
    data = tomllib.loads(_text(f"{name}.toml"))
    data["segment"] = tuple(data["segment"])
    return Recipe(name=name, **data)


def _text(file: str) -> str:
    return resources.files(__name__).joinpath(file).read_text("utf-8")


def files(recipe: Recipe, config: ChipConfig, ports: Mapping[str, str]) -> dict[str, str]:
    """Texts of a recipe's files by name, for a chip with these ports."""
    linux = {} if not config.mailbox else linux_files(recipe, config)
    return linux | {
        "setun_axi.v": wrapper(ports, recipe.base),
        "component.xml": component(ports),
        "design.tcl": _facts(recipe, config) + _design(recipe),
        "build.tcl": _text("build.tcl"),
        "program.tcl": _text("program.tcl"),
        "pins.xdc": _constraints(recipe),
        "map.json": json.dumps(address_map(recipe, config), indent=2) + "\n",
        "README.md": _readme(recipe, config),
    }


def _design(recipe: Recipe) -> str:
    return "".join(map(_text, ("open.tcl", recipe.design, "close.tcl")))


def address_map(recipe: Recipe, config: ChipConfig) -> dict[str, Any]:
    """What lies where in the board's memory, in bytes."""
    start, size = recipe.segment
    page = {"name": "s_axi", "first_byte": recipe.registers, "bytes": SLAVE_RANGE}
    return {
        "board": recipe.name,
        **({"registers": page} if config.mailbox else {}),
        "port": {"name": "m_axi", "first_byte": start, "bytes": size},
        "model": {"first_byte": recipe.base, "bytes": config.external_bytes, "most": recipe.room},
    }


def _facts(recipe: Recipe, config: ChipConfig) -> str:
    start, size = recipe.segment
    facts = {
        "part": recipe.part,
        "board_part": recipe.board_part,
        "store": recipe.store,
        "clock_mhz": f"{config.clock_hz / 1e6:.6f}",
        "data_bits": str(config.memory_kind.beat),
        "segment_offset": f"{start:#x}",
        "segment_bytes": str(size),
        "mailbox": str(config.mailbox),
        "registers_offset": f"{recipe.registers:#x}",
        "registers_bytes": str(SLAVE_RANGE),
    }
    head = f"# The block design around Setun on {recipe.title}; build.tcl runs it.\n"
    return head + "".join(f"set {name} {{{value}}}\n" for name, value in facts.items())


def _constraints(recipe: Recipe) -> str:
    if not recipe.pins:
        return "# The link stays inside of the FPGA: no pins.\n"
    ways = ("rx", "tx")
    lines = [
        f"set_property -dict {{PACKAGE_PIN {recipe.pins[way]} "
        f"IOSTANDARD {recipe.pins['standard']}}} [get_ports {way}]\n"
        for way in ways
    ]
    return "".join(
        [*lines, "set_false_path -from [get_ports rx]\nset_false_path -to [get_ports tx]\n"]
    )


def linux_files(recipe: Recipe, config: ChipConfig) -> dict[str, str]:
    """What Linux on the processor is told: the device tree's part, and udev's rule."""

    def cells(value: int) -> str:
        words = [value >> 32 * k & 0xFFFF_FFFF for k in reversed(range(recipe.tree_cells))]
        return " ".join(f"{word:#x}" for word in words)

    tree = _text("setun.dtsi").format(
        node=NODE,
        cells=recipe.tree_cells,
        page=f"{recipe.registers:x}",
        model=f"{recipe.base:x}",
        registers=f"{cells(recipe.registers)} {cells(SLAVE_RANGE)}",
        memory=f"{cells(recipe.base)} {cells(recipe.room)}",
    )
    return {"setun.dtsi": tree, "70-setun.rules": f"{RULE}\n"}


def _readme(recipe: Recipe, config: ChipConfig) -> str:
    boot = f"\n{recipe.boot}\n" if recipe.boot else ""
    link = f"its UART {config.baud} baud: {recipe.host}."
    if config.mailbox:
        linux = _text("linux.txt").rstrip()
        link = f"its mailbox at {recipe.registers:#x} of the processor.\n{linux}"
    return _text("readme.txt").format(
        title=recipe.title,
        link=link,
        load=_text("load_axi.txt" if config.mailbox else "load_uart.txt").rstrip(),
        clock=f"{config.clock_hz / 1e6:.2f}",
        base=f"{recipe.base:#x}",
        room=recipe.room >> 20,
        boot=boot,
        size=config.external_bytes,
    )
