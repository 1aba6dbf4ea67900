"""The C library's allocator, told to keep what is freed."""

import ctypes

# Names of glibc's <malloc.h>.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST_MMAP_THRESHOLD = 32 << 20


def keep_freed_memory() -> bool:
    """Serve activations of megabytes from memory that earlier ones had; whether that is so.

    glibc maps such blocks one by one, and the kernel clears their pages each time: an eighth of a
    step. Where there is no glibc, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = (
        (M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD),
        (M_TRIM_THRESHOLD, 1 << 30),
        (M_TOP_PAD, 64 << 20),
    )
    return all(mallopt(name, value) for name, value in settings)
