"""The EVA family apart from parity: start values, other image sizes, training's randomness."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from transformer_cases import EVA_CASES, SIZE

from sketch_jax.models import eva
from sketch_jax.models.architectures import create_model
from sketch_jax.models.eva_record import Eva
from sketch_jax.models.rotary import create_turns, turn
from sketch_jax.trees import flatten
from sketch_jax.weights.names import to_flax

CLASSES = 7


def create(kind, *, size=SIZE, classes=CLASSES, **changes):
    name, arguments = EVA_CASES[kind]
    return create_model(name, arguments={**arguments, **changes}, class_count=classes, image_size=size)


def features(model, train, key=0):
    params = jax.tree.map(lambda leaf: 10 * leaf, jax.jit(model.init)(jax.random.key(1))[0])
    images = jax.random.normal(jax.random.key(2), (2, model.image_size, model.image_size, 3))
    run = jax.jit(lambda params, key: model.features(params, {}, images, key, train)[0])
    return np.asarray(run(params, jax.random.key(key)))


@pytest.mark.parametrize("kind", ["eva02_normed", "rope_mixed", "dinov3_gates", "perception_core"])
def test_new_parameters_are_distributed_as_timms(kind):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    torch.manual_seed(0)
    name, arguments = EVA_CASES[kind]
    theirs = timm.create_model(name, num_classes=50, img_size=SIZE, **arguments)
    expected = flatten(to_flax({key: tensor.numpy() for key, tensor in theirs.state_dict().items()})[0])
    ours = flatten(jax.jit(create(kind, classes=50).init)(jax.random.key(0))[0])
    assert ours.keys() == expected.keys()
    for path, reference in expected.items():
        tolerance = 6 * reference.std() / reference.size**0.5 + 1e-9
        assert abs(ours[path].mean() - reference.mean()) <= tolerance, path
        assert abs(ours[path].std() - reference.std()) <= tolerance, path


@pytest.mark.parametrize("kind", ["eva02_fused", "rope_mixed_positions", "dinov3"])
def test_weights_of_another_image_size_answer_as_in_timm(kind):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    torch.manual_seed(0)
    name, arguments = EVA_CASES[kind]
    small = timm.create_model(name, num_classes=CLASSES, img_size=SIZE, **arguments)
    overlay = {"state_dict": small.state_dict(), "num_classes": CLASSES}
    theirs = timm.create_model(
        name, num_classes=CLASSES, img_size=48, pretrained=True, pretrained_cfg_overlay=overlay, **arguments
    ).eval()
    model = create(kind, size=48)
    tensors = {key: tensor.numpy() for key, tensor in small.state_dict().items()}
    params = jax.tree.map(jnp.asarray, model.adapt(to_flax(tensors)[0]))
    images = np.random.default_rng(0).normal(size=(2, 48, 48, 3)).astype(np.float32)
    expected = theirs.forward_features(torch.tensor(images).permute(0, 3, 1, 2)).detach().numpy()
    actual = jax.jit(lambda params: model.features(params, {}, jnp.asarray(images), None, False)[0])(params)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("half", [True, False])
def test_a_turn_keeps_lengths_and_products_depend_on_distance_alone(half):
    angles = jnp.arange(6.0)[:, None] * jnp.asarray([1.0, 0.3, 0.1])[None]
    turns = create_turns(angles, 1, half)
    queries, keys = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 6))
    queries, keys = (jnp.broadcast_to(heads, (1, 7, 1, 6)) for heads in (queries, keys))
    turned = turn(queries, turns, half), turn(keys, turns, half)
    np.testing.assert_allclose(
        jnp.linalg.norm(turned[0], axis=-1), jnp.linalg.norm(queries, axis=-1), rtol=1e-6
    )
    np.testing.assert_array_equal(turned[0][:, 0], queries[:, 0])
    products = np.asarray(jnp.einsum("bqhd,bkhd->qk", *turned))
    for distance in range(-3, 4):
        diagonal = np.diagonal(products[1:, 1:], distance)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-5, atol=1e-5)


def test_patches_left_out_take_their_turns_with_them():
    grid = jnp.arange(5.0 * 4).reshape(5, 4)
    kept = jnp.asarray([[0, 3, 1], [0, 2, 4]])
    np.testing.assert_array_equal(eva.keep_tokens(grid, kept)[1, :, 0], grid[jnp.asarray([0, 2, 4])])
    by_heads = jnp.arange(5.0 * 2 * 4).reshape(5, 2, 4)
    np.testing.assert_array_equal(eva.keep_tokens(by_heads, kept)[0], by_heads[jnp.asarray([0, 3, 1])])
    for kind in ("eva02_fused", "rope_mixed"):
        model = create(kind, patch_drop_rate=0.5)
        assert features(model, True).shape[1] == 1 + 16 // 2
        assert features(model, False).shape[1] == 1 + 16


def test_training_alone_shifts_and_scales_the_places_of_patches():
    plain = create("dinov3", init_values=1.0)
    shaken = create("dinov3", init_values=1.0, rope_shift_coords=0.5, rope_rescale_coords=1.5)
    np.testing.assert_array_equal(features(plain, True), features(plain, False))
    np.testing.assert_array_equal(features(shaken, False), features(plain, False))
    assert np.abs(features(shaken, True, key=0) - features(shaken, True, key=1)).max() > 1e-4


def test_changed_places_stay_within_their_bounds():
    architecture = Eva(rope_shift_coords=0.5, rope_jitter_coords=2.0, rope_rescale_coords=1.5)
    places = jnp.asarray([[0.0, 0.0], [1.0, 1.0]])
    keys = jax.random.split(jax.random.key(0), 2000)
    changed = jax.vmap(lambda key: eva.change_coordinates(places, architecture, key))(keys)
    factors = np.asarray(changed[:, 1] - changed[:, 0])
    assert 1 / 3 <= factors.min() < 0.4
    assert 2.5 < factors.max() <= 3
    shifts = np.asarray(changed[:, 0]) / factors
    assert -0.5 <= shifts.min() < -0.45
    assert 0.45 < shifts.max() <= 0.5
    assert abs(np.log(factors).mean()) < 0.05
