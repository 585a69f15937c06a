"""The optional packages that some commands need."""

import importlib
from types import ModuleType

from sketch_jax.errors import InputError


def require(name: str, purpose: str) -> ModuleType:
    """Imports torch or timm.

    Args:
        name: of the module.
        purpose: what it is wanted for, for the message.

    Raises:
        InputError: the extra is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{purpose} needs {error.name}, which is not installed; in a clone of the project run "
            "python3 -m pip install -c constraints.txt -e '.[timm]'"
        ) from error
