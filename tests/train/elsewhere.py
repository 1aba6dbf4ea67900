"""A device for tests where there is no GPU: its tensors do not meet the CPU's.

What code forgets to move, or makes in the wrong place, raises here as it would on CUDA. Values are
computed by the CPU's kernels on ordinary tensors inside.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.optim import optimizer
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

NAME = "meta"  # of a device that needs no driver
MOVES = (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default)
VALUE = torch.ops.aten._local_scalar_dense.default


class There(Tensor):
    """A tensor on the device, around the one that has its values."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "There":
        found = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=inner.device,
        )
        found.inner = inner
        return found

    @property
    def device(self) -> torch.device:
        return torch.device(NAME)

    def cpu(self) -> Tensor:  # type: ignore[override]
        """What is inside: C++ would find that it is there already."""
        return self.inner

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: object, args: Any = (), kwargs: Any = None
    ) -> object:
        return _dispatched(func, args, kwargs or {})


def _dispatched(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
    """Call an operator of PyTorch on what is inside, if all of it is in one place."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = [isinstance(tensor, There) for tensor in tensors]
    if func in MOVES:
        asked = torch.device(kwargs.get("device") or tensors[0].device)
        goes = asked.type == NAME
    else:
        # A new tensor like one of ours: C++ asks for the device that it sees, the CPU.
        goes = any(there) or torch.device(kwargs.get("device") or "cpu").type == NAME
        apart = any(not far and t.dim() for far, t in zip(there, tensors, strict=True))
        if goes and apart:
            raise RuntimeError(f"{func}: tensors on two devices")
    inside = {**kwargs, "device": "cpu"} if kwargs.get("device") is not None else kwargs
    bare = tree_map(lambda x: x.inner if isinstance(x, There) else x, (tuple(args), inside))
    found = func(*bare[0], **bare[1])
    if not goes or func is VALUE:
        return found
    around = tree_map(lambda x: There(x) if isinstance(x, Tensor) else x, found)
    if func in MOVES[1:] or not any(there):
        return around
    return return_and_correct_aliasing(func, tuple(args), dict(kwargs), around)


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: object, args: Any = (), kwargs: Any = None
    ) -> object:
        return _dispatched(func, args, kwargs or {})


@contextlib.contextmanager
def elsewhere() -> Iterator[str]:
    """Tensors can be on the device, by the name that is yielded, and so can AdamW's."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    fused = [*optimizer._get_fused_kernels_supported_devices(), NAME]
    known = mock.patch.object(optimizer, "_get_fused_kernels_supported_devices", lambda: fused)
    try:
        with known, _Mode():
            yield NAME
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)
