"""What every family promises of training, on a shrunken one of each, from three compiled programs."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from transformer_cases import DEEPER, EVA_CASES, SMALL

from sketch_jax.models.architectures import FAMILIES, create_model
from sketch_jax.models.efficientnet_rows import ds, ir
from sketch_jax.trees import flatten, map_with_path

CLASSES = 7
RATES = {"dropout": 0.4, "drop_path": 0.4}
STAGES = {
    "block_args": (
        (ds(repeats=1, kernel_size=3, stride=2, out_chs=8),),
        (ir(repeats=2, kernel_size=3, stride=2, exp_ratio=2, out_chs=8, se_ratio=0.25),),
    ),
    "num_features": 32,
    "stem_size": 8,
}
WINDOWS = {"embed_dim": 24, "depths": (2,), "num_heads": (2,), "window_size": 4}

CASES = {
    "vision_transformer": ("vit_small_patch16_224", 32, DEEPER),
    "eva": (EVA_CASES["eva02_normed"][0], 32, EVA_CASES["eva02_normed"][1]),
    "beit": ("beit_base_patch16_224", 32, SMALL | {"depth": 2}),
    "resnet": ("seresnet18", 45, {"layers": (1, 1, 1, 2), "channels": (8, 8, 16, 16), "stem_width": 8}),
    "efficientnet": ("test_efficientnet", 45, STAGES),
    "convnext": ("convnextv2_atto", 45, {"depths": (1, 1, 1, 1), "dims": (8, 16, 16, 24)}),
    "swin_transformer": ("swin_tiny_patch4_window7_224", 32, WINDOWS),
    "swin_transformer_v2": ("swinv2_tiny_window8_256", 32, WINDOWS),
    "regnet": (
        "regnety_002",
        45,
        {"w0": 16, "wa": 12.0, "wm": 1.7, "group_size": 8, "depth": 5, "stem_width": 16},
    ),
    "vgg": ("vgg11_bn", 29, {"cfg": (8, "M", 12, 16, "M"), "mlp_ratio": 1 / 128}),
    "nfnet": (
        "nfnet_l0",
        45,
        {"depths": (1, 1), "channels": (32, 48), "stem_chs": 32, "group_size": 8, "num_features": 96},
    ),
    "metaformer": ("caformer_s18", 48, {"depths": (1, 1, 1, 1), "dims": (32, 64, 64, 96)}),
    "mobilevit": (
        "mobilevitv2_050",
        48,
        {
            "channels": (16, 24),
            "depths": (2, 1),
            "transformer_dims": (16,),
            "transformer_depths": (1,),
            "bottle_ratio": 2.0,
            "stem_chs": 16,
        },
    ),
    "maxxvit": (
        "coatnet_0_rw_224",
        32,
        {
            "transformer_dim_head": 8,
            "embed_dim": (16, 24),
            "depths": (2, 2),
            "block_type": ("C", "T"),
            "stem_width": (8, 16),
        },
    ),
}
"""Family -> (timm's name, image size, arguments that shrink it)."""

WITHOUT_BRANCHES = {"vgg"}
"""Families that have no residual branch to leave out."""


def create(family, **options):
    name, size, arguments = CASES[family]
    return create_model(name, arguments=arguments, class_count=CLASSES, image_size=size, **RATES, **options)


def random_values(model):
    """Parameters and statistics of order 1, none made by the model; biases keep units from dying."""
    random = np.random.default_rng(0)

    def draw(path, leaf):
        noise = random.normal(size=leaf.shape)
        if path.endswith(("kernel", "relative_position_bias_table")):
            return jnp.asarray(noise * (1.5 / np.prod(leaf.shape[:-1])) ** 0.5, jnp.float32)
        centre = 0.4 if path.endswith(("bias", "mean", "_token", "pos_embed")) else 1.0
        return jnp.asarray(centre + 0.2 * noise, jnp.float32)

    trees = jax.eval_shape(model.init, jax.random.key(0))
    return tuple(map_with_path(draw, tree) for tree in trees)


def forward(model, statistics):
    """(params, key) -> (a sum over logits, features, logits, statistics), in training."""
    generator = np.random.default_rng(1)
    shape = (4, model.image_size, model.image_size, 3)
    images = jnp.asarray(generator.normal(size=shape), jnp.float32)
    weights = jnp.asarray(generator.normal(size=(4, CLASSES)), jnp.float32)

    def run(params, key):
        features, updated = model.read_features(params, statistics, images, key, True)
        logits = model.head(params, features, jax.random.fold_in(key, 1), True)
        return (weights * logits).sum(), (features, logits, updated)

    return run


def gradients_of(model, params, statistics):
    return jax.jit(jax.grad(forward(model, statistics), has_aux=True))


def assert_near(ours, expected, share):
    """Within a share of the largest value of each leaf."""
    assert ours.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_allclose(
            ours[path], leaf, rtol=0, atol=share * np.abs(leaf).max() + 1e-6, err_msg=path
        )


def test_every_family_is_here():
    assert sorted(CASES) == sorted(family.__name__.rpartition(".")[2] for family in FAMILIES)


@pytest.mark.parametrize("family", CASES)
def test_training_follows_its_key_reaches_every_parameter_and_can_recompute_and_halve(family):
    model = create(family)
    params, statistics = random_values(model)
    run = gradients_of(model, params, statistics)
    key, other_key = jax.random.key(0), jax.random.key(1)
    gradients, (features, logits, updated) = run(params, key)
    for path, leaf in flatten(gradients).items():
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, f"no gradient reaches {path}"
    np.testing.assert_array_equal(logits, run(params, key)[1][1])
    if family not in WITHOUT_BRANCHES:
        assert np.abs(features - run(params, other_key)[1][0]).max() > 1e-2
    heads = [model.head(params, features, key, True) for key in (key, key, other_key)]
    np.testing.assert_array_equal(heads[0], heads[1])
    assert np.abs(heads[0] - heads[2]).max() > 1e-2

    again, (_, recomputed, updated_again) = gradients_of(create(family, remat="all"), params, statistics)(
        params, key
    )
    np.testing.assert_allclose(recomputed, logits, rtol=1e-4, atol=1e-5)
    assert_near(flatten(again), flatten(gradients), 1e-4)
    assert_near(flatten(updated_again), flatten(updated), 1e-5)

    half = create(family, dtype=jnp.bfloat16)
    _, (half_features, narrow, narrow_statistics) = jax.jit(forward(half, statistics))(params, key)
    assert half_features.dtype == jnp.bfloat16
    assert narrow.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(narrow_statistics)} <= {jnp.dtype("float32")}
    np.testing.assert_allclose(narrow, logits, atol=0.1 * np.abs(logits).max())


@pytest.mark.parametrize("family", CASES)
def test_nothing_is_computed_again_unless_it_is_asked_for(family):
    def primitives(remat):
        model = create(family, remat=remat)
        params, statistics = jax.eval_shape(model.init, jax.random.key(0))
        images = jax.ShapeDtypeStruct((2, model.image_size, model.image_size, 3), jnp.float32)
        key = jax.random.key(0)
        trace = jax.make_jaxpr(lambda *values: model.features(*values, key, True))
        return str(trace(params, statistics, images))

    assert "prevent_cse" not in primitives("none")
    assert "prevent_cse" in primitives("all")
