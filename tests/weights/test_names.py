import numpy as np
import pytest

from sketch_jax.trees import flatten
from sketch_jax.weights.names import flax_path, timm_name, to_flax, to_timm


def random_state_dict(name: str, seed: int = 0) -> dict[str, np.ndarray]:
    """A state dict of timm's with every tensor random, but for the counters, which are 0 in a new model."""
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    with torch.device("meta"):
        shapes = timm.create_model(name, num_classes=3).state_dict()
    generator = np.random.default_rng(seed)
    return {
        name: np.zeros((), np.int64)
        if name.endswith("num_batches_tracked")
        else generator.standard_normal(tensor.shape, np.float32)
        for name, tensor in shapes.items()
    }


@pytest.mark.parametrize(
    ("timm", "dimensions", "here"),
    [
        ("blocks.3.attn.qkv.weight", 2, "blocks_3/attn/qkv/kernel"),
        ("layer1.0.downsample.0.weight", 4, "layer1_0/downsample_0/kernel"),
        ("conv1.6.weight", 4, "conv1_6/kernel"),
        ("blocks.1.0.bn1.weight", 1, "blocks_1_0/bn1/scale"),
        ("blocks.0.attn.conv.weight", 3, "blocks_0/attn/conv/kernel"),
        ("norm.bias", 1, "norm/bias"),
        ("cls_token", 3, "cls_token"),
        ("pos_embed", 3, "pos_embed"),
        ("blocks.0.gamma_1", 1, "blocks_0/gamma_1"),
        ("blocks.11.ls1.gamma", 1, "blocks_11/ls1/gamma"),
        ("cls_token_0", 3, "cls_token_0"),
        ("stages.0.res_scale1.scale", 1, "stages_0/res_scale1/scale_"),
        ("conv2_1.c1x1_a.bn.weight", 1, "conv2__1/c1x1_a/bn/scale"),
        ("conv2_1.2.weight", 4, "conv2__1_2/kernel"),
        ("gains.0", 1, "gains/0"),
        ("0.1.weight", 2, "0_1/kernel"),
    ],
)
def test_names_follow_the_rules_both_ways(timm, dimensions, here):
    assert flax_path(timm, dimensions) == here
    assert timm_name(here) == timm


def test_no_two_names_share_a_path_and_every_path_leads_back():
    generator = np.random.default_rng(0)
    modules = ["conv", "conv_1", "conv__1", "conv_", "_1", "scale", "1", "0", "12", "c1x1_a", "a_1_2"]
    leaves = ["weight", "bias", "scale", "scale_", "kernel", "gamma_1", "0"]
    names = {
        ".".join([*generator.choice(modules, generator.integers(0, 5)), str(generator.choice(leaves))])
        for _ in range(20_000)
    }
    paths = {name: flax_path(name, 2) for name in names}
    assert len(set(paths.values())) == len(names) > 5000
    assert [name for name, path in paths.items() if timm_name(path) != name] == []


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "resnet18", "mobilenetv2_035", "dpn68", "caformer_s18", "eca_resnet33ts"]
)
def test_every_tensor_comes_back_bit_for_bit(name):
    tensors = random_state_dict(name)
    params, statistics = to_flax(tensors)
    back = to_timm(params, statistics)
    assert back.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert back[key].dtype == tensor.dtype, key
        np.testing.assert_array_equal(back[key], tensor, err_msg=key)
    counters = sum(key.endswith("num_batches_tracked") for key in tensors)
    assert len(flatten(params)) + len(flatten(statistics)) + counters == len(tensors)


def test_running_statistics_go_to_their_own_tree():
    params, statistics = to_flax(random_state_dict("resnet18"))
    assert set(flatten(statistics)) == {
        path.replace("scale", kind)
        for path in flatten(params)
        if path.endswith("scale")
        for kind in ("mean", "var")
    }


def test_nothing_is_copied_on_the_way():
    tensors = random_state_dict("resnet18")
    params, statistics = to_flax(tensors)
    back = to_timm(params, statistics)
    for name, tensor in tensors.items():
        if not name.endswith("num_batches_tracked"):
            assert np.shares_memory(back[name], tensor), name


def test_the_state_dict_loads_strictly_into_timm():
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    tensors = to_timm(*to_flax(random_state_dict("mobilenetv2_035")))
    state = {name: torch.tensor(np.ascontiguousarray(tensor)) for name, tensor in tensors.items()}
    model = timm.create_model("mobilenetv2_035", num_classes=3)
    assert str(model.load_state_dict(state, strict=True)) == "<All keys matched successfully>"


def test_kernels_compute_what_timms_weights_compute():
    torch = pytest.importorskip("torch")
    from jax import lax

    generator = np.random.default_rng(0)
    weight = generator.standard_normal((6, 2, 3, 5), np.float32)
    images = generator.standard_normal((2, 9, 8, 4), np.float32)
    linear = generator.standard_normal((7, 6), np.float32)
    params, _ = to_flax({"conv.weight": weight, "fc.weight": linear})

    maps = torch.nn.functional.conv2d(
        torch.tensor(images.transpose(0, 3, 1, 2)), torch.tensor(weight), groups=2
    )
    expected = torch.nn.functional.linear(maps.mean((2, 3)), torch.tensor(linear)).numpy()
    ours = (
        lax.conv_general_dilated(
            images,
            params["conv"]["kernel"],
            (1, 1),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=2,
        ).mean((1, 2))
        @ params["fc"]["kernel"]
    )
    np.testing.assert_allclose(ours, expected, atol=1e-5)
