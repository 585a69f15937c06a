"""Floating-point operations of a function, counted from what is traced, whatever the compiler makes of it."""

import math
from collections.abc import Iterator
from typing import Any

from jax.extend.core import ClosedJaxpr
from jax.interpreters import partial_eval

ATTENTION = {"dot_product_attention_fwd": 4, "dot_product_attention_bwd": 8}
"""Operations of cuDNN's attention for each pair of tokens and channel of the heads: two products of matrices
forward and four backward; that the scores are computed again is not counted."""


def count_flops(traced: ClosedJaxpr) -> float:
    """Operations of the matrix products and convolutions of one call, two for each product that is added.

    Everything else (norms, activations, most optimizers) is left out, as is usual where a share of a device's
    peak is told: PaLM (arXiv:2204.02311), appendix B. Muon's products and those of filters in augmentation
    are products and count. Loops count in full where their length is known (scan), once where it is not
    (while); of branches the dearest counts, of formulations per backend the plain one. What no result needs
    is left out. Products that rematerialisation computes again are counted again.

    Args:
        traced: what `jax.make_jaxpr` makes of a function.

    >>> import jax, numpy
    >>> product = jax.make_jaxpr(lambda left, right: left @ right)
    >>> count_flops(product(numpy.ones((2, 3)), numpy.ones((3, 5))))
    60.0
    """
    needed, _ = partial_eval.dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars))
    return float(_count(needed))


def _count(jaxpr: Any) -> int:
    choices = [equation for equation in jaxpr.eqns if equation.primitive.name == "platform_index"]
    platform = [variable for equation in choices for variable in equation.outvars]
    count = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "cond":
            branches = [_count(branch.jaxpr) for branch in equation.params["branches"]]
            chosen = any(equation.invars[0] is variable for variable in platform)
            count += branches[-1] if chosen else max(branches)
        else:
            count += _count_equation(equation)
    return count


def _count_equation(equation: Any) -> int:
    name = equation.primitive.name
    shapes: list[Any] = [getattr(variable.aval, "shape", ()) for variable in equation.invars]
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        inner = math.prod(shapes[0][axis] for axis in contracted)
        return 2 * inner * math.prod(equation.outvars[0].aval.shape)
    if name == "conv_general_dilated":
        return _count_convolution(equation.params, shapes[0], shapes[1], equation.outvars[0].aval.shape)
    for attention, operations in ATTENTION.items():
        if name.startswith(attention):
            batch, asking, heads, width = shapes[0]
            return operations * batch * asking * shapes[1][1] * heads * width
    inside = [_count(part) for part in _parts(equation.params)]
    return sum(inside) * (equation.params["length"] if name == "scan" else 1)


def _count_convolution(
    params: Any, inputs: tuple[int, ...], kernel: tuple[int, ...], outputs: tuple[int, ...]
) -> int:
    """Operations of a convolution, each output by each tap.

    The gradient of inputs is a convolution of fewer places than it has outputs, with zeros between or around
    them: there it is each place by each tap, as many as forward.
    """
    numbers = params["dimension_numbers"]
    taps = math.prod(kernel[axis] for axis in numbers.rhs_spec[2:])
    count = 2 * math.prod(outputs) * taps * kernel[numbers.rhs_spec[1]]
    if numbers.lhs_spec[0] != numbers.out_spec[0]:  # of a kernel: channels stand where the batch does
        return count
    places = math.prod(inputs[axis] for axis in numbers.lhs_spec[2:])
    reached = math.prod(outputs[axis] for axis in numbers.out_spec[2:])
    return count // reached * min(places, reached) if reached else 0


def _parts(value: Any) -> Iterator[Any]:
    """The jaxprs in the parameters of an equation."""
    if hasattr(value, "eqns"):
        yield value
    elif hasattr(value, "jaxpr"):
        yield from _parts(value.jaxpr)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _parts(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _parts(part)
