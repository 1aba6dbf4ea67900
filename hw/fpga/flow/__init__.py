"""From a design to a bitstream: board top, tools, stages, report."""

from setun.hw.fpga.ecp5.top import BoardTop
from setun.hw.fpga.flow.bitstream import Model, build_bitstream, check_clock, design_for
from setun.hw.fpga.flow.reuse import finished_build, put_model
from setun.hw.fpga.flow.toolchain import Tool, find_tool
from setun.hw.fpga.flow.unit import unit_report

__all__ = [
    "BoardTop",
    "Model",
    "Tool",
    "build_bitstream",
    "check_clock",
    "design_for",
    "find_tool",
    "finished_build",
    "put_model",
    "unit_report",
]
