"""Cocotb modules and models of the core's benches."""
