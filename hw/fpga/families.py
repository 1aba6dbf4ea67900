"""What the stages of a bitstream differ in from one family of FPGAs to the next."""

from collections.abc import Callable
from dataclasses import dataclass

from setun.firmware.errors import SetunError

# No unit uses a word of these memories that it read in the cycle of its write (tests/hw/chip/
# test_bitstream.py and test_small.py): without this Yosys keeps the old word, with
# registers and a multiplexer for each bit of a 36-bit wide block.
# The elements that Amaranth names x[0], x[1] would pass for bits of x where ABC9 hands over names,
# and synthesis of some chips ends there.
_SYNTHESIS = """\
read_rtlil {name}.il
rename -hide */w:*\\[*\\]
setparam -set COLLISION_X_MASK 1'1 *.memories.*/t:$memrd_v2
synth_ecp5 -top {name}
tee -q -o stat.json stat -json
write_json {name}.json
"""
# Yosys takes every SB_MAC16 that it finds for a product and sets its options anew, so accumulators
# come under another name until it is done.
_ICE40_SYNTHESIS = """\
read_verilog -lib <<EOT
module SETUN_MAC16(input CLK, CE, input [15:0] C, A, B, D, input AHOLD, BHOLD, CHOLD, DHOLD,
  input IRSTTOP, IRSTBOT, ORSTTOP, ORSTBOT, OLOADTOP, OLOADBOT, ADDSUBTOP, ADDSUBBOT,
  input OHOLDTOP, OHOLDBOT, CI, ACCUMCI, SIGNEXTIN, output [31:0] O);
  parameter [1:0] TOPOUTPUT_SELECT = 0;
  parameter [1:0] BOTOUTPUT_SELECT = 0;
endmodule
EOT
read_rtlil {name}.il
rename -hide */w:*\\[*\\]
setparam -set COLLISION_X_MASK 1'1 *_store/t:$memrd_v2
synth_ice40 -top {name} -dsp -abc9 -device u
chtype -set SB_MAC16 t:SETUN_MAC16
tee -q -o stat.json stat -json
write_json {name}.json
"""
PACKAGES = {
    "BG256": "CABGA256",
    "MG285": "CSFBGA285",
    "BG381": "CABGA381",
    "BG554": "CABGA554",
    "BG756": "CABGA756",
}
ICE40_PACKAGES = {"SG48": "sg48", "UWG30": "uwg30"}


@dataclass(frozen=True, kw_only=True)
class Family:
    """Tools of a family and how they are asked.

    Parameters
    ----------
    synthesis
        Script for Yosys; NAME.il to NAME.json and stat.json.
    placer, packer
        Tools, as `setun.hw.fpga.flow.toolchain` names them.
    placer_options
        Further options of nextpnr.
    layout, layout_option
        Suffix of what nextpnr writes, and its option for it.
    pins, open_pins
        Its options for the file of pins, and for a design without one.
    suffix
        Of the bitstream.
    pack
        The packer's arguments for a name.
    constraints
        Suffix of the platform's file of pins.
    """

    synthesis: str
    placer: str
    placer_options: tuple[str, ...]
    layout: str
    layout_option: str
    pins: str
    open_pins: str
    packer: str
    suffix: str
    pack: Callable[[str], list[str]]
    constraints: str


FAMILIES = {
    "ecp5": Family(
        synthesis=_SYNTHESIS,
        placer="nextpnr-ecp5",
        placer_options=("--router", "router2"),
        layout="config",
        layout_option="--textcfg",
        pins="--lpf",
        open_pins="--lpf-allow-unconstrained",
        packer="ecppack",
        suffix="bit",
        pack=lambda name: ["--compress", "--input", f"{name}.config", "--bit", f"{name}.bit"],
        constraints="lpf",
    ),
    "ice40": Family(
        synthesis=_ICE40_SYNTHESIS,
        placer="nextpnr-ice40",
        placer_options=(),
        layout="asc",
        layout_option="--asc",
        pins="--pcf",
        open_pins="--pcf-allow-unconstrained",
        packer="icepack",
        suffix="bin",
        pack=lambda name: [f"{name}.asc", f"{name}.bin"],
        constraints="pcf",
    ),
}


def family(name: str) -> Family:
    """The family called so; SetunError for one without a flow."""
    if name not in FAMILIES:
        raise SetunError("FPGA", f"must be of {', '.join(FAMILIES)} to get a bitstream", name)
    return FAMILIES[name]


@dataclass(frozen=True, kw_only=True)
class Device:
    """An FPGA as the vendor names it."""

    device: str
    package: str
    speed: str

    def arguments(self) -> list[str]:
        """Options by which nextpnr knows it; SetunError for an unknown one."""
        if self.device == "iCE40UP5K" and self.package in ICE40_PACKAGES:
            return ["--up5k", "--package", ICE40_PACKAGES[self.package]]
        kind, _, size = self.device.partition("-")
        prefix = {"LFE5U": "", "LFE5UM": "um-", "LFE5UM5G": "um5g-"}.get(kind)
        if prefix is None or not size.endswith("F") or self.package not in PACKAGES:
            rule = "must be an ECP5 or an iCE40UP5K"
            raise SetunError("FPGA", rule, f"{self.device} in {self.package}")
        option = f"--{prefix}{size[:-1]}k"
        return [option, "--package", PACKAGES[self.package], "--speed", self.speed]
