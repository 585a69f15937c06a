"""Errors that a user can mend: each names the rule, the value, the place and the remedy."""

import difflib
from collections.abc import Iterable, Sequence

SHOWN_FAULTS = 20


class InputError(Exception):
    """Input that breaks a rule; its text is one message for the user, printed without a traceback."""


def refuse_faults(heading: str, faults: Sequence[str], remedy: str) -> None:
    """Raises one `InputError` that lists all faults of a kind; does nothing when there is none.

    Args:
        heading: the rule that was broken and the place, as the start of the message.
        faults: one text a fault, each with its own place and value; the first 20 are shown.
        remedy: what the user can do.

    Raises:
        InputError: when `faults` is not empty.
    """
    if not faults:
        return
    lines = [f"  {fault}" for fault in faults[:SHOWN_FAULTS]]
    if len(faults) > SHOWN_FAULTS:
        lines.append(f"  … and {len(faults) - SHOWN_FAULTS} more")
    raise InputError("\n".join([f"{heading} ({len(faults)}):", *lines, remedy]))


def suggestion(value: str, choices: Iterable[str]) -> str:
    """The end of a message that names the choices nearest to a misspelt value.

    >>> suggestion("cat", ["cart", "dog"])
    "; did you mean 'cart'?"
    >>> suggestion("cat", ["dog"])
    ''
    >>> suggestion("CART", ["cart", "dog"])
    "; did you mean 'cart'?"
    """
    named = {choice.lower(): choice for choice in choices}
    near = [named[name] for name in difflib.get_close_matches(value.lower(), named, n=3, cutoff=0.6)]
    return f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
