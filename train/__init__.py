"""Quantisation-aware training of MatMul-free LMs (HGRNBit); needs PyTorch, which nothing else does."""
