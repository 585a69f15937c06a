"""How this process gets and gives back memory: what decides the speed of a step on the CPU."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
NEVER = -1


def keep_freed_memory() -> bool:
    """Lets the C library reuse large buffers instead of giving them back to the system at once.

    XLA on the CPU allocates the temporary buffers of a step anew in each call: 300 MB for mobilenetv2_035
    (batch 64, 96 px), 2 GB for vit_small (batch 16). By default glibc maps every large one freshly and unmaps
    it afterwards, so that each step faults all of its pages in again; with no mapping and no trimming, of
    whatever size, a step faults nothing. vit_small on 2 cores: 2.2 to 3.2 s and up to 480,000 faults a step
    where blocks from 2 GB on still went back, 1.6 s and none with this. Costs nothing on other devices. To be
    called before threads start: memory of threads has limits of its own.

    Returns:
        Whether the C library took it; False where it is not glibc.

    References:
        mallopt(3).
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    thresholds = (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER), (M_ARENA_MAX, 1)
    taken = [mallopt(parameter, value) for parameter, value in thresholds]
    return taken == [1, 1, 1]
