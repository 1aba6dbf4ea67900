"""IP-XACT (IEEE 1685-2009) description of the chip, and the wrapper that it describes."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping

from setun.firmware.link.mailbox import Register

SPIRIT = "http://www.spiritconsortium.org/XMLSchema/SPIRIT/1685-2009"
XILINX = "http://www.xilinx.com"
FAMILIES = (
    *("artix7", "kintex7", "virtex7", "zynq"),
    *("zynquplus", "kintexu", "kintexuplus", "virtexu", "virtexuplus", "artixuplus"),
)
PREFIX = "m_axi_"
SLAVE, SLAVE_RANGE = "s_axi_", 4096  # a page of registers, which repeat in it
INNER = {"clk": "aclk", "rst": "~aresetn"}  # what the wrapper connects to ports of the chip

Ports = dict[str, tuple[str, int]]  # direction and bits by name


def _chip_ports(ports: Mapping[str, str]) -> Ports:
    """Direction and bits of each port, from how ports.json describes it."""
    found = {}
    for name, described in ports.items():
        match = re.match(r"(input|output), (\d+) bit", described)
        if match is None:
            raise ValueError(f"a port must begin with its direction and bits: {name}: {described}")
        found[name] = match[1], int(match[2])
    return found


def outer_ports(ports: Mapping[str, str]) -> Ports:
    """Ports of the wrapper: the chip's, with clock and reset as a block design has them."""
    clock = {"aclk": ("input", 1), "aresetn": ("input", 1)}
    return clock | {k: v for k, v in _chip_ports(ports).items() if k not in INNER}


def wrapper(ports: Mapping[str, str], base: int) -> str:
    """Verilog of `setun_axi`: the chip, its addresses moved by `base`, its reset active low.

    `base` is a multiple of 4 KB, so that no burst crosses another boundary than before.
    """
    if base % 4096:
        raise ValueError(f"must be a multiple of 4096: {base=}")
    outer = outer_ports(ports)
    moved = [f"{PREFIX}{channel}addr" for channel in ("ar", "aw")]
    lines = ["// The chip for a block design: the model begins at BASE of what m_axi sees."]
    lines += ["module setun_axi ("]
    declared = [
        f"  {way} wire {f'[{bits - 1}:0] ' if bits > 1 else ''}{name}"
        for name, (way, bits) in outer.items()
    ]
    lines += [",\n".join(declared), ");"]
    lines += [f"  localparam [{outer[moved[0]][1] - 1}:0] BASE = {outer[moved[0]][1]}'h{base:x};"]
    for name in moved:
        bits = outer[name][1]
        lines += [f"  wire [{bits - 1}:0] {name}_chip;", f"  assign {name} = BASE + {name}_chip;"]
    inner = [
        f"    .{name}({INNER.get(name, f'{name}_chip' if name in moved else name)})"
        for name in ports
    ]
    return "\n".join([*lines, "  setun chip (", ",\n".join(inner), "  );", "endmodule", ""])


def _add(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    space, _, name = tag.rpartition(":")
    uri = XILINX if space == "xilinx" else SPIRIT
    named = {f"{{{SPIRIT}}}{key}": value for key, value in attributes.items()}
    element = ET.SubElement(parent, f"{{{uri}}}{name}", named)
    element.text = text
    return element


def _reference(parent: ET.Element, tag: str, library: str, name: str) -> None:
    vlnv = {"vendor": "xilinx.com", "library": library, "name": name, "version": "1.0"}
    _add(parent, tag, None, **vlnv)


def _interface(
    parent: ET.Element,
    name: str,
    kind: tuple[str, str],
    mode: str,
    mapped: Mapping[str, str],
    parameters: Mapping[str, str],
) -> None:
    """A bus interface; `mapped` has physical ports by logical ones."""
    library, bus = kind
    bus_interface = _add(parent, "busInterface")
    _add(bus_interface, "name", name)
    _reference(bus_interface, "busType", library, bus)
    _reference(bus_interface, "abstractionType", library, f"{bus}_rtl")
    side = _add(bus_interface, mode)
    if bus == "aximm":
        what = "addressSpaceRef" if mode == "master" else "memoryMapRef"
        _add(side, what, None, **{what: name})
    maps = _add(bus_interface, "portMaps")
    for logical, physical in mapped.items():
        port_map = _add(maps, "portMap")
        _add(_add(port_map, "logicalPort"), "name", logical)
        _add(_add(port_map, "physicalPort"), "name", physical)
    if parameters:
        _parameters(bus_interface, parameters, f"BUSIFPARAM_VALUE.{name.upper()}.")


def _parameters(parent: ET.Element, values: Mapping[str, str], prefix: str) -> None:
    parameters = _add(parent, "parameters")
    for name, value in values.items():
        parameter = _add(parameters, "parameter")
        _add(parameter, "name", name)
        _add(parameter, "value", value, id=f"{prefix}{name}")


def component(ports: Mapping[str, str]) -> str:
    """Text of component.xml for the wrapper of a chip with these ports."""
    ET.register_namespace("spirit", SPIRIT)
    ET.register_namespace("xilinx", XILINX)
    outer = outer_ports(ports)
    root = ET.Element(f"{{{SPIRIT}}}component")
    named = {"vendor": "setun", "library": "ip", "name": "setun_axi", "version": "1.0"}
    for tag, text in named.items():
        _add(root, tag, text)
    buses = _add(root, "busInterfaces")
    master = {name.removeprefix(PREFIX).upper(): name for name in outer if name.startswith(PREFIX)}
    _interface(buses, "m_axi", ("interface", "aximm"), "master", master, {})
    slave = {name.removeprefix(SLAVE).upper(): name for name in outer if name.startswith(SLAVE)}
    if slave:
        lite = {"PROTOCOL": "AXI4LITE", "DATA_WIDTH": "32"}
        _interface(buses, "s_axi", ("interface", "aximm"), "slave", slave, lite)
    served = "m_axi:s_axi" if slave else "m_axi"
    associated = {"ASSOCIATED_BUSIF": served, "ASSOCIATED_RESET": "aresetn"}
    _interface(buses, "aclk", ("signal", "clock"), "slave", {"CLK": "aclk"}, associated)
    low = {"POLARITY": "ACTIVE_LOW"}
    _interface(buses, "aresetn", ("signal", "reset"), "slave", {"RST": "aresetn"}, low)
    space = _add(_add(root, "addressSpaces"), "addressSpace")
    _add(space, "name", "m_axi")
    _add(space, "range", str(1 << outer[f"{PREFIX}araddr"][1]), format="long")
    _add(space, "width", str(outer[f"{PREFIX}rdata"][1]), format="long")
    if slave:
        _memory_map(root)
    _model(root, outer)
    _file_sets(root)
    host = "AXI4-Lite" if slave else "a UART"
    about = f"A ternary language model behind {host}, weights behind AXI4."
    _add(root, "description", about)
    _parameters(root, {"Component_Name": "setun_axi_v1_0"}, "PARAM_VALUE.")
    _extensions(root)
    ET.indent(root)
    return ET.tostring(root, "unicode", xml_declaration=True) + "\n"


def _memory_map(root: ET.Element) -> None:
    """The registers of the mailbox, in the page that a processor sees."""
    memory_map = _add(_add(root, "memoryMaps"), "memoryMap")
    _add(memory_map, "name", "s_axi")
    block = _add(memory_map, "addressBlock")
    _add(block, "name", "reg0")
    _add(block, "baseAddress", "0", format="long")
    _add(block, "range", str(SLAVE_RANGE), format="long")
    _add(block, "width", "32", format="long")
    _add(block, "usage", "register")
    for register in Register:
        found = _add(block, "register")
        _add(found, "name", register.name)
        _add(found, "addressOffset", f"{register:#x}")
        _add(found, "size", "32", format="long")
        access = "write-only" if register is Register.WRITE else "read-only"
        _add(found, "access", access)


VIEWS = {
    "xilinx_anylanguagesynthesis": "verilogSource:vivado.xilinx.com:synthesis",
    "xilinx_anylanguagebehavioralsimulation": "verilogSource:vivado.xilinx.com:simulation",
}


def _model(root: ET.Element, outer: Ports) -> None:
    model = _add(root, "model")
    views = _add(model, "views")
    for name, environment in VIEWS.items():
        view = _add(views, "view")
        _add(view, "name", name)
        _add(view, "envIdentifier", environment)
        _add(view, "language", "verilog")
        _add(view, "modelName", "setun_axi")
        _add(_add(view, "fileSetRef"), "localName", f"{name}_view_fileset")
    listed = _add(model, "ports")
    for name, (way, bits) in outer.items():
        port = _add(listed, "port")
        _add(port, "name", name)
        wire = _add(port, "wire")
        _add(wire, "direction", way.removesuffix("put"))
        if bits > 1:
            vector = _add(wire, "vector")
            _add(vector, "left", str(bits - 1), format="long")
            _add(vector, "right", "0", format="long")


def _file_sets(root: ET.Element) -> None:
    sets = _add(root, "fileSets")
    for name in VIEWS:
        file_set = _add(sets, "fileSet")
        _add(file_set, "name", f"{name}_view_fileset")
        for path in ("setun.v", "setun_axi.v"):
            file = _add(file_set, "file")
            _add(file, "name", path)
            _add(file, "fileType", "verilogSource")


def _extensions(root: ET.Element) -> None:
    core = _add(_add(root, "vendorExtensions"), "xilinx:coreExtensions")
    families = _add(core, "xilinx:supportedFamilies")
    for name in FAMILIES:
        family = _add(families, "xilinx:family", name)
        family.set(f"{{{XILINX}}}lifeCycle", "Beta")
    _add(_add(core, "xilinx:taxonomies"), "xilinx:taxonomy", "/UserIP")
    _add(core, "xilinx:displayName", "Setun")
    _add(core, "xilinx:coreRevision", "1")
