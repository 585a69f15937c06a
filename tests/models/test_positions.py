"""Position embeddings and patch kernels at another size, beside torch and timm."""

import numpy as np
import pytest

from sketch_jax.errors import InputError
from sketch_jax.models.architectures import create_model
from sketch_jax.models.positions import (
    CUBIC,
    Resampling,
    resample_patch_kernel,
    resample_position_embedding,
    resize_matrix,
)
from sketch_jax.models.vision_transformer import LINEAR, LINEAR_CORNERS
from sketch_jax.trees import flatten
from sketch_jax.weights.names import to_flax

TORCH_MODES = {
    CUBIC: {"interpolation": "bicubic", "antialias": True},
    LINEAR: {"interpolation": "bilinear", "antialias": False},
    LINEAR_CORNERS: {"interpolation": "bilinear", "antialias": False, "align_corners": True},
}


def random_array(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("resampling", TORCH_MODES)
@pytest.mark.parametrize(("old", "new", "prefix"), [(14, 24, 1), (24, 14, 5), (7, 7, 0), (16, 1, 2)])
def test_position_embeddings_are_resampled_as_in_timm(resampling, old, new, prefix):
    torch, layers = pytest.importorskip("torch"), pytest.importorskip("timm.layers")
    embedding = random_array(1, prefix + old**2, 6)
    expected = layers.resample_abs_pos_embed(
        torch.tensor(embedding), (new, new), num_prefix_tokens=prefix, **TORCH_MODES[resampling]
    )
    ours = resample_position_embedding(embedding, new, prefix, resampling)
    assert ours.dtype == np.float32
    # torch places samples in float32: 24 rows times 6e-8, times values of up to 4
    np.testing.assert_allclose(ours, expected.numpy(), rtol=0, atol=6e-6)


@pytest.mark.parametrize("resampling", [CUBIC, LINEAR])
@pytest.mark.parametrize(("old", "new"), [(8, 7), (7, 8), (6, 12), (8, 8)])
def test_patch_kernels_are_resampled_as_in_timm(resampling, old, new):
    torch, layers = pytest.importorskip("torch"), pytest.importorskip("timm.layers")
    kernel = random_array(old, old, 3, 4)
    weight = torch.tensor(kernel).permute(3, 2, 0, 1)
    expected = layers.resample_patch_embed(weight, [new, new], **TORCH_MODES[resampling])
    ours = resample_patch_kernel(kernel, new, resampling)
    np.testing.assert_allclose(ours, expected.permute(2, 3, 1, 0).numpy(), rtol=0, atol=5e-5)


def test_a_resampled_kernel_answers_an_enlarged_patch_as_the_old_one_answers_the_patch():
    kernel, patch = random_array(6, 6, 1, 3), random_array(6, 6)
    matrix = resize_matrix(6, 11)
    enlarged = matrix @ patch @ matrix.T
    answers = np.einsum("hw,hwcd->d", enlarged, resample_patch_kernel(kernel, 11))
    np.testing.assert_allclose(answers, np.einsum("hw,hwcd->d", patch, kernel), rtol=1e-4)


def test_embeddings_of_no_square_grid_are_refused():
    with pytest.raises(InputError) as refusal:
        resample_position_embedding(random_array(1, 12, 4), 4, 1)
    assert str(refusal.value) == (
        "pos_embed: 12 position embeddings, of which 1 stand before the patches, are not of a square grid of "
        "patches; take weights of a square image size"
    )


def test_half_precision_embeddings_are_resampled_in_single_precision():
    ours = resample_position_embedding(random_array(1, 16, 2).astype(np.float16), 5, 0, Resampling())
    assert ours.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "old_size", "new_size", "changes"),
    [
        ("vit_tiny_patch16_224", 224, 96, {}),
        ("deit3_small_patch16_224", 64, 112, {}),
        ("deit_tiny_distilled_patch16_224", 64, 96, {}),
        ("vit_betwixt_patch16_reg4_gap_256", 64, 80, {}),
        ("flexivit_small", 64, 72, {"patch_size": 12}),
        ("vit_base_patch16_radio_v3", 64, 128, {}),
        ("vit_tiny_patch16_224", 64, 112, {"patch_size": 14}),
    ],
)
def test_weights_are_fitted_to_another_size_as_in_timm(name, old_size, new_size, changes):
    timm = pytest.importorskip("timm")
    small = {"embed_dim": 12, "depth": 1, "num_heads": 3, "num_classes": 2}
    state = timm.create_model(name, img_size=old_size, **small).state_dict()
    target = timm.create_model(name, img_size=new_size, **small, **changes)
    mode = TORCH_MODES[LINEAR_CORNERS if "radio" in name else LINEAR if "flexi" in name else CUBIC]
    expected = timm.models.vision_transformer.checkpoint_filter_fn(state, target, **mode)
    params, _ = to_flax({key: tensor.numpy() for key, tensor in state.items()})
    model = create_model(name, arguments={**small, **changes}, class_count=2, image_size=new_size)
    expected = flatten(to_flax({key: tensor.detach().numpy() for key, tensor in expected.items()})[0])
    fitted = flatten(model.adapt(params))
    assert fitted.keys() == expected.keys()
    for path, reference in expected.items():
        np.testing.assert_allclose(fitted[path], reference, rtol=0, atol=5e-5, err_msg=path)


def test_an_attention_pool_that_the_model_does_not_use_is_left_out():
    model = create_model("vit_base_patch16_siglip_gap_224", class_count=2, image_size=64)
    pooling, norm = {"latent": random_array(1, 1, 4)}, {"scale": random_array(4)}
    assert model.adapt({"attn_pool": pooling, "norm": norm}) == {"norm": norm}


def test_weights_of_this_size_are_not_touched():
    model = create_model("vit_tiny_patch16_224", class_count=2, image_size=64)
    params = {
        "pos_embed": random_array(1, 17, 192),
        "patch_embed": {"proj": {"kernel": random_array(16, 16, 3, 2)}},
    }
    fitted = model.adapt(params)
    assert fitted["pos_embed"] is params["pos_embed"]
    assert fitted["patch_embed"]["proj"]["kernel"] is params["patch_embed"]["proj"]["kernel"]
