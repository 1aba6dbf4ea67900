"""From a design to a bitstream: board top, tools, stages, report."""

from setun.hw.build.bitstream import Model, build_bitstream, check_clock, design_for
from setun.hw.build.reuse import finished_build, put_model
from setun.hw.build.toolchain import Tool, find_tool
from setun.hw.build.top import BoardTop
from setun.hw.build.unit import unit_report

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
