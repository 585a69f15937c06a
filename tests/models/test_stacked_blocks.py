"""Blocks that run as one loop, beside the same blocks one after another."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from transformer_cases import CASES, EVA_CASES, SIZE

from sketch_jax.models.architectures import create_model
from sketch_jax.optim.treatments import is_decayed
from sketch_jax.trees import flatten, stack_blocks, unflatten, unstack_blocks

KINDS = {
    **{
        name: {**CASES, **EVA_CASES}[name]
        for name in ("plain", "registers_gap", "eva02_normed", "rope_mixed", "dinov3")
    },
    "beit": ("beit_base_patch16_224", {"embed_dim": 48, "num_heads": 3, "patch_size": 8}),
}


def create(kind, depth=3, **options):
    name, arguments = KINDS[kind]
    arguments = {**arguments, "depth": depth, **options.pop("arguments", {})}
    return create_model(name, arguments=arguments, class_count=5, image_size=SIZE, **options)


@functools.cache
def random_parameters(kind, depth=3):
    params, _ = jax.jit(create(kind, depth).init)(jax.random.key(0))
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

    gradients, features = jax.jit(jax.grad(objective, has_aux=True))(params)
    return np.asarray(features), flatten(gradients)


@functools.cache
def answers_of_single_blocks(kind):
    return answers(create(kind), random_parameters(kind), True)


def assert_equal_answers(features, gradients, kind):
    expected, expected_gradients = answers_of_single_blocks(kind)
    np.testing.assert_allclose(features, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    assert gradients.keys() == expected_gradients.keys()
    for path, reference in expected_gradients.items():
        largest = np.abs(reference).max()
        np.testing.assert_allclose(gradients[path], reference, rtol=0, atol=1e-4 * largest, err_msg=path)


@pytest.mark.parametrize(
    ("kind", "remat"),
    [
        *((kind, "none") for kind in KINDS),
        *((kind, remat) for kind in ("plain", "eva02_normed", "beit") for remat in ("all", "dots")),
        ("rope_mixed", "all"),
    ],
)
def test_a_loop_of_blocks_answers_as_single_blocks_do(kind, remat):
    features, gradients = answers(create(kind, remat=remat), stack_blocks(random_parameters(kind)), True)
    assert_equal_answers(features, flatten(unstack_blocks(unflatten(gradients))), kind)


def test_single_blocks_that_keep_their_products_answer_as_those_that_keep_all():
    assert_equal_answers(*answers(create("plain", remat="dots"), random_parameters("plain"), True), "plain")


def test_gradients_of_a_loop_in_half_precision_point_where_those_of_single_blocks_do():
    model = create("plain", remat="all", dtype=jnp.bfloat16)
    _, gradients = answers(model, stack_blocks(random_parameters("plain")), True)
    _, expected = answers_of_single_blocks("plain")
    for path, gradient in flatten(unstack_blocks(unflatten(gradients))).items():
        assert gradient.dtype == jnp.float32
        lengths = np.linalg.norm(gradient) * np.linalg.norm(expected[path])
        assert (gradient * expected[path]).sum() >= 0.99 * lengths, path


def test_unstacked_parameters_have_the_bits_they_had():
    params = random_parameters("plain")
    jax.tree.map(np.testing.assert_array_equal, unstack_blocks(stack_blocks(params)), params)
    shapes = unstack_blocks(jax.eval_shape(stack_blocks, params))
    assert jax.tree.map(lambda leaf: leaf.shape, shapes) == jax.tree.map(lambda leaf: leaf.shape, params)


def test_weight_decay_spares_the_norms_and_biases_of_stacked_blocks_too():
    params = random_parameters("eva02_normed")
    single, stacked = (
        {path: is_decayed(path, leaf) for path, leaf in flatten(tree).items()}
        for tree in (params, stack_blocks(params))
    )
    for path, decayed in stacked.items():
        assert decayed == single[path.replace("blocks/", "blocks_0/")], path
    assert stacked["blocks/mlp/fc2/kernel"]
    assert not stacked["blocks/norm1/bias"]


def test_drop_path_in_a_loop_has_the_rate_of_each_block():
    params = random_parameters("plain")
    rates = {"drop_path": 0.6}
    images = jax.random.normal(jax.random.key(2), (256, SIZE, SIZE, 3))

    model = create("plain", **rates)

    @jax.jit
    def mean_change(params):
        dropped = model.features(params, {}, images, jax.random.key(0), True)[0]
        return jnp.abs(dropped - model.features(params, {}, images, None, False)[0]).mean()

    single, looped = mean_change(params), mean_change(stack_blocks(params))
    assert single > 0.05
    assert abs(looped - single) < 0.1 * single
    half = create("plain", **rates, dtype=jnp.bfloat16)
    narrow = jax.eval_shape(
        lambda params: half.features(params, {}, images, jax.random.key(0), True)[0], stack_blocks(params)
    )
    assert narrow.dtype == jnp.bfloat16
    first, second = (answers(model, stack_blocks(params), True, key)[0] for key in (0, 1))
    assert np.abs(first - second).max() > 0


def test_the_program_of_a_loop_does_not_grow_with_the_number_of_blocks():
    def products(depth, layout):
        model, images = create("plain", depth), jnp.zeros((1, SIZE, SIZE, 3))
        params = jax.eval_shape(lambda key: layout(model.init(key)[0]), jax.random.key(0))
        run = jax.jit(lambda params: model.features(params, {}, images, None, False)[0])
        return run.lower(params).as_text().count("dot_general")

    assert products(12, dict) > 3 * products(3, dict)
    assert products(12, stack_blocks) == products(3, stack_blocks)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vit_large_patch16_sapiens2", EVA_CASES["sapiens2_grouped"][1]),
        ("vit_dwee_patch16_reg1_gap_256", CASES["differential"][1]),
        ("resnet18", {}),
    ],
)
def test_models_whose_blocks_differ_say_so(name, arguments):
    assert not create_model(name, arguments=arguments, class_count=5, image_size=SIZE).has_equal_blocks
    assert create("plain").has_equal_blocks


def test_keeping_products_of_matrices_is_between_keeping_all_and_nothing():
    """Measured in a loop: XLA on the CPU computes single blocks once, whatever it is told."""

    def peak(remat):
        model = create("plain", 6, remat=remat)
        params = jax.eval_shape(lambda key: stack_blocks(model.init(key)[0]), jax.random.key(0))
        images = jax.ShapeDtypeStruct((32, SIZE, SIZE, 3), jnp.float32)

        def objective(params, images):
            return model.features(params, {}, images, jax.random.key(0), True)[0].sum()

        compiled = jax.jit(jax.grad(objective)).lower(params, images).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    everything, products, nothing = (peak(remat) for remat in ("none", "dots", "all"))
    assert nothing < 0.7 * products
    assert products < 0.7 * everything
