"""Quantisation-aware training of MatMul-free LMs (HGRNBit); it alone needs PyTorch."""
