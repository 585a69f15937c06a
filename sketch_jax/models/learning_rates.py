"""What the learning rate of each parameter is multiplied by."""

import functools
import re
from collections.abc import Callable, Iterable

from sketch_jax.models.layer_numbers import layer_of, number_layers
from sketch_jax.models.model import Model
from sketch_jax.models.trained_parameters import refuse_unmatched
from sketch_jax.models.tuning_options import Rates
from sketch_jax.trees import STACKED, stacked_path

Factor = float | tuple[float, ...]
"""Of a learning rate; a tuple of one a block where blocks are stacked and differ."""

RateOf = Callable[[str], Factor]
"""From the path of a parameter to the factor of its learning rate."""


def create_rate_of(rates: Rates, model: Model, paths: Iterable[str], *, stacked: bool = False) -> RateOf:
    """The factor by path: layer decay times the factor of the first pattern that is found in the path.

    Args:
        rates: the options.
        model: any.
        paths: of all its parameters, blocks not stacked, and of what else is trained beside them.
        stacked: whether those of blocks are stacked where the factors are used.

    Raises:
        InputError: a pattern fits no path.

    References:
        timm/optim/_param_groups.py: param_groups_layer_decay.
    """
    paths = list(paths)
    refuse_unmatched("--rates.factors", [rate.pattern for rate in rates.factors], paths)
    layers = number_layers(model.name, paths)

    @functools.cache
    def rate_of(path: str) -> float:
        of_layer = rates.layer_decay ** (layers.count - 1 - layer_of(layers, path))
        found = (rate.factor for rate in rates.factors if re.search(rate.pattern, path))
        return of_layer * next(found, 1.0)

    return _of_stacked(rate_of, paths) if stacked else rate_of


def _of_stacked(rate_of: Callable[[str], float], paths: Iterable[str]) -> RateOf:
    found: dict[str, list[float]] = {}
    for path in sorted(paths, key=_block):
        found.setdefault(stacked_path(path), []).append(rate_of(path))
    factors = {path: tuple(rates) if len(set(rates)) > 1 else rates[0] for path, rates in found.items()}
    return lambda path: factors[path]


def _block(path: str) -> int:
    """Number of the block, so that blocks come in the order in which they are stacked."""
    block = path.partition("/")[0]
    return -1 if stacked_path(path) == path else int(block.removeprefix(f"{STACKED}_"))
