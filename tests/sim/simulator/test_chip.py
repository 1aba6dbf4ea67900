"""The simulated chip as a serial port: nothing lost, nothing left behind."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import serial

from setun.firmware.errors import SetunError
from setun.sim.simulator import SimulatedChip, compiler, memory_file
from sim.simulator.echo_chip import DIVISOR

Compile = Callable[..., Path]


@pytest.fixture(scope="module", params=["verilator", "cxxrtl"])
def echo(request: pytest.FixtureRequest, compile_echo: Compile) -> Path:
    return compile_echo(request.param)


@pytest.fixture(scope="module")
def verilated(compile_echo: Compile) -> Path:
    return compile_echo("verilator")


def exchange(port: serial.Serial, data: bytes) -> bytes:
    writer = threading.Thread(target=port.write, args=(data,))
    writer.start()
    answer = port.read(len(data))
    writer.join()
    return answer


def open_port(chip: SimulatedChip) -> serial.Serial:
    return serial.Serial(chip.port, 1_000_000, timeout=20)


def test_loopback(echo: Path) -> None:
    data = random.Random(1).randbytes(10_000)
    with SimulatedChip(echo) as chip, open_port(chip) as port:
        assert exchange(port, data) == data
        assert chip.framing_errors() == 0
        # Ten bits a byte, nothing between bytes: the wire was never idle for long.
        assert chip.cycles() >= 10_000 * 10 * DIVISOR
    assert chip.cycles() >= 10_000 * 10 * DIVISOR


def test_every_byte_value_unchanged(echo: Path) -> None:
    data = bytes(range(256)) * 2 + b"\r\n\n\r\x03\x04\x11\x13\x1a\x1c\x7f\xff\xff\x00"
    with SimulatedChip(echo) as chip, open_port(chip) as port:
        assert exchange(port, data) == data


def test_other_memory_without_compiling(echo: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.hex"
    path.write_bytes(memory_file([b ^ 0x55 for b in range(256)], 8))
    with SimulatedChip(echo, memories={"lookup": path}) as chip, open_port(chip) as port:
        assert exchange(port, b"\x00\x01Setun") == bytes(b ^ 0x55 for b in b"\x00\x01Setun")
    with SimulatedChip(echo) as chip, open_port(chip) as port:
        assert exchange(port, b"Setun") == b"Setun"


def test_cxxrtl_of_a_chip_too_large_to_flatten(
    compile_echo: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "_FLAT_CHARACTERS", 0)
    data = random.Random(3).randbytes(500)
    with SimulatedChip(compile_echo("cxxrtl")) as chip, open_port(chip) as port:
        assert exchange(port, data) == data


def test_reopen(verilated: Path) -> None:
    with SimulatedChip(verilated) as chip:
        for turn in range(5):
            with open_port(chip) as port:
                assert exchange(port, b"turn %d" % turn) == b"turn %d" % turn
            time.sleep(0.02)


def test_slow_reader_loses_nothing(verilated: Path) -> None:
    data = random.Random(2).randbytes(200_000)
    with SimulatedChip(verilated) as chip, open_port(chip) as port:
        writer = threading.Thread(target=port.write, args=(data,))
        writer.start()
        writer.join(60)
        assert not writer.is_alive(), "a host that only writes must not block"
        time.sleep(0.3)
        answer = b""
        while len(answer) < len(data):
            part = port.read(min(1000, len(data) - len(answer)))
            assert part, f"{len(data) - len(answer)} bytes missing"
            answer += part
    assert answer == data


def test_idle_chip_leaves_the_processor_alone(verilated: Path) -> None:
    with SimulatedChip(verilated, idle_cycles=20_000) as chip, open_port(chip) as port:
        assert exchange(port, b"x") == b"x"
        time.sleep(0.5)
        before, used = chip.cycles(), processor_seconds(chip.pid)
        time.sleep(1)
        assert processor_seconds(chip.pid) - used < 0.5
        assert chip.cycles() > before
        start = time.monotonic()
        assert exchange(port, b"y") == b"y"
        assert time.monotonic() - start < 0.5


def test_two_chips_at_once(verilated: Path) -> None:
    with SimulatedChip(verilated) as a, SimulatedChip(verilated) as b:
        assert a.port != b.port
        with open_port(a) as one, open_port(b) as two:
            one.write(b"first")
            two.write(b"second")
            assert (one.read(5), two.read(6)) == (b"first", b"second")


def test_close_leaves_no_process(verilated: Path) -> None:
    chip = SimulatedChip(verilated)
    chip.close()
    chip.close()
    with pytest.raises(ProcessLookupError):
        os.kill(chip.pid, 0)
    assert chip.cycles() > 0


def test_sigint_is_left_to_the_parent(verilated: Path) -> None:
    with SimulatedChip(verilated) as chip, open_port(chip) as port:
        os.kill(chip.pid, signal.SIGINT)
        assert exchange(port, b"still here") == b"still here"


def test_killed_parent_takes_the_chip_along(verilated: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from setun.sim.simulator import SimulatedChip\n"
        "chip = SimulatedChip(Path(sys.argv[1])); print(chip.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(verilated)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 10
    while running(pid):
        assert time.monotonic() < deadline, "the chip outlived its parent"
        time.sleep(0.05)


def test_last_cycle_closes_the_port_after_the_last_byte(verilated: Path) -> None:
    with SimulatedChip(verilated, max_cycles=300_000, idle_cycles=10**9) as chip:
        with open_port(chip) as port:
            port.write(b"before the end")
            time.sleep(0.5)
            assert port.read(14) == b"before the end"
        deadline = time.monotonic() + 10
        while running(chip.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not running(chip.pid)
        assert chip.cycles() == 300_000


@pytest.mark.parametrize("suffix", [".fst", ".vcd"])
def test_waves(suffix: str, compile_echo: Compile, tmp_path: Path) -> None:
    executable = compile_echo("verilator" if suffix == ".fst" else "cxxrtl", waves=True)
    file = tmp_path / f"echo{suffix}"
    with SimulatedChip(executable, waves=file) as chip, open_port(chip) as port:
        assert exchange(port, b"wave") == b"wave"
    data = file.read_bytes()
    names = fst_names(data) if suffix == ".fst" else data
    assert b"receiver" in names
    assert b"r_data" in names
    wrong = tmp_path / ("echo.vcd" if suffix == ".fst" else "echo.fst")
    with pytest.raises(SetunError, match=rf"must end in \{suffix}"):
        SimulatedChip(executable, waves=wrong)
    assert not wrong.exists()


def test_refusals(verilated: Path, tmp_path: Path) -> None:
    with pytest.raises(SetunError, match="must come from compile_chip"):
        SimulatedChip(tmp_path / "chip")
    with pytest.raises(SetunError, match="compiled with waves"):
        SimulatedChip(verilated, waves=tmp_path / "w.fst")
    with pytest.raises(SetunError, match="must name one memory"):
        SimulatedChip(verilated, memories={"absent": b""})
    with pytest.raises(SetunError, match="needs 256 words; found 255"):
        SimulatedChip(verilated, memories={"lookup": memory_file(range(255), 8)})
    with pytest.raises(SetunError, match="word 1 must be hexadecimal"):
        SimulatedChip(verilated, memories={"lookup": b"00\n1g\n" + b"00\n" * 254})
    with pytest.raises(SetunError, match="must be readable"):
        SimulatedChip(verilated, memories={"lookup": tmp_path / "absent.hex"})


def test_chip_that_dies_says_why(verilated: Path) -> None:
    chip = SimulatedChip(verilated)
    os.kill(chip.pid, signal.SIGKILL)
    with pytest.raises(SetunError, match="must keep running"):
        chip.cycles()
    chip.close()


def processor_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def fst_names(data: bytes) -> bytes:
    """The hierarchy block of an FST file, decompressed."""
    at = 0
    while at < len(data):
        kind, length = data[at], int.from_bytes(data[at + 1 : at + 9], "big")
        if kind == 6:
            size = int.from_bytes(data[at + 9 : at + 17], "big")
            names = lz4_block(data[at + 17 : at + 1 + length])
            assert len(names) == size
            return names
        at += 1 + length
    raise AssertionError("no hierarchy block")


def lz4_block(data: bytes) -> bytes:
    """Decompress an LZ4 block."""
    out = bytearray()
    at = 0

    def length(start: int) -> int:
        nonlocal at
        total = start
        while start == 15 or (start == -1 and data[at - 1] == 255):
            total += data[at]
            at += 1
            start = -1
        return total

    while at < len(data):
        token = data[at]
        at += 1
        literals = length(token >> 4)
        out += data[at : at + literals]
        at += literals
        if at == len(data):
            break
        offset = int.from_bytes(data[at : at + 2], "little")
        at += 2
        for _ in range(length(token & 15) + 4):
            out.append(out[-offset])
    return bytes(out)
