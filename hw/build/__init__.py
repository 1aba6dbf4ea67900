"""From a design to a bitstream: board top, tools, stages, report."""
