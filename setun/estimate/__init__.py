"""Cells, block RAM and cycles per token of a chip before any tool runs; the best chip."""
