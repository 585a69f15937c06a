"""Both sides of a comparison with timm, and how far they are apart."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from convert.reference import (
    Inputs,
    Outputs,
    Setting,
    build,
    choose_setting,
    has_fixed_size,
    is_random_in_training,
    run_timm,
    state_of,
)
from sketch_jax.errors import InputError
from sketch_jax.models.architectures import create_model
from sketch_jax.models.model import Model
from sketch_jax.train.start import fresh_classifiers
from sketch_jax.trees import Tree
from sketch_jax.weights.load import fit
from sketch_jax.weights.names import COUNTER, to_flax, to_timm
from sketch_jax.weights.sources import Weights, open_weights
from sketch_jax.weights.timm_config import architecture_from

Run = Callable[[Inputs], Outputs]

LEAST_BATCH = 4
FURTHER_DRAWS = 8

SMALL_SIDES = {"eval": 32, "train": 64}
"""Pixels; batch statistics need some places in the last map."""

GRADIENT_TOLERANCE = 1e-3

NEGLIGIBLE_GRADIENT = 1e-3
"""Gradients below this share of the largest are compared with that share instead of with themselves: those of
key biases and of weights before a norm are zero but for rounding, and a ratio of roundings says nothing."""


def compare(
    name: str, *, source: str | None, image_size: int | None, batch_size: int | None, seed: int
) -> dict[str, Any]:
    """Differences between a model and timm's, over evaluation mode and, with batch norm, training mode.

    Real weights are compared in evaluation mode alone. Under batch statistics trained networks magnify
    rounding beyond the tolerance: timm is then 1.6e-4 off its own double precision (mobilenetv2_035, Keras).
    So are networks with a dropout that no rate turns off: no two draws are alike.

    Args:
        name: of the architecture in timm.
        source: of real weights (`open_weights`); None: random values.
        image_size: in pixels; None: that of the weights, or timm's for this architecture.
        batch_size: images, at least 2; None: 4, or more where images are small.
        seed: of values and images.

    Raises:
        InputError: the architecture is not supported, or the weights are not of it.
    """
    if batch_size is not None and batch_size < 2:
        raise InputError(f"--batch-size {batch_size}: must be at least 2, for statistics over a batch")
    if image_size is not None and image_size < 1:
        raise InputError(f"--image-size {image_size}: must be at least 1")
    if seed < 0:
        raise InputError(f"--seed {seed}: must be at least 0")
    opened = open_weights(source) if source is not None else None
    config = opened.config if opened is not None else {}
    setting = choose_setting(name, architecture_from(config)[1], config, image_size)
    model = create_ours(setting)
    if opened is not None:
        opened = check_weights(model, opened)
    side, class_count = setting.image_size, setting.class_count
    first = draw_inputs(side, batch_size or images_for(64**2, side), class_count, seed)
    more = draw_inputs(side, images_for(128**2, side), class_count, seed + 1)
    reference = build(setting, opened, np.concatenate([first.images, more.images]), seed)
    state = state_of(reference)
    params, statistics = fit_ours(model, opened, state)
    trains = statistics and opened is None and not is_random_in_training(reference)
    modes = ["eval", "train"] if trains else ["eval"]
    measured = [
        measure(
            [first, *draw_again(setting, seed, mode)],
            functools.partial(run_timm, reference, train=mode == "train"),
            make_run_ours(model, params, statistics, mode == "train"),
        )
        for mode in modes
    ]
    return {
        "name": name,
        "parameters": sum(parameter.numel() for parameter in reference.parameters()),
        **{quantity: float(np.max([values[quantity] for values in measured])) for quantity in measured[0]},
        "round_trip": is_round_trip(state),
        "modes": modes,
    }


def check_weights(model: Model, weights: Weights) -> Weights:
    """Weights that fit our model: what does not is told in our words before timm meets it.

    Where their classifier does not fit, they are said to have none, so that both sides get a random one.

    Raises:
        InputError: they do not fit.
    """
    key = jax.random.key(0)
    fitted = fit(
        weights,
        jax.eval_shape(model.init, key),
        architecture=model.name,
        classifier=model.classifier,
        further_classifiers=model.further_classifiers,
        fresh=jax.jit(functools.partial(fresh_classifiers, model))(key),
        filter_checkpoint=model.filter_checkpoint,
        adapt=model.adapt,
        place=jnp.shape,
    )
    return (
        dataclasses.replace(weights, config={**weights.config, "num_classes": 0})
        if fitted.report.new
        else weights
    )


def create_ours(setting: Setting, dtype: Any = jnp.float32) -> Model:
    """Our model of a setting, computing in a type."""
    return create_model(
        setting.name,
        arguments=setting.arguments,
        class_count=setting.class_count,
        image_size=setting.image_size,
        dtype=dtype,
    )


def fit_ours(model: Model, weights: Weights | None, state: Mapping[str, np.ndarray]) -> tuple[Tree, Tree]:
    """Parameters and statistics of our model.

    Args:
        model: ours.
        weights: given weights, loaded and adapted on our own; None: the values of `state`.
        state: timm's state dict; where `weights` have no classifier, it is taken from here.
    """
    values = Weights(tensors=state, config={}, fingerprint="", origin="random values")
    fitted = fit(
        weights or values,
        jax.eval_shape(model.init, jax.random.key(0)),
        architecture=model.name,
        classifier=model.classifier,
        further_classifiers=model.further_classifiers,
        fresh=to_flax(state)[0],
        filter_checkpoint=model.filter_checkpoint,
        adapt=model.adapt,
        place=jnp.array,
    )
    return fitted.params, fitted.statistics


def draw_inputs(image_size: int, batch_size: int, class_count: int, seed: int) -> Inputs:
    """Random images, and random weights of the logits for the gradient.

    The images are noise of every grain size, from a pixel to the whole image: white noise looks alike
    everywhere to deep layers, whose norms would then magnify nothing but rounding.
    """
    generator = np.random.default_rng(seed)
    grains = [2**power for power in range(image_size.bit_length() + 1)]
    images = sum(_noise(generator, batch_size, image_size, grain) for grain in grains) / len(grains) ** 0.5
    cotangents = generator.standard_normal((batch_size, class_count), np.float32)
    return Inputs(np.asarray(images, np.float32), cotangents / np.float32(cotangents.size**0.5))


def images_for(area: int, image_size: int) -> int:
    """Images that deep batch norms need for sound statistics: more than 4 where an image has few places.

    >>> [images_for(64**2, image_size) for image_size in (32, 64, 224)]
    [16, 4, 4]
    """
    return LEAST_BATCH * max(1, area // image_size**2)


def draw_again(setting: Setting, seed: int, mode: str) -> list[Inputs]:
    """Further images, small so that few units are near a kink (see `measure`).

    A network built for one size takes no others.
    """
    fixed = has_fixed_size(setting.name)
    side = setting.image_size if fixed else min(setting.image_size, SMALL_SIDES[mode])
    seeds = range(seed + 2, seed + 2 + FURTHER_DRAWS)
    return [draw_inputs(side, LEAST_BATCH, setting.class_count, further) for further in seeds]


def _noise(generator: np.random.Generator, batch_size: int, side: int, grain: int) -> np.ndarray:
    """Squares of `grain` pixels, each of one random colour."""
    count = -(-side // grain)
    coarse = generator.standard_normal((batch_size, count, count, 3), np.float32)
    return coarse.repeat(grain, 1).repeat(grain, 2)[:, :side, :side]


def make_run_ours(model: Model, params: Tree, statistics: Tree, train: bool) -> Run:
    """Builds the counterpart of `run_timm`, in full float32 precision."""
    key = jax.random.key(0)

    def objective(params: Tree, images: jax.Array, cotangents: jax.Array) -> tuple[jax.Array, Any]:
        features, _ = model.features(params, statistics, images, key, train)
        read, updated = model.read_features(params, statistics, images, key, train)
        logits = model.head(params, read, key, train)
        return (logits * cotangents).sum(), (features, logits, updated)

    step = jax.jit(jax.grad(objective, argnums=(0, 1), has_aux=True))

    def run(inputs: Inputs) -> Outputs:
        with jax.default_matmul_precision("highest"):
            (gradients, of_images), (features, logits, updated) = step(params, *inputs)
        return Outputs(
            features=np.asarray(features),
            logits=np.asarray(logits),
            gradients=to_timm(gradients, {}) | {"images": np.asarray(of_images)},
            statistics=to_timm({}, updated),
        )

    return run


def measure(draws: Sequence[Inputs], run_reference: Run, run: Run) -> dict[str, float]:
    """Differences of one mode, and the size of what they are differences of.

    A ReLU or a maximum within rounding of its kink gives either of two gradients. That befalls one draw of
    images or another, an error in the code befalls all; so gradients are compared on further draws while they
    differ, and the least difference counts. Everything else is compared on the first draw alone.
    """
    expected, found = run_reference(draws[0]), run(draws[0])
    gradient = max_relative(expected.gradients, found.gradients)
    for inputs in draws[1:]:
        if gradient <= GRADIENT_TOLERANCE:
            break
        again = max_relative(run_reference(inputs).gradients, run(inputs).gradients)
        gradient = float(np.minimum(gradient, again))
    return {
        "max_abs_logits": _max_abs(expected.logits, found.logits),
        "max_abs_features": _max_abs(expected.features, found.features),
        "max_rel_gradient": gradient,
        "max_abs_statistics": _largest(
            _max_abs(value, found.statistics[name]) for name, value in expected.statistics.items()
        ),
        "rms_logits": _rms(expected.logits),
        "rms_features": _rms(expected.features),
    }


def max_relative(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> float:
    """The largest difference of any tensor, relative to the largest value in that tensor.

    >>> max_relative({"a": np.array([1.0, 4.0])}, {"a": np.array([1.0, 3.0])})
    0.25
    """
    sizes = {name: float(np.abs(value).max()) for name, value in expected.items()}
    least = NEGLIGIBLE_GRADIENT * max(sizes.values())
    return _largest(_max_abs(expected[name], found[name]) / max(size, least) for name, size in sizes.items())


def is_round_trip(state: Mapping[str, np.ndarray]) -> bool:
    """Whether every tensor comes back with the same bits; counters of batches, with any value."""
    back = to_timm(*to_flax(state))
    same = all(
        name in back
        and back[name].dtype == value.dtype
        and back[name].shape == value.shape
        and (name.endswith(COUNTER) or back[name].tobytes() == value.tobytes())
        for name, value in state.items()
    )
    return same and len(back) == len(state)


def _max_abs(expected: np.ndarray, found: np.ndarray) -> float:
    if expected.shape != found.shape:
        return float("inf")
    return float(np.abs(expected - found).max())


def _largest(values: Any) -> float:
    return float(np.max(np.fromiter(values, np.float64), initial=0.0))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
