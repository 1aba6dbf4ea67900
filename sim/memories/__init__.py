"""Memories outside the FPGA, as components that enforce their datasheets in a simulation."""
