"""Attention on the chip: RoPE, a cache of codes in block RAM, scores, softmax, weighted sums."""
