"""One thread: tiny tensors gain nothing by more, and runners' cores are shared."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported, here and in the runs
