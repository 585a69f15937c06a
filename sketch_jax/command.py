"""What all commands do with what goes wrong."""

import os
import sys
from collections.abc import Callable

from sketch_jax.errors import InputError

OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"
"""How XLA's message begins where an array or a program finds no room."""


def guarded(work: Callable[[], int]) -> int:
    """The exit code of some work: its own, 130 for Ctrl-C, 141 where the reader left.

    It is 2 for bad input, and for what does not fit into the memory of the devices.
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
        if OUT_OF_MEMORY not in str(error):
            raise
        print(f"error: {_lack_of_memory(str(error))}", file=sys.stderr)
        return 2


def _lack_of_memory(message: str) -> str:
    stated = message[message.index(OUT_OF_MEMORY) :].splitlines()[0]
    return (
        f"the memory of the device is too small for this ({stated}); choose a smaller --batch-size, or for "
        "training the same batch in parts by --accumulation-steps 2 or more, or --model.remat all, or take "
        "a smaller model or images"
    )
