"""What all commands do with what goes wrong."""

import os
import sys
from collections.abc import Callable

from sketch_jax.errors import InputError


def guarded(work: Callable[[], int]) -> int:
    """The exit code of some work: its own, 2 for bad input, 130 for Ctrl-C, 141 where the reader left."""
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
