"""How the C library keeps memory.

glibc hands blocks above 32 MB, and whatever is free at the end of its heap, back to the system at once. A network asks
for the same large maps again for every slice and every step, and the system clears each page anew: a sixth of a
network's time on a CPU, and more than the arithmetic of additions and norms. Other C libraries keep more, and are left
as they are.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_KEPT = 256 << 20  # bytes; larger ones are volumes, not maps
_NEVER = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Keep freed blocks of up to 256 MB for the next use, from now on in the whole process. Whether that is so now."""
    libc = _glibc()
    if libc is None:
        return False
    return bool(libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT) and libc.mallopt(_M_TRIM_THRESHOLD, _NEVER))


def give_freed_memory_back() -> None:
    """Hand what is kept back to the system, where that can be done."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
