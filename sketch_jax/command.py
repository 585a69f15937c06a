"""What all commands do with what goes wrong."""

import os
import re
import sys
from collections.abc import Callable

from sketch_jax.errors import InputError

OUT_OF_MEMORY = re.compile(r"RESOURCE_EXHAUSTED: .*(out of memory|allocat).*", re.IGNORECASE)
"""What XLA says where an array or a program finds no room in a device's memory."""

SMALLER = "take a smaller model or smaller images"
"""What helps any command where a device has no room."""


def guarded(work: Callable[[], int], when_full: str = SMALLER) -> int:
    """The exit code of some work: its own, 130 for Ctrl-C, 141 where the reader left.

    It is 2 for bad input, and for what does not fit into the memory of the devices.

    Args:
        work: what the command does.
        when_full: what to do where a device has no room.
    """
    try:
        return work()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read the output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except RuntimeError as error:  # jax.errors.JaxRuntimeError, without loading jax
        stated = OUT_OF_MEMORY.search(str(error))
        if stated is None:
            raise
        print(f"error: a device has no room for this ({stated[0]}); {when_full}", file=sys.stderr)
        return 2
