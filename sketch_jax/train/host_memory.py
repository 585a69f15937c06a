"""How this process gets and gives back memory: what decides the speed of a step on the CPU."""

import ctypes
import mmap
import os
import resource
import sys
from pathlib import Path
from typing import Any

import jax

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
NEVER = -1

THREAD_HEAP_BYTES = 64 * 2**20
"""Address space of one heap of a thread. Padded by as much, none counts as empty enough to go back."""

HEAP_BYTES = 8 * 2**30


def keep_freed_memory() -> bool:
    """Lets the C library reuse large buffers instead of giving them back to the system at once.

    XLA on the CPU allocates the temporary buffers of a step anew in each call: 300 MB for mobilenetv2_035
    (batch 64, 96 px), 2 GB for vit_small (batch 16). By default glibc maps every large one freshly and unmaps
    it afterwards, so that each step faults all of its pages in again; with no mapping, no trimming and no
    heap of a thread given back, a step faults next to nothing: vit_small's has 100 faults, not 480,000.

    Only the heap of the main thread can grow to any size, so steps run in the thread that calls them, not in
    one of JAX's: `jax_cpu_enable_async_dispatch` is off. One heap for all threads would do for this, too, but
    compilation fills a heap with tens of thousands of fragments, and every allocation of XLA's library of
    matrix products would walk them under one lock (mobilenetv2_035: 123 to 142 ms a step, and 166 to 169).

    To be called in the main thread, before JAX makes its devices. Where the C library is another one, nothing
    changes.

    Returns:
        Whether the C library took it; False where it is not glibc.

    References:
        mallopt(3); glibc's malloc/malloc.c, "sysmalloc".
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    thresholds = (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, THREAD_HEAP_BYTES)
    taken = [mallopt(parameter, value) for parameter, value in thresholds]
    if taken != [1, 1, 1]:
        return False
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    if address_space_is_free():
        _ask_for_huge_pages(ctypes.CDLL(None), min(HEAP_BYTES, physical_bytes() // 2))
    return True


def return_freed_memory() -> None:
    """Gives what is freed in any heap back to the system, now, also where it is kept otherwise.

    Checkpoints are read through buffers in the heaps of many threads. Without this a process that reads one
    of 340 MB after the other keeps 200 MB more with each.
    """
    if sys.platform.startswith("linux") and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


def address_space_is_free() -> bool:
    """Whether a process may have more than it uses: no limit (`ulimit -v`, `-d`), no strict overcommit."""
    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    return limits == [resource.RLIM_INFINITY] * 2 and _overcommits()


def _overcommits(file: str = "/proc/sys/vm/overcommit_memory") -> bool:
    try:
        return Path(file).read_text().strip() != "2"
    except OSError:
        return False


def physical_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _ask_for_huge_pages(library: Any, size: int) -> None:
    """Grows the heap by address space, not memory, and lets the kernel back it by pages of 2 MB.

    A step of mobilenetv2_035 takes 6 % less, as fewer addresses are looked up. Where the kernel has no such
    pages, or not that much address space to give, nothing changes.
    """
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    start = library.malloc(size)
    if start is None:
        return
    first_page = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    library.madvise(first_page, size - 2 * mmap.PAGESIZE, mmap.MADV_HUGEPAGE)
    library.free(start)
