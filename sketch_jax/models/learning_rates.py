"""What the learning rate of each parameter is multiplied by."""

import functools
import re
from collections.abc import Callable, Iterable

from sketch_jax.errors import InputError
from sketch_jax.models.layer_numbers import layer_of, number_layers
from sketch_jax.models.model import Model
from sketch_jax.models.trained_parameters import refuse_unmatched
from sketch_jax.models.tuning_options import Rates
from sketch_jax.trees import stacked_path

RateOf = Callable[[str], float]
"""From the path of a parameter to the factor of its learning rate."""


def create_rate_of(rates: Rates, model: Model, paths: Iterable[str], *, stacked: bool = False) -> RateOf:
    """The factor by path: layer decay times the factor of the first pattern that is found in the path.

    Args:
        rates: the options.
        model: any.
        paths: of all its parameters, blocks not stacked, and of what else is trained beside them.
        stacked: whether those of blocks are stacked where the factors are used.

    Raises:
        InputError: a pattern fits no path, or blocks that are stacked would have different rates.

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


def _of_stacked(rate_of: RateOf, paths: list[str]) -> RateOf:
    found: dict[str, float] = {}
    for path in paths:
        stacked = stacked_path(path)
        if found.setdefault(stacked, rate_of(path)) != rate_of(path):
            raise InputError(
                f"--model.scan-blocks True: blocks that run as a loop learn at one rate, but --rates gives "
                f"{stacked} several; leave the option out, or --rates.layer-decay at 1"
            )
    return lambda path: found[path]
