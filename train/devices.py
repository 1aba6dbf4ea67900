"""Where training runs: the CPU or a CUDA device, and what it is good at."""

import torch

from setun.firmware.errors import SetunError

NAMES = ("cpu", "cuda")


def find(name: str) -> torch.device:
    """A device by name; SetunError where this machine, or this PyTorch, has none."""
    if name == "cuda" and not torch.cuda.is_available():
        rule = "must be here, and PyTorch be built for it"
        raise SetunError("device", rule, name, "--device cpu")
    return torch.device(name)


def matmul_type(device: torch.device) -> torch.dtype:
    """bfloat16 where the device has instructions for it, else float32."""
    fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32
