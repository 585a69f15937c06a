"""What every kind of vision transformer promises, on shrunken ones."""

import inspect

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from transformer_cases import CASES, SIZE

from sketch_jax.errors import InputError
from sketch_jax.models.architectures import create_model
from sketch_jax.models.vision_transformer_record import VisionTransformer
from sketch_jax.trees import flatten, map_with_path
from sketch_jax.weights.names import to_flax

CLASSES = 7
KINDS = ["plain", "distilled", "dinov2_swiglu_registers", "differential_parallel", "parallel_things"]
"""Those whose code differs in training."""
RATES = {"pos_drop_rate": 0.1, "proj_drop_rate": 0.1, "attn_drop_rate": 0.1}
IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(2, SIZE, SIZE, 3)), jnp.float32)


def create(kind, *, size=SIZE, classes=CLASSES, changes=None, **options):
    name, arguments = CASES[kind]
    arguments = {**arguments, **(changes or {})}
    return create_model(name, arguments=arguments, class_count=classes, image_size=size, **options)


def random_params(model):
    """Every parameter random, of sizes that keep activations of order 1; none is made by the model."""
    random = np.random.default_rng(1)

    def draw(path, leaf):
        noise = random.normal(size=leaf.shape)
        if path.endswith("kernel"):
            noise = noise * (1.5 / np.prod(leaf.shape[:-1])) ** 0.5
        elif path.endswith(("scale", "gamma")):
            noise = 0.8 + 0.3 * noise
        else:
            noise = 0.3 * noise
        return jnp.asarray(noise, jnp.float32)

    return map_with_path(draw, jax.eval_shape(model.init, jax.random.key(0))[0])


def answers(model, params, train, seeds=(0,)):
    """Logits under several keys, by one compiled function."""

    @jax.jit
    def forward(params, images, key):
        features, statistics = model.read_features(params, {}, images, key, train)
        assert statistics == {}
        return model.head(params, features, jax.random.fold_in(key, 1), train)

    return [forward(params, IMAGES, jax.random.key(seed)) for seed in seeds]


@pytest.mark.parametrize("kind", CASES)
def test_shapes_and_types(kind):
    model = create(kind, dtype=jnp.bfloat16)
    key = jax.random.key(0)
    params, statistics = jax.eval_shape(model.init, key)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    features, _ = jax.eval_shape(lambda p: model.features(p, statistics, IMAGES, key, True), params)
    pooled = jax.eval_shape(model.pool, params, features)
    logits = jax.eval_shape(lambda p, f: model.head(p, f, key, True), params, features)
    tokens = () if kind != "unpooled" else features.shape[1:2]
    assert features.ndim == 3
    assert features.shape[1] >= 16
    assert (features.shape[0], features.shape[2], features.dtype) == (2, 48, jnp.bfloat16)
    assert (pooled.shape, pooled.dtype) == ((2, *tokens, model.feature_width), jnp.bfloat16)
    assert (logits.shape, logits.dtype) == ((2, *tokens, CLASSES), jnp.float32)


@pytest.mark.parametrize("kind", ["plain", "aimv2_swiglu_rms"])
def test_half_precision_answers_nearly_as_single_precision_does(kind):
    params = random_params(create(kind))
    (precise,), (rough,) = (
        answers(create(kind, dtype=dtype), params, False) for dtype in (jnp.float32, jnp.bfloat16)
    )
    assert 0 < np.abs(precise - rough).max() < 0.05 * np.abs(precise).max()


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_random_by_its_key_alone(kind):
    model = create(kind, changes=RATES, dropout=0.2, drop_path=0.3)
    first, again, other = answers(model, random_params(model), True, (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-2


@pytest.mark.parametrize("kind", ["plain", "distilled"])
def test_evaluation_is_training_without_rates(kind):
    model, plain = create(kind, changes=RATES, dropout=0.2, drop_path=0.3), create(kind)
    params = random_params(model)
    np.testing.assert_array_equal(*answers(model, params, False), *answers(plain, params, True))


@pytest.mark.parametrize(
    "options", [{"dropout": 0.3}, {"drop_path": 0.5}, *({"changes": {n: 0.3}} for n in RATES)]
)
def test_each_rate_alone_makes_training_random(options):
    model = create("plain", **options)
    first, other = answers(model, random_params(model), True, (0, 1))
    assert np.abs(first - other).max() > 1e-3


def test_drop_path_grows_evenly_from_none_in_the_first_block(monkeypatch):
    model = create("plain", changes={"depth": 5}, drop_path=0.4)
    params = jax.eval_shape(model.init, jax.random.key(0))[0]
    kept_shares, bernoulli = [], jax.random.bernoulli

    def note(key, kept_share, shape):
        kept_shares.append(kept_share)
        return bernoulli(key, kept_share, shape)

    monkeypatch.setattr(jax.random, "bernoulli", note)
    jax.eval_shape(lambda p: model.features(p, {}, IMAGES, jax.random.key(0), True)[0], params)
    np.testing.assert_allclose(kept_shares, np.repeat([0.9, 0.8, 0.7, 0.6], 2), rtol=1e-9)


@pytest.mark.parametrize("kind", ["parallel_things"])
def test_computing_blocks_again_changes_no_gradient(kind):
    options = {"changes": RATES, "dropout": 0.1, "drop_path": 0.2}
    plain, again = create(kind, **options), create(kind, remat="all", **options)
    params = random_params(plain)
    weights = jnp.asarray(np.random.default_rng(3).normal(size=(2, CLASSES)), jnp.float32)

    def gradients(model):
        def objective(params):
            features, _ = model.read_features(params, {}, IMAGES, jax.random.key(4), True)
            return (model.head(params, features, jax.random.key(5), True) * weights).sum()

        return jax.grad(objective)

    ours, expected = flatten(jax.jit(gradients(again))(params)), flatten(jax.jit(gradients(plain))(params))
    again_marked, plain_marked = (
        "remat"
        in str(jax.make_jaxpr(lambda p, model=model: model.features(p, {}, IMAGES, None, False))(params))
        for model in (again, plain)
    )
    assert (again_marked, plain_marked) == (True, False)
    assert ours.keys() == expected.keys()
    for path, reference in expected.items():
        np.testing.assert_allclose(ours[path], reference, rtol=1e-4, atol=1e-5, err_msg=path)


def test_patches_are_left_out_in_training_alone():
    model = create("registers_gap", changes={"patch_drop_rate": 0.5})
    params = jax.eval_shape(model.init, jax.random.key(0))[0]
    tokens = [
        jax.eval_shape(
            lambda p, train=train: model.features(p, {}, IMAGES, jax.random.key(0), train)[0], params
        )
        for train in (True, False)
    ]
    assert [features.shape[1] for features in tokens] == [4 + 8, 4 + 16]


@pytest.mark.parametrize("kind", ["plain", "siglip_map"])
def test_another_image_size_works_with_the_same_weights(kind):
    small, large = create(kind), create(kind, size=48)
    params = jax.tree.map(np.asarray, random_params(small))
    fitted = jax.tree.map(jnp.asarray, large.adapt(params))
    expected = jax.eval_shape(large.init, jax.random.key(0))[0]
    assert jax.tree.map(np.shape, fitted) == jax.tree.map(np.shape, expected)
    images = jnp.repeat(jnp.repeat(IMAGES, 2, axis=1), 2, axis=2)[:, :48, :48]
    features, _ = jax.jit(lambda params: large.features(params, {}, images, None, False))(fitted)
    assert features.shape[1] == small_tokens(small, params) + 20


def small_tokens(model, params):
    return jax.eval_shape(lambda p: model.features(p, {}, IMAGES, None, False)[0], params).shape[1]


def test_pixels_beyond_the_last_whole_patch_are_cut_off_at_the_architectures_own_size():
    arguments = {"embed_dim": 12, "depth": 1, "num_heads": 3}
    model = create_model("vit_so400m_patch14_siglip_384", arguments=arguments, class_count=2, image_size=384)
    params = jax.eval_shape(model.init, jax.random.key(0))[0]
    images = jnp.zeros((1, 384, 384, 3))
    assert jax.eval_shape(lambda p: model.features(p, {}, images, None, False)[0], params).shape[1] == 27**2


def test_new_parameters_are_distributed_as_timms():
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    torch.manual_seed(0)
    one_block = {"depth": 1}
    for kind in ("distilled", "siglip_map", "post_norm", "differential_parallel"):
        name, arguments = CASES[kind]
        theirs = timm.create_model(name, num_classes=50, img_size=SIZE, **{**arguments, **one_block})
        expected = flatten(to_flax({key: tensor.numpy() for key, tensor in theirs.state_dict().items()})[0])
        ours = flatten(jax.jit(create(kind, classes=50, changes=one_block).init)(jax.random.key(0))[0])
        assert ours.keys() == expected.keys()
        for path, reference in expected.items():
            if reference.size < 40 and reference.std() > 0:
                continue  # the factors of a head: too few for a comparison
            tolerance = 6 * reference.std() / reference.size**0.5 + 1e-9
            assert abs(ours[path].mean() - reference.mean()) <= tolerance, (kind, path)
            assert abs(ours[path].std() - reference.std()) <= tolerance, (kind, path)


def test_without_classes_the_answer_is_the_pooled_features():
    for kind in ("plain", "distilled"):
        model = create(kind, classes=0)
        params = random_params(model)
        assert not any(path.startswith("head") for path in flatten(params))
        features = jnp.asarray(np.random.default_rng(2).normal(size=(2, 18, 48)), jnp.float32)
        np.testing.assert_array_equal(model.head(params, features, None, False), model.pool(params, features))


def test_a_distilled_model_names_both_classifiers():
    assert (create("distilled").classifier, create("distilled").further_classifiers) == (
        "head",
        ("head_dist",),
    )
    assert (create("plain").classifier, create("plain").further_classifiers) == ("head", ())


@pytest.mark.parametrize(("size", "remedy"), [(100, "96 or 104"), (7, "8"), (-3, "8")])
def test_an_image_size_that_patches_do_not_fill_is_refused(size, remedy):
    with pytest.raises(InputError) as refusal:
        create("plain", size=size)
    assert str(refusal.value) == (
        f"image size {size} is not a multiple of 8, the patch size of vit_small_patch16_224; take {remedy}"
    )


def test_arguments_that_do_not_fit_together_are_all_listed():
    changes = {
        "norm_layer": "rmsnrm",
        "act_layer": "gelo",
        "num_heads": 5,
        "class_token": False,
        "block_fn": "ParallelScalingBlock",
        "scale_mlp_norm": True,
    }
    with pytest.raises(InputError) as refusal:
        create("plain", changes=changes)
    assert str(refusal.value) == (
        "model arguments do not fit vit_small_patch16_224 (5):\n"
        "  norm 'rmsnrm' is not offered; did you mean 'rmsnorm'?; norms are layernorm, rmsnorm, simplenorm\n"
        "  act_layer 'gelo' is not offered; did you mean 'gelu'?; it can be gelu, gelu_tanh, quick_gelu, "
        "silu, swish, relu, relu6, hard_swish, hard_sigmoid, sigmoid, tanh\n"
        "  embed_dim 48 is not a multiple of 5 heads\n"
        "  global_pool 'token' needs class_token\n"
        "  scale_attn_norm and scale_mlp_norm do not go with block_fn 'ParallelScalingBlock'\n"
        "change them, or leave them out"
    )


def test_a_distilled_model_pools_by_its_tokens_alone():
    with pytest.raises(InputError, match="global_pool 'avg': a distilled model answers by its two tokens"):
        create("distilled", changes={"global_pool": "avg"})


def test_the_record_starts_where_timms_constructor_does():
    timm = pytest.importorskip("timm")
    parameters = inspect.signature(timm.models.VisionTransformer.__init__).parameters
    ours = VisionTransformer()
    for name in (
        "img_size",
        "global_pool",
        "embed_dim",
        "mlp_ratio",
        "qkv_bias",
        "init_values",
        "fc_norm",
        "depth",
    ):
        assert getattr(ours, name) == parameters[name].default
