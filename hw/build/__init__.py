"""From a design to a bitstream: board top, tools, stages, report."""

from setun.hw.build.bitstream import build_bitstream, check_clock, design_for
from setun.hw.build.toolchain import Tool, find_tool
from setun.hw.build.top import BoardTop
from setun.hw.build.unit import unit_report

__all__ = [
    "BoardTop",
    "Tool",
    "build_bitstream",
    "check_clock",
    "design_for",
    "find_tool",
    "unit_report",
]
