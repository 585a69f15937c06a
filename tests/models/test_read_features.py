"""The tokens that the head reads, beside the same tokens of a last block that answers for all."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from transformer_cases import CASES, EVA_CASES, SIZE

from sketch_jax.models.architectures import create_model
from sketch_jax.trees import flatten

TOKEN = {"global_pool": "token", "class_token": True}
KINDS = {
    "class_token": (*CASES["plain"], 1),
    "distilled": (*CASES["distilled"], 2),
    "norms_after_branches": (CASES["post_norm"][0], CASES["post_norm"][1] | TOKEN, 1),
    "one_projection": (*CASES["parallel_scaling_rms"][:1], CASES["parallel_scaling_rms"][1] | TOKEN, 1),
    "pairs": (*CASES["parallel_things"], 1),
    "differential": (CASES["differential"][0], CASES["differential"][1] | TOKEN, 1),
    "differential_one_projection": (
        CASES["differential_parallel"][0],
        CASES["differential_parallel"][1] | TOKEN,
        1,
    ),
    "eva": (EVA_CASES["eva"][0], EVA_CASES["eva"][1] | TOKEN, 1),
    "turned_of_own_heads": (
        EVA_CASES["rope_mixed"][0],
        EVA_CASES["rope_mixed"][1] | TOKEN | {"patch_drop_rate": 0.5},
        1,
    ),
    "query_key_value_apart": (EVA_CASES["eva02_normed"][0], EVA_CASES["eva02_normed"][1] | TOKEN, 1),
    "biases_of_distances": (
        "beit_base_patch16_224",
        {"embed_dim": 48, "num_heads": 3, "patch_size": 8, "depth": 2, "global_pool": "token"},
        1,
    ),
}
"""Kind -> (timm's name, arguments, how many tokens the head reads)."""


def answers_of(model, images, params, name, train):
    """The features by one of two functions, and gradients of a weighted sum of logits from them."""
    key = jax.random.key(3)

    def objective(params):
        features, _ = getattr(model, name)(params, {}, images, key, train)
        logits = model.head(params, features, key, train)
        return (logits * jnp.cos(jnp.arange(logits.size)).reshape(logits.shape)).sum(), (features, logits)

    gradients, (features, logits) = jax.jit(jax.grad(objective, has_aux=True))(params)
    return np.asarray(features), np.asarray(logits), flatten(gradients)


@pytest.mark.parametrize("remat", ["none", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_head_reads_is_what_it_would_read_of_all_tokens(kind, remat):
    name, arguments, count = KINDS[kind]
    options = {"class_count": 5, "image_size": SIZE, "drop_path": 0.4, "remat": remat}
    model = create_model(name, arguments=arguments, **options)
    generator = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: leaf + 0.2 * generator.normal(size=leaf.shape).astype(np.float32),
        jax.jit(model.init)(jax.random.key(0))[0],
    )
    images = jax.random.normal(jax.random.key(1), (3, SIZE, SIZE, 3))
    for train in (False, True) if remat == "none" else (True,):
        everything = answers_of(model, images, params, "features", train)
        read = answers_of(model, images, params, "read_features", train)
        assert everything[0].shape[1] > count
        assert read[0].shape[1] == count
        np.testing.assert_allclose(read[0], everything[0][:, :count], rtol=0, atol=2e-5)
        np.testing.assert_allclose(read[1], everything[1], rtol=0, atol=2e-5)
        for path, reference in everything[2].items():
            error = np.abs(read[2][path] - reference).max()
            assert error <= 1e-4 * np.abs(reference).max() + 1e-6, path


@pytest.mark.parametrize("kind", ["registers_gap", "siglip_map", "refined_average", "unpooled"])
def test_a_head_that_reads_patches_is_given_all_tokens(kind):
    name, arguments = CASES[kind]
    model = create_model(name, arguments=arguments, class_count=5, image_size=SIZE)
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    images = jnp.zeros((2, SIZE, SIZE, 3))
    shapes = [
        jax.eval_shape(lambda params, run=run: run(params, {}, images, None, False)[0], params).shape
        for run in (model.features, model.read_features)
    ]
    assert shapes[0] == shapes[1]


def test_the_last_block_answers_for_no_token_that_nobody_reads():
    model = create_model("vit_small_patch16_224", class_count=5, image_size=224)
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    whole, read = (
        jax.jit(lambda params, images, run=run: run(params, {}, images, None, False)[0])
        .lower(params, images)
        .cost_analysis()["flops"]
        for run in (model.features, model.read_features)
    )
    # Of 12 parts of a block's products (3, 1, and 8 of the perceptron) keys and values are left: 2.
    assert 1 - read / whole == pytest.approx(10 / 12 / 12, abs=0.015)
