"""Recipes for a vendor's tool, as far as they can be checked without it."""

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner

from setun import recipes
from setun.cli import cli
from setun.firmware.errors import SetunError
from setun.recipes.ipxact import SPIRIT, wrapper
from setun.sim.simulator.tools import find_tools

SMALL = ("--set", "columns=8", "--set", "rows=4", "--set", "lanes=4")
# IEEE 1685-2009, what a component has, in this order.
ORDER = ["vendor", "library", "name", "version", "busInterfaces", "addressSpaces", "model"]
ORDER += ["fileSets", "description", "parameters", "vendorExtensions"]
# Stands for Vivado: remembers what is made and wired, and answers with the names asked for.
STUBS = """
set made {}
set wired {}
rename unknown {}
proc unknown {name args} {
    global made wired calls
    lappend calls $name
    switch -glob -- $name {
        create_bd_cell - create_bd_port {lappend made [lindex $args end]}
        connect_bd_net - connect_bd_intf_net {lappend wired $args}
        get_board_parts {return [list [string map {* 1.9} [lindex $args end]] \
            [string map {* 1.10} [lindex $args end]]]}
        get_bd_pins - get_bd_intf_pins - get_bd_cells {return [lindex $args end]}
        get_bd_ports {return [expr {[lindex $args 0] eq "-quiet" ? "" : "port/[lindex $args end]"}]}
        get_property {return [expr {[lindex $args 0] eq "PROGRESS" ? "100%" : $::slack}]}
        get_hw_devices {return $::devices}
    }
}
"""


def generate(out: Path, *args: str) -> tuple[int, str]:
    line = ["generate", "-o", str(out), "--recipe", "vivado", *args]
    result = CliRunner().invoke(cli, line)
    return result.exit_code, str(result.exception)


@pytest.fixture(scope="module", params=recipes.names())
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(request.param)
    assert generate(out, "--board", request.param, *SMALL) == (0, "None")
    return out


def tags(element: ET.Element) -> list[str]:
    return [child.tag.removeprefix(f"{{{SPIRIT}}}") for child in element]


def test_component_is_what_1685_2009_asks_for(made: Path) -> None:
    root = ET.fromstring((made / "component.xml").read_text())
    names = {"s": SPIRIT}
    assert root.tag == f"{{{SPIRIT}}}component" and tags(root) == ORDER
    header = re.search(r"module setun_axi \((.*?)\);", (made / "setun_axi.v").read_text(), re.S)
    assert header
    declared = re.findall(r"(in|out)put wire (?:\[(\d+):0\] )?(\w+)", header[1])
    listed = [
        (
            port.findtext("s:wire/s:direction", None, names),
            port.findtext("s:wire/s:vector/s:left", "", names),
            port.findtext("s:name", None, names),
        )
        for port in root.iterfind("s:model/s:ports/s:port", names)
    ]
    assert listed == declared
    ports = {name for _, _, name in listed}
    mapped = [e.text for e in root.iterfind(".//s:physicalPort/s:name", names)]
    assert sorted(map(str, mapped)) == sorted(p for p in map(str, ports) if p not in ("rx", "tx"))
    buses = {
        bus.findtext("s:name", None, names): {
            p.findtext("s:name", None, names): p.findtext("s:value", None, names)
            for p in bus.iterfind("s:parameters/s:parameter", names)
        }
        for bus in root.iterfind("s:busInterfaces/s:busInterface", names)
    }
    assert buses == {
        "m_axi": {},
        "aclk": {"ASSOCIATED_BUSIF": "m_axi", "ASSOCIATED_RESET": "aresetn"},
        "aresetn": {"POLARITY": "ACTIVE_LOW"},
    }
    for bus in root.iterfind("s:busInterfaces/s:busInterface", names):
        expected = ["name", "busType", "abstractionType", "portMaps", "parameters"]
        assert [t for t in tags(bus) if t not in ("master", "slave")] == expected[: len(bus) - 1]
    sets = {e.text for e in root.iterfind("s:fileSets/s:fileSet/s:name", names)}
    used = {e.text for e in root.iterfind("s:model/s:views/s:view/s:fileSetRef/s:localName", names)}
    assert sets == used and len(sets) == 2
    for file in root.iterfind("s:fileSets/s:fileSet/s:file/s:name", names):
        assert (made / str(file.text)).is_file()
    space = root.find("s:addressSpaces/s:addressSpace", names)
    assert space is not None and tags(space) == ["name", "range", "width"]
    reference = root.find(".//s:master/s:addressSpaceRef", names)
    assert reference is not None and reference.get(f"{{{SPIRIT}}}addressSpaceRef") == "m_axi"


def test_wrapper_is_clean_for_verilator(made: Path) -> None:
    tools = find_tools("verilator")
    line = [*tools.command, "--lint-only", "-Wall", "--top-module", "setun_axi"]
    environment = {**os.environ, "VERILATOR_ROOT": str(tools.include)}
    done = subprocess.run(
        [*line, "setun.v", "setun_axi.v"],
        cwd=made,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[:2000]


def run_tcl(folder: Path, script: str, **given: str) -> str:
    """What a script's run ends with among stubs: lists of what was made and wired, or its error."""
    head = "".join(f"set {name} {{{value}}}\n" for name, value in given.items())
    text = f"{STUBS}{head}cd {{{folder}}}\nsource {script}\nputs stderr $made\nputs stderr $wired\n"
    command = shutil.which("tclsh")
    # Python's own Tcl where there is no shell of it.
    python = [sys.executable, "-c", "import sys, tkinter; tkinter.Tcl().eval(sys.stdin.read())"]
    done = subprocess.run(
        python if command is None else [command], input=text, capture_output=True, text=True
    )
    return done.stderr


def test_design_wires_what_it_makes(made: Path) -> None:
    cells, wired = run_tcl(made, "design.tcl").splitlines()
    known = set(cells.split()) | {"port"}
    pairs = re.findall(r"\{([^{}]+)\}", wired)
    ends = [pin for pair in pairs for pin in pair.split()]
    assert {pin.partition("/")[0] for pin in ends} <= known
    assert {"setun/aclk", "setun/aresetn", "setun/rx", "setun/tx", "setun/m_axi"} <= set(ends)
    recipe = recipes.get("vivado", board_of(made))
    assert recipe.board_part in (made / "design.tcl").read_text()
    inside = not recipe.pins
    assert inside == (not any(end.startswith("port/") for end in ends))
    places = json.loads((made / "map.json").read_text())
    port, model = places["port"], places["model"]
    assert port["first_byte"] <= model["first_byte"]
    end = port["first_byte"] + port["bytes"]
    assert model["first_byte"] + model["bytes"] <= model["first_byte"] + model["most"] <= end
    assert "Assembled, not run" in (made / "README.md").read_text()


def board_of(made: Path) -> str:
    return str(json.loads((made / "map.json").read_text())["board"])


def test_build_and_programming_tell_what_is_wrong(tmp_path: Path) -> None:
    for name in ("build.tcl", "program.tcl"):
        shutil.copy(Path(recipes.__file__).parent / name, tmp_path)
    (tmp_path / "project/setun.runs/impl_1").mkdir(parents=True)
    (tmp_path / "project/setun.runs/impl_1/system_wrapper.bit").write_text("bits")
    assert "timing (max): must be met; slack is -0.2 ns" in run_tcl(
        tmp_path, "build.tcl", slack="-0.2"
    )
    assert not (tmp_path / "setun.bit").exists()
    assert "error" not in run_tcl(tmp_path, "build.tcl", slack="0.1")
    assert (tmp_path / "setun.bit").read_text() == "bits"
    assert "FPGA: must be on the cable" in run_tcl(tmp_path, "program.tcl", devices="")
    assert "must" not in run_tcl(tmp_path, "program.tcl", devices="xck26_0")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--board", "kv26"], "board: must be one of arty-a7-100t, kv260, u250, zybo-z7-20"),
        ([], "board: must be one of arty-a7-100t"),
        (["--board", "kv260", "--recipe", "quartus"], "recipe: must be one of vivado"),
        (["--board", "kv260", "--set", "memory=axi4-64"], "memory: must be axi4-128 on kv260"),
        (["--board", "arty-a7-100t", "--set", "clock_hz=50000000"], "clock_hz: must be 83333333"),
        (["--board", "kv260", "--technology", "ecp5"], "technology: must be generic"),
        (["--board", "zybo-z7-20", "--set", "rows=64", "--set", "columns=64"], "must fit zybo"),
        (["--board", "zybo-z7-20", "--model", "random-2b4t"], "must fit"),
    ],
)
def test_bad_input_is_told_in_a_line(args: list[str], told: str, tmp_path: Path) -> None:
    code, error = generate(tmp_path / "out", *args)
    assert code != 0 and told in error and "\n" not in error, error
    assert not (tmp_path / "out").exists()


def test_base_is_a_page(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiple of 4096"):
        wrapper({}, 100)
    with pytest.raises(SetunError, match="kv260"):
        recipes.get("vivado", None)
