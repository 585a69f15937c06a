"""Blocks that run as one loop, beside the same blocks one after another."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from transformer_cases import CASES, EVA_CASES, SIZE, hurried

from sketch_jax.errors import InputError
from sketch_jax.models.architectures import create_model
from sketch_jax.trees import flatten

KINDS = {
    name: {**CASES, **EVA_CASES}[name]
    for name in ("plain", "registers_gap", "eva02_normed", "rope_mixed", "dinov3")
}


def create(kind, depth=3, **options):
    name, arguments = KINDS[kind]
    arguments = {**arguments, "depth": depth, **options.pop("arguments", {})}
    return create_model(name, arguments=arguments, class_count=5, image_size=SIZE, **options)


@functools.cache
def random_parameters(kind, depth=3):
    params, _ = hurried(create(kind, depth).init)(jax.random.key(0))
    generator = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: leaf + 0.1 * generator.normal(size=leaf.shape).astype(np.float32), params
    )


def answers(model, params, train, key=0):
    """Features, and gradients of a weighted sum of them."""
    images = jax.random.normal(jax.random.key(2), (2, SIZE, SIZE, 3))

    def objective(params):
        features, _ = model.features(params, {}, images, jax.random.key(key), train)
        return (features * jnp.cos(jnp.arange(features.size)).reshape(features.shape)).sum(), features

    gradients, features = hurried(jax.grad(objective, has_aux=True))(params)
    return np.asarray(features), flatten(gradients)


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_of_blocks_answers_as_single_blocks_do(kind, remat):
    params = random_parameters(kind)
    expected, expected_gradients = answers(create(kind), params, True)
    features, gradients = answers(create(kind, scan_blocks=True, remat=remat), params, True)
    np.testing.assert_allclose(features, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    assert gradients.keys() == expected_gradients.keys()
    for path, reference in expected_gradients.items():
        largest = np.abs(reference).max()
        np.testing.assert_allclose(gradients[path], reference, rtol=0, atol=1e-4 * largest, err_msg=path)


def test_new_parameters_are_the_same_bits_with_and_without_a_loop():
    plain, looped = (
        hurried(create("plain", scan_blocks=scan).init)(jax.random.key(3)) for scan in (False, True)
    )
    jax.tree.map(np.testing.assert_array_equal, plain, looped)


def test_drop_path_in_a_loop_has_the_rate_of_each_block():
    params = random_parameters("plain")
    rates = {"drop_path": 0.6}
    images = jax.random.normal(jax.random.key(2), (256, SIZE, SIZE, 3))

    def mean_change(model):
        run = hurried(lambda key: model.features(params, {}, images, key, True)[0])
        plain = create("plain").features(params, {}, images, None, False)[0]
        return float(jnp.abs(run(jax.random.key(0)) - plain).mean())

    single, looped = (
        mean_change(create("plain", **rates)),
        mean_change(create("plain", **rates, scan_blocks=True)),
    )
    assert single > 0.05
    assert abs(looped - single) < 0.1 * single
    features = answers(create("plain", **rates, scan_blocks=True), params, True)[0]
    assert (
        np.abs(features - answers(create("plain", **rates, scan_blocks=True), params, True, key=1)[0]).max()
        > 0
    )


def test_the_program_of_a_loop_does_not_grow_with_the_number_of_blocks():
    def lines(depth, scan):
        model, images = create("plain", depth, scan_blocks=scan), jnp.zeros((1, SIZE, SIZE, 3))
        params = jax.eval_shape(model.init, jax.random.key(0))[0]
        run = jax.jit(lambda params: model.features(params, {}, images, None, False)[0])
        return run.lower(params).as_text().count("dot_general")

    assert lines(12, False) > 3 * lines(3, False)
    assert lines(12, True) == lines(3, True)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vit_large_patch16_sapiens2", EVA_CASES["sapiens2_grouped"][1]),
        ("vit_dwee_patch16_reg1_gap_256", CASES["differential"][1]),
        ("resnet18", {}),
    ],
)
def test_blocks_that_differ_are_refused(name, arguments):
    with pytest.raises(InputError, match=f"--model.scan-blocks True: .*{name}.*; leave the option out"):
        create_model(name, arguments=arguments, class_count=5, image_size=SIZE, scan_blocks=True)
