"""`setun doctor`: what is installed, what is missing, what to do about it."""

import platform
import re
import shlex
import shutil
from collections.abc import Callable
from importlib import metadata

import click

from setun import __version__
from setun.boards.flashing import find_loader, loader_version
from setun.cli.common import emit, json_option, table
from setun.firmware.errors import SetunError
from setun.firmware.link.mailbox import VERSION
from setun.firmware.link.mapped import SCHEME, devices, open_mailbox
from setun.hw.fpga.flow.toolchain import SPECS, find_tool, native_version
from setun.sim.simulator import find_tools

Row = dict[str, object]
BITSTREAM_TOOLS = tuple(SPECS)  # of all families
PURPOSES = {
    "simulate": "setun[sim]",
    "bitstream": "setun[toolchain]",
    "flash": "setun[flash]",
    "serve": "setun[serve]",
}


def _row(name: str, purpose: str, version: str, where: str, install: str = "") -> Row:
    return {
        "name": name,
        "found": bool(version),
        "version": version,
        "where": where,
        "purpose": purpose,
        "install": "" if version else install,
    }


def _synthesis(name: str) -> Row:
    try:
        tool = find_tool(name)
    except SetunError as error:
        return _row(name, "bitstream", "", "", error.fix or str(error))
    return _row(name, "bitstream", tool.version, tool.origin)


def _simulation() -> list[Row]:
    try:
        tools = find_tools()
    except SetunError as error:
        return [_row("simulator", "simulate", "", "", error.fix or str(error))]
    where = shlex.join(tools.command[:1])
    return [
        _row("simulator", "simulate", f"{tools.simulator} {tools.version}", where),
        _row("C++ compiler", "simulate", tools.compiler_version, shlex.join(tools.compiler)),
    ]


def _loader() -> Row:
    name = "openFPGALoader"
    try:
        command = find_loader(name)
        return _row(name, "flash", loader_version(command), shlex.join(command))
    except SetunError as error:
        return _row(name, "flash", "", "", error.fix)


def _mailboxes() -> list[Row]:
    """Of chips beside this processor: none on most machines."""
    rows = []
    for device in devices():
        try:
            with open_mailbox(f"{SCHEME}:{device}"):
                rows.append(_row("mailbox", "axi", str(VERSION), device))
        except SetunError as error:
            rows.append(_row("mailbox", "axi", "", device, error.fix or str(error)))
    return rows


def _program(name: str, version: Callable[[str], str]) -> Row:
    path = shutil.which(name)
    found = version(path) if path else ""
    return _row(name, "test", found, path or "", f"apt-get install {name}")


def _perl_version(path: str) -> str:
    found = re.search(r"\((v[\d.]+)\)", native_version((path,)))
    return found[1] if found else "perl"


def _packages() -> list[Row]:
    rows = []
    for line in metadata.requires("setun") or []:
        found = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra == ['\"](\w+)['\"]", line)
        if found is None or found[0] == "setun":
            continue
        try:
            version = metadata.version(found[0])
        except metadata.PackageNotFoundError:
            version = ""
        group = extra[1] if extra else "setun"
        rows.append({"name": found[0], "version": version, "for": group})
    return rows


def examine() -> Row:
    """Everything `setun doctor --json` prints: versions, tools, packages, what is possible.

    `can.simulate` needs a simulator with a C++ compiler, `can.bitstream` its tools, `can.flash` a
    loader that starts, `can.serve` its packages. A chip's mailbox is among the tools where there
    is one. make and perl are for the Makefile and the cocotb
    benches.
    """
    tools = [_synthesis(name) for name in BITSTREAM_TOOLS]
    tools += _simulation()
    tools += [_loader()]
    tools += _mailboxes()
    tools += [_program("make", lambda path: native_version((path,)))]
    tools += [_program("perl", _perl_version)]
    found = {str(tool["name"]) for tool in tools if tool["found"]}
    packages = _packages()
    return {
        "setun": __version__,
        "python": platform.python_version(),
        "can": {
            "simulate": "simulator" in found,
            "bitstream": found.issuperset(BITSTREAM_TOOLS),
            "flash": "openFPGALoader" in found,
            "serve": all(each["version"] for each in packages if each["for"] == "serve"),
        },
        "tools": tools,
        "packages": packages,
    }


def _text(result: Row) -> str:
    tools, packages, can = result["tools"], result["packages"], result["can"]
    if not (isinstance(tools, list) and isinstance(packages, list) and isinstance(can, dict)):
        raise TypeError("not a result of examine()")
    shown = [
        {"tool": t["name"], "version": t["version"] or "missing", "where": t["where"]}
        | {"install": t["install"]}
        for t in tools
    ]
    lines = [f"setun {result['setun']}, Python {result['python']}", ""]
    lines += [table(shown, ["tool", "version", "where", "install"]), ""]
    missing = sorted({f"{p['name']} ({p['for']})" for p in packages if not p["version"]})
    if missing:
        lines += [f"Python packages not installed: {', '.join(missing)}", ""]
    for purpose, extra in PURPOSES.items():
        state = "ready" if can[purpose] else f"pip install '{extra}', and what is missing above"
        lines.append(f"{purpose}: {state}")
    return "\n".join(lines)


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Tools found, versions, what to install.

    \b
    setun doctor
    setun doctor --json
    """
    result = examine()
    emit(result, as_json, lambda: _text(result))
