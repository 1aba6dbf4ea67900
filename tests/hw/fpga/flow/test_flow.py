"""`build_bitstream` from end to end, with scripted tools."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bench.folders import ROOT
from setun import boards
from setun.firmware.errors import SetunError
from setun.hw.fpga.flow.bitstream import build_bitstream, design_for
from setun.hw.fpga.flow.cache import Cache

BOARD = boards.get("ulx3s-85f")

TOOL = """
import json, os, pathlib, sys, time
name, arguments = {name!r}, sys.argv[1:]
if arguments == ["--version"]:
    print(name, "9.9"); sys.exit()
with open({calls!r}, "a") as calls:
    calls.write(" ".join([name, *arguments]) + "\\n")
def value(option): return arguments[arguments.index(option) + 1]
plan = json.loads(os.environ.get("PLAN", "{{}}"))
if plan.get("fail") == name:
    print("ERROR: scripted failure"); sys.exit(1)
if plan.get("sleep") == name:
    time.sleep(60)
if name == "yosys":
    top = pathlib.Path("synth.ys").read_text().split("-top ")[1].split()[0]
    pathlib.Path(top + ".json").write_text(json.dumps({{"modules": {{}}}}))
    cells = {{"num_cells_by_type": plan.get("cells", {{"LUT4": 5}})}}
    pathlib.Path("stat.json").write_text(json.dumps({{"design": cells}}))
elif name == "nextpnr":
    seed = int(value("--seed"))
    if seed in plan.get("circles", []):
        for n, left in enumerate([900, 300, *range(310, 500, 10)], 1):
            print(f"Info:     iter={{n}} wires=9000 overused={{left}} overuse={{left}} archfail=NA")
        sys.stdout.flush()
        time.sleep(60)
    clock = {{"achieved": plan.get("fmax", 70.0) + seed % 3, "constraint": float(value("--freq"))}}
    used = {{"TRELLIS_COMB": {{"used": 5, "available": 83640}}}}
    report = {{"fmax": {{"clk": clock}}, "utilization": used, "critical_paths": []}}
    pathlib.Path(value("--report")).write_text(json.dumps(report))
    pathlib.Path(value("--textcfg")).write_text(f"config of seed {{seed}}")
else:
    pathlib.Path(value("--bit")).write_text("bits of " + open(value("--input")).read())
"""


class Echo(wiring.Component):
    """Sends back what it hears, two cycles later."""

    rx: In(1)
    tx: Out(1, init=1)

    def elaborate(self, platform):
        m = Module()
        stage = Signal(2, init=3)
        m.d.sync += [stage.eq(Cat(self.rx, stage)), self.tx.eq(stage[1])]
        return m


class Scripted:
    """Stand-ins for the three tools, and the record of their calls."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.record = folder / "calls"
        for name, variable in (
            ("yosys", "YOSYS"),
            ("nextpnr", "NEXTPNR_ECP5"),
            ("ecppack", "ECPPACK"),
        ):
            path = folder / f"{name}.py"
            path.write_text(TOOL.format(name=name, calls=str(self.record)), "utf-8")
            monkeypatch.setenv(variable, f"{sys.executable} {path}")

    def plan(self, **plan: object) -> None:
        self.monkeypatch.setenv("PLAN", json.dumps(plan))

    def calls(self) -> list[str]:
        """Names of the tools run since the last question."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        self.record.unlink(missing_ok=True)
        return [line.split()[0] for line in lines]

    def build(self, clock_mhz: float = 60.0, **options):
        return build_bitstream(
            Echo,
            BOARD,
            name="echo",
            out=self.folder / "out",
            clock_mhz=clock_mhz,
            cache=Cache(self.folder / "cache"),
            **options,
        )

    def left(self) -> set[str]:
        return {path.name for path in (self.folder / "out").iterdir()}


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    return Scripted(tmp_path, monkeypatch)


BITS = b"bits of config of seed 4"


def test_build_leaves_bitstream_and_report(scripted: Scripted):
    seen: list[str] = []
    extra = {"cycles_per_token": 100, "tokens_per_second": 600_000.0}
    result = scripted.build(seed=4, extra=extra, progress=seen.append)
    assert seen == ["elaborate", "synthesise", "place and route", "pack"]
    assert result == json.loads((scripted.folder / "out/report.json").read_text())
    assert result["tools"].keys() == {"yosys", "nextpnr-ecp5", "ecppack"}
    del result["tools"]
    assert result == {
        "board": "ulx3s-85f",
        "fmax_mhz": 71.0,
        "clock_mhz": 60.0,
        "timing_met": True,
        "utilisation": {"luts": [5, 83640]},
        "cycles_per_token": 100,
        "tokens_per_second": 600_000.0,
        "seed": 4,
        "bitstream_sha256": hashlib.sha256(BITS).hexdigest(),
    }
    assert (scripted.folder / "out/echo.bit").read_bytes() == BITS
    names = {"echo.bit", "report.json", "timing.json", "yosys.log", "nextpnr.log"}
    assert scripted.left() == names


def test_same_input_runs_no_tool_again(scripted: Scripted):
    first = scripted.build()
    assert scripted.calls() == ["yosys", "nextpnr", "ecppack"]
    (scripted.folder / "out/echo.bit").unlink()
    assert scripted.build() == first
    assert scripted.calls() == []
    assert (scripted.folder / "out/echo.bit").exists()
    scripted.build(seed=2)
    assert scripted.calls() == ["nextpnr", "ecppack"]
    scripted.build(clock_mhz=50.0)
    assert scripted.calls() == ["yosys", "nextpnr", "ecppack"]


def test_best_of_several_seeds_is_kept(scripted: Scripted):
    result = scripted.build(seed=3, seeds=4)
    assert (result["seed"], result["fmax_mhz"]) == (5, 72.0)
    assert sorted(scripted.calls()) == ["ecppack", *["nextpnr"] * 4, "yosys"]


def test_a_placement_that_does_not_route_is_given_up(scripted: Scripted):
    """The next seed is tried; among several those that route are enough."""
    scripted.plan(circles=[1, 2, 6])
    stages: list[str] = []
    assert scripted.build(progress=stages.append)["seed"] == 3
    assert [stage for stage in stages if "seed" in stage] == [
        *("place and route, seed 2", "place and route, seed 3")
    ]
    assert scripted.build(seed=5, seeds=2)["seed"] == 5
    scripted.plan(circles=[*range(20)])
    with pytest.raises(SetunError) as raised:
        scripted.build(seed=10)
    assert raised.value.rule == "must route" and "--seed" in str(raised.value)
    assert raised.value.value == "450 wires wanted twice in round 17, 300 in round 2"
    assert not (scripted.folder / "out" / "echo.bit").exists()


def test_timing_missed_by_little_is_left_to_the_next_seed(scripted: Scripted):
    scripted.plan(fmax=58.5)  # 59.5 with seed 1, 60.5 with seed 2, 58.5 with seed 3
    assert scripted.build(60.0)["seed"] == 2
    assert scripted.build(60.0, seed=3)["seed"] == 5
    assert scripted.calls().count("nextpnr") == 5
    scripted.plan(fmax=60.0)
    with pytest.raises(SetunError) as raised:
        scripted.build(62.5)
    assert raised.value.value == "62 MHz with seed 2"
    assert scripted.build(62.5, seed=9, allow_timing_fail=True)["seed"] == 9


def test_missed_timing_is_refused_and_reported(scripted: Scripted):
    scripted.build()
    scripted.plan(fmax=40.0)
    with pytest.raises(SetunError, match=r"must reach 75 MHz; found 41 MHz with seed 1"):
        scripted.build(clock_mhz=75.0)
    assert "echo.bit" not in scripted.left()
    report = json.loads((scripted.folder / "out/report.json").read_text())
    assert (report["timing_met"], report["fmax_mhz"]) == (False, 41.0)
    result = scripted.build(clock_mhz=75.0, allow_timing_fail=True)
    assert result["timing_met"] is False and "echo.bit" in scripted.left()


def test_design_that_does_not_fit_never_reaches_placement(scripted: Scripted):
    scripted.plan(cells={"DP16KD": 209, "LUT4": 1})
    with pytest.raises(SetunError, match=r"block_ram 209 of 208"):
        scripted.build()
    assert scripted.calls() == ["yosys"]
    assert scripted.left() == {"yosys.log"}


@pytest.mark.parametrize("tool", ["yosys", "nextpnr", "ecppack"])
def test_failing_tool_is_named_with_its_log(scripted: Scripted, tool: str):
    scripted.plan(fail=tool)
    with pytest.raises(SetunError, match=rf"scripted failure \(see .*{tool}\.log\)"):
        scripted.build()
    assert f"{tool}.log" in scripted.left()
    assert not {"echo.bit", "report.json"} & scripted.left()
    scripted.plan()
    assert scripted.build()["timing_met"]


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"seeds": 0}, "at least 1"),
        ({"seed": -1}, "negative"),
        ({"clock_mhz": 52.0}, "nearest is 53.125"),
    ],
)
def test_impossible_request_is_refused_before_any_tool(scripted: Scripted, options, rule):
    with pytest.raises(SetunError, match=rule):
        scripted.build(**options)
    assert scripted.calls() == []


def placing(scripted: Scripted) -> subprocess.Popen[bytes]:
    """A build in a process of its own, both of its placements under way."""
    scripted.plan(sleep="nextpnr")
    code = (
        # Background jobs of a shell start with SIGINT ignored.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import sys; sys.path.insert(0, 'tests'); from hw.fpga.flow import test_flow as t\n"
        "from pathlib import Path\n"
        "t.build_bitstream(t.Echo, t.BOARD, name='echo', out=Path(sys.argv[1]) / 'out',\n"
        "    clock_mhz=60.0, seeds=2, cache=t.Cache(Path(sys.argv[1]) / 'cache'))"
    )
    root = ROOT
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(scripted.folder)], cwd=root, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 30
    while not scripted.record.exists() or scripted.record.read_text().count("nextpnr") < 2:
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.05)
    return child


def test_interrupt_ends_the_tools(scripted: Scripted):
    child = placing(scripted)
    started = time.monotonic()
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=20)
    assert b"KeyboardInterrupt" in stderr
    assert time.monotonic() - started < 10
    assert running(str(scripted.folder / "nextpnr.py")) == []
    assert not {"echo.bit", "report.json"} & scripted.left()
    assert [path for path in (scripted.folder / "cache").iterdir() if path.name[0] == "."] == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot ask for it")
def test_a_build_that_is_killed_leaves_no_tool_running(scripted: Scripted):
    child = placing(scripted)
    assert len(running(str(scripted.folder / "nextpnr.py"))) == 2
    child.kill()
    child.wait()
    deadline = time.monotonic() + 10
    while running(str(scripted.folder / "nextpnr.py")):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_tool_that_takes_too_long_is_ended(scripted: Scripted):
    scripted.plan(sleep="nextpnr")
    with pytest.raises(SetunError, match=r"nextpnr-ecp5: must end within 1 s"):
        scripted.build(limit_s=1.0)
    assert running(str(scripted.folder / "nextpnr.py")) == []


def running(word: str) -> list[int]:
    """Processes whose command line holds `word`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_design_does_not_depend_on_where_or_when():
    code = (
        "import sys; sys.path.insert(0, 'tests'); from hw.fpga.flow import test_flow as t\n"
        "d = t.design_for(t.Echo, t.BOARD, name='echo', clock_mhz=60.0)\n"
        "sys.stdout.write(d.rtlil + d.constraints)"
    )
    texts = set()
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            check=True,
        )
        texts.add(done.stdout)
    assert len(texts) == 1
    text = texts.pop().decode()
    assert 'LOCATE COMP "uart_0__rx__io" SITE "M1"' in text
    assert "\\CLKFB_DIV 12" in text and "src" not in text


def test_board_clock_itself_needs_no_pll():
    design = design_for(Echo, BOARD, name="echo", clock_mhz=25.0)
    assert "EHXPLLL" not in design.rtlil and "SGSR" in design.rtlil
    with pytest.raises(SetunError, match="letters"):
        design_for(Echo, BOARD, name="../echo", clock_mhz=25.0)
