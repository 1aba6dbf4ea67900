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
from setun.firmware.link.mailbox import Register
from setun.firmware.link.mapped import RULE
from setun.recipes.ipxact import SPIRIT, wrapper
from setun.sim.simulator.tools import find_tools

SMALL = ("--set", "columns=8", "--set", "rows=4", "--set", "lanes=4")
# IEEE 1685-2009, what a component has, in this order.
ORDER = ["vendor", "library", "name", "version", "busInterfaces", "addressSpaces", "memoryMaps"]
ORDER += ["model", "fileSets", "description", "parameters", "vendorExtensions"]
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
    mailbox = recipes.get("vivado", board_of(made)).registers > 0
    order = [tag for tag in ORDER if mailbox or tag != "memoryMaps"]
    assert root.tag == f"{{{SPIRIT}}}component" and tags(root) == order
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
    lite = {"s_axi": {"PROTOCOL": "AXI4LITE", "DATA_WIDTH": "32"}} if mailbox else {}
    served = ":".join(["m_axi", *lite])
    assert buses == {
        **lite,
        "m_axi": {},
        "aclk": {"ASSOCIATED_BUSIF": served, "ASSOCIATED_RESET": "aresetn"},
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
    assert ({"rx", "tx"} <= ports) is not mailbox
    if mailbox:
        reference = root.find(".//s:slave/s:memoryMapRef", names)
        assert reference is not None and reference.get(f"{{{SPIRIT}}}memoryMapRef") == "s_axi"
        registers = {
            str(each.findtext("s:name", None, names)): (
                int(str(each.findtext("s:addressOffset", None, names)), 0),
                each.findtext("s:access", None, names),
            )
            for each in root.iterfind("s:memoryMaps/s:memoryMap/s:addressBlock/s:register", names)
        }
        written = {"WRITE": "write-only"}
        assert registers == {r.name: (r, written.get(r.name, "read-only")) for r in Register}


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
    recipe = recipes.get("vivado", board_of(made))
    links = {"setun/s_axi"} if recipe.registers else {"setun/rx", "setun/tx"}
    assert {"setun/aclk", "setun/aresetn", "setun/m_axi", *links} <= set(ends)
    assert recipe.board_part in (made / "design.tcl").read_text()
    inside = not recipe.pins
    assert inside == (not any(end.startswith("port/") for end in ends))
    places = json.loads((made / "map.json").read_text())
    port, model = places["port"], places["model"]
    assert port["first_byte"] <= model["first_byte"]
    end = port["first_byte"] + port["bytes"]
    assert model["first_byte"] + model["bytes"] <= model["first_byte"] + model["most"] <= end
    readme = (made / "README.md").read_text()
    assert "Assembled, not run" in readme
    assert ("--memory-map map.json" in readme) == bool(recipe.registers)
    assert ("registers" in places) == (made / "setun.dtsi").exists() == bool(recipe.registers)


@pytest.mark.parametrize(("board", "cells"), [("kv260", 2), ("zybo-z7-20", 1)])
def test_what_linux_is_told(board: str, cells: int, tmp_path: Path) -> None:
    """The device tree has the addresses of map.json, in that order; the rule names its node."""
    assert generate(tmp_path / "out", "--board", board, *SMALL) == (0, "None")
    places = json.loads((tmp_path / "out/map.json").read_text())
    tree = (tmp_path / "out/setun.dtsi").read_text()
    pairs = [
        (places["registers"]["first_byte"], places["registers"]["bytes"]),
        (places["model"]["first_byte"], places["model"]["most"]),
    ]
    for line in (f"#address-cells = <{cells}>", "no-map;", 'compatible = "generic-uio"'):
        assert line in tree
    told = re.search(r"reg = <([^>]*)>, <([^>]*)>;", tree)
    assert told and tree.count("{") == tree.count("}")
    for words, pair in zip(told.groups(), pairs, strict=True):
        found = [int(word, 0) for word in words.split()]
        assert len(found) == 2 * cells
        assert (found[cells - 1], found[-1]) == pair and sum(found) == sum(pair)
    assert f"setun@{pairs[0][0]:x} {{" in tree
    assert (tmp_path / "out/70-setun.rules").read_text() == f"{RULE}\n"
    # The registers are no part of the memory.
    port = places["port"]
    assert not port["first_byte"] <= pairs[0][0] < port["first_byte"] + port["bytes"]


def test_a_uart_where_it_is_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert generate(out, "--board", "kv260", "--set", "mailbox=0", *SMALL) == (0, "None")
    cells, wired = run_tcl(out, "design.tcl").splitlines()
    assert "setun/rx" in wired and "s_axi" not in wired and "control" not in cells.split()
    assert not (out / "setun.dtsi").exists() and "baud" in (out / "README.md").read_text()


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
        (
            ["--board", "u250", "--set", "mailbox=1", "--set", "terminal=0"],
            "mailbox: must be 0 on u250, which has no processor",
        ),
        (["--board", "kv260", "--set", "terminal=1"], "terminal: must be 0 with a mailbox"),
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
