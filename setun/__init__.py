"""Setun: ternary language model in; Verilog, bitstream and a token stream out."""

__version__ = "0.1.0"
