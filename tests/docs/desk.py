"""A desk with a board on a cable: its simulated chip on a USB port, a programmer that takes notes.

Commands run in this process, as a shell would start them.
"""

import contextlib
import hashlib
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from serial.tools import list_ports

from docs.pages import Shown
from setun import boards, cli
from setun.backends.simulated import blank_verilog, simulated_config
from setun.boards.building import usual_chip
from setun.firmware.image import file as image_file
from setun.firmware.image.memory_layout import lay_out
from setun.firmware.numerics.options import Numerics
from setun.firmware.program.isa import Table
from setun.hw.emit.verilog import TOP
from setun.models.load import load_model
from setun.sim.memories.system import system_contents
from setun.sim.simulator import SimulatedChip, compile_chip, memory_file

LOADER = """#!/bin/sh
[ "$1" = --Version ] && echo openFPGALoader v0.13.1 && exit 0
echo openFPGALoader "$@" >> "{log}"
"""


class Desk:
    """One board of that name, and a folder to type in.

    Members
    -------
    programmed
        Commands that the programmer got.
    """

    def __init__(self, board: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.board, self.folder = boards.get(board), folder
        self._log = folder / "programmer.log"
        tools = folder / "tools"
        tools.mkdir()
        loader = tools / "openFPGALoader"
        loader.write_text(LOADER.format(log=self._log))
        loader.chmod(0o755)
        patch.chdir(folder)
        patch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
        port = SimpleNamespace(device="", vid=0x0403, description=self.board.label)
        patch.setattr(list_ports, "comports", lambda: [port])
        self._port = port
        self._image = load_model(self.board.model)
        other = self._image
        width = other.tables[Table.EMBEDDING].shape[1]
        if not usual_chip(self.board).external:  # the chip has its own: M is another of its size
            other = load_model(f"random-{width}x{len(other.layers)}")
        image_file.save(other, folder / "M.setun", Numerics())

    @property
    def programmed(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    def build(self, board: str, name: str) -> None:
        """What `setun build` of the board's usual chip leaves in a folder, but for the bits."""
        target, out = boards.get(board), self.folder / name
        out.mkdir(exist_ok=True)
        (out / f"setun.{target.fpga.flow().suffix}").write_bytes(b"bits")
        report = {
            "board": board,
            "bitstream_sha256": hashlib.sha256(b"bits").hexdigest(),
            "config": usual_chip(target).to_dict(),
        }
        (out / "report.json").write_text(json.dumps(report))

    @contextlib.contextmanager
    def powered(self) -> Iterator[None]:
        """The board's chip on the port as its bitstream starts it."""
        config = simulated_config(usual_chip(self.board))
        executable = compile_chip(blank_verilog(config), TOP, config.divisor)
        contents = {} if config.external else system_contents(config, lay_out(self._image, config))
        files = {name: memory_file(each.words, each.width) for name, each in contents.items()}
        chip = SimulatedChip(executable, memories=files)
        self._port.device = chip.port
        try:
            yield
        finally:
            chip.close()

    def type(self, command: Shown, stdin: str = "To be\n") -> tuple[int, str, str]:
        """Run a command line; its exit status, stdout and stderr."""
        out, error = io.StringIO(), io.StringIO()
        before, sys.stdin = sys.stdin, io.StringIO(stdin)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
                status = cli.run(command.words[1:])
        finally:
            sys.stdin = before
        return status, out.getvalue(), error.getvalue()
