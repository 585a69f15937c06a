import functools
import itertools

import jax
import numpy as np
import pytest
from as_runs import jit_as_runs_do
from jax import numpy as jnp
from timm_parity import (
    assert_gradients_agree,
    channels_first,
    channels_last,
    converted,
    randomise,
    to_flax,
)

from sketch_jax.errors import InputError
from sketch_jax.models import max_pooling
from sketch_jax.models.channel_attention import (
    EfficientChannelAttention,
    GlobalContext,
    MobileSqueezeExcite,
    SqueezeExcite,
)
from sketch_jax.models.conditional_convolution import CondConv
from sketch_jax.models.convolutional import (
    BatchNorm,
    ChannelNorm,
    Conv,
    EvoNorm,
    GroupNorm,
    choose,
    make_divisible,
    run,
)
from sketch_jax.models.max_pooling import max_pool
from sketch_jax.models.pooling import ANTI_ALIASING, adaptive_average_pool, average_pool, halve
from sketch_jax.trees import flatten

timm_layers = pytest.importorskip("timm.layers")
timm_blocks = pytest.importorskip("timm.models._efficientnet_blocks")
torch = pytest.importorskip("torch")


def random_map(height, width, channels, batch=2, seed=0):
    normal = np.random.default_rng(seed).normal(size=(batch, height, width, channels))
    return jnp.asarray(normal, jnp.float32)


def matches(module, reference, inputs, atol=1e-5):
    """Whether a part of ours answers as torch's, whose random parameters it takes."""
    params, _ = converted(randomise(reference))
    with torch.no_grad():
        expected = channels_last(reference(channels_first(inputs)))
    np.testing.assert_allclose(module.apply({"params": params}, inputs), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("pad_type", ["", "same", "valid"])
@pytest.mark.parametrize(("kernel_size", "stride"), [(1, 1), (1, 2), (2, 2), (3, 1), (3, 2), (5, 2)])
def test_convolutions_pad_as_in_timm(pad_type, kernel_size, stride):
    reference = timm_layers.create_conv2d(4, 6, kernel_size, stride=stride, padding=pad_type, bias=True)
    module = Conv(6, kernel_size, stride, pad_type, use_bias=True)
    for height, width in ((7, 8), (9, 6)):
        matches(module, reference, random_map(height, width, 4))


@pytest.mark.parametrize("padding", [0, 2])
def test_convolutions_take_a_number_of_cells_as_padding(padding):
    reference = torch.nn.Conv2d(4, 6, 7, 4, padding, bias=False)
    matches(Conv(6, 7, 4, padding=padding), reference, random_map(9, 12, 4))


@pytest.mark.parametrize("groups", [2, 6])
def test_convolutions_in_groups_match_torch(groups):
    matches(
        Conv(12, 3, 2, groups=groups),
        torch.nn.Conv2d(6, 12, 3, 2, 1, groups=groups, bias=False),
        random_map(7, 8, 6),
    )


def test_a_padding_that_does_not_exist_is_refused():
    with pytest.raises(
        InputError, match="model argument pad_type: 'sam' is none of '', 'same', 'valid'; did you mean 'same'"
    ):
        Conv(4, 3, pad_type="sam").init(jax.random.key(0), jnp.ones((1, 4, 4, 3)))


@pytest.mark.parametrize(("pad_type", "groups", "stride"), [("", 1, 1), ("same", 8, 2)])
def test_kernels_of_each_image_match_timm(pad_type, groups, stride):
    reference = timm_layers.CondConv2d(8, 8, 3, stride, pad_type, groups=groups, num_experts=3)
    params, _ = converted(randomise(reference))
    inputs, routing = random_map(7, 6, 8), jnp.array([[0.1, 0.9, 0.4], [0.7, 0.0, 0.3]])
    outputs = CondConv(8, 3, 3, stride, pad_type, groups).apply({"params": params}, inputs, routing)
    expected = channels_last(reference(channels_first(inputs), torch.tensor(np.asarray(routing))))
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def batch_norms(momentum, epsilon):
    reference = randomise(torch.nn.BatchNorm2d(5, eps=epsilon, momentum=momentum))
    params, statistics = converted(reference)
    return reference, BatchNorm(epsilon, momentum), {"params": params, "batch_stats": statistics}


@pytest.mark.parametrize(("momentum", "epsilon"), [(0.1, 1e-5), (0.01, 1e-3)])
def test_batch_norm_matches_torch_over_two_steps_and_in_evaluation(momentum, epsilon):
    reference, module, variables = batch_norms(momentum, epsilon)
    for seed in range(2):
        inputs = 3 * random_map(4, 3, 5, seed=seed) + 2
        outputs, updated = module.apply(variables, inputs, True, mutable=["batch_stats"])
        np.testing.assert_allclose(
            outputs, channels_last(reference.train()(channels_first(inputs))), atol=1e-5
        )
        variables |= updated
    for name, buffer in (("mean", reference.running_mean), ("var", reference.running_var)):
        np.testing.assert_allclose(variables["batch_stats"][name], buffer.numpy(), rtol=1e-6)
    expected = channels_last(reference.eval()(channels_first(inputs)))
    np.testing.assert_allclose(module.apply(variables, inputs, False), expected, atol=1e-5)


def test_batch_norm_keeps_wide_statistics_of_narrow_inputs():
    _, module, variables = batch_norms(1.0, 1e-5)
    inputs = jnp.asarray(random_map(8, 8, 5) + 100, jnp.bfloat16)
    outputs, updated = module.apply(variables, inputs, True, mutable=["batch_stats"])
    wide = np.asarray(inputs, np.float64)
    assert outputs.dtype == jnp.bfloat16
    np.testing.assert_allclose(updated["batch_stats"]["mean"], wide.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(updated["batch_stats"]["var"], wide.var((0, 1, 2), ddof=1), rtol=1e-5)


def test_batch_norm_of_one_value_a_channel_stays_finite():
    _, module, variables = batch_norms(0.1, 1e-5)
    _, updated = module.apply(variables, jnp.ones((1, 1, 1, 5)), True, mutable=["batch_stats"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(updated))


@pytest.mark.parametrize(("ours", "groups"), [(GroupNorm(4), 4), (GroupNorm(group_size=2), 6)])
def test_group_norm_matches_torch(ours, groups):
    reference = randomise(torch.nn.GroupNorm(groups, 12))
    params, _ = converted(reference)
    inputs = random_map(5, 4, 12) + 10
    expected = channels_last(reference(channels_first(inputs)))
    for train in (True, False):
        np.testing.assert_allclose(ours.apply({"params": params}, inputs, train), expected, atol=1e-4)


def test_group_norm_may_do_without_a_bias():
    reference = randomise(torch.nn.GroupNorm(1, 12))
    reference.bias = None
    params, _ = converted(reference)
    inputs = random_map(5, 4, 12) + 10
    answer = GroupNorm(1, use_bias=False).apply({"params": params}, inputs, False)
    np.testing.assert_allclose(answer, channels_last(reference(channels_first(inputs))), atol=1e-4)


@pytest.mark.parametrize("kind", [ChannelNorm, functools.partial(EvoNorm, 4)])
def test_norms_without_statistics_compute_wide_and_answer_in_the_asked_type(kind):
    inputs = random_map(5, 4, 12).astype(jnp.bfloat16)
    variables = kind().init(jax.random.key(0), inputs, True)
    narrow = kind(dtype=jnp.bfloat16).apply(variables, inputs, True)
    assert narrow.dtype == jnp.bfloat16
    wide = kind().apply(variables, inputs.astype(jnp.float32), False)
    np.testing.assert_array_equal(narrow, wide.astype(jnp.bfloat16))


def test_widths_are_rounded_as_in_timm():
    for width, divisor, limit in itertools.product(np.arange(1, 400, 2.3), (8, 16), (0.9, 0.0)):
        expected = timm_layers.make_divisible(width, divisor, round_limit=limit)
        assert make_divisible(width, divisor, limit) == expected


@pytest.mark.parametrize(("channels", "ratio"), [(32, 1 / 16), (72, 0.25), (200, 1 / 16)])
def test_squeeze_and_excitation_matches_timm(channels, ratio):
    reference = timm_layers.SEModule(channels, rd_ratio=ratio)
    matches(SqueezeExcite(channels, ratio), reference, random_map(5, 4, channels))


def test_squeeze_and_excitation_of_a_stated_width_matches_timm():
    reference = timm_layers.SEModule(32, rd_channels=5, act_layer=torch.nn.SiLU)
    matches(SqueezeExcite(32, rd_channels=5, act_layer="silu"), reference, random_map(5, 4, 32))


@pytest.mark.parametrize(
    ("act_layer", "gate_layer", "ratio"), [("swish", "sigmoid", 0.25 / 6), ("relu", "hard_sigmoid", 0.25)]
)
def test_mobile_squeeze_and_excitation_matches_timm(act_layer, gate_layer, ratio):
    activations = [timm_layers.get_act_layer(name) for name in (act_layer, gate_layer)]
    reference = timm_blocks.SqueezeExcite(60, ratio, act_layer=activations[0], gate_layer=activations[1])
    matches(MobileSqueezeExcite(60, ratio, act_layer, gate_layer), reference, random_map(5, 4, 60))


@pytest.mark.parametrize("channels", [16, 64, 512, 2048])
def test_channel_attention_by_a_short_convolution_matches_timm(channels):
    matches(EfficientChannelAttention(channels), timm_layers.EcaModule(channels), random_map(3, 4, channels))


def test_attention_to_a_weighted_mean_and_its_gradients_match_timm():
    reference = randomise(timm_layers.GlobalContext(24, rd_ratio=0.3, act_layer=torch.nn.SiLU))
    module, inputs = GlobalContext(24, 0.3, "silu"), random_map(5, 4, 24)
    matches(module, reference, inputs)
    params, _ = converted(reference)
    (reference(channels_first(inputs)) ** 2).sum().backward()
    named = ((name, parameter.grad) for name, parameter in reference.named_parameters())
    expected, _ = to_flax(named)
    gradients = jax.grad(lambda params: (module.apply({"params": params}, inputs) ** 2).sum())(params)
    assert_gradients_agree(flatten(gradients), expected)


@pytest.mark.parametrize("size", [(7, 8), (9, 10), (5, 3)])
@pytest.mark.parametrize(("window", "stride", "padding"), [(3, 2, 1), (3, 1, 1), (2, 2, 0)])
def test_max_pool_matches_torch_and_padding_never_wins(size, window, stride, padding):
    inputs = random_map(*size, 3) - 10
    expected = torch.nn.functional.max_pool2d(channels_first(inputs), window, stride, padding)
    np.testing.assert_array_equal(max_pool(inputs, window, stride, padding), channels_last(expected))


@pytest.mark.parametrize("size", [(7, 8), (9, 10), (5, 3)])
@pytest.mark.parametrize(("window", "stride", "padding"), [(3, 2, 1), (3, 1, 1), (2, 2, 0), (2, 3, 0)])
def test_max_pool_gives_ties_to_the_same_cell_as_torch(size, window, stride, padding):
    inputs = jnp.round(random_map(*size, 3))
    reference = channels_first(inputs).requires_grad_()
    outputs = torch.nn.functional.max_pool2d(reference, window, stride, padding)
    cotangent = random_map(*outputs.shape[2:], 3, seed=1)
    outputs.backward(channels_first(cotangent))
    for gradient in (max_pooling._by_axes, max_pooling._by_scatter):
        pooled = max_pool(inputs, window, stride, padding)
        ours = gradient(window, stride, padding, inputs, pooled, cotangent)
        np.testing.assert_allclose(ours, channels_last(reference.grad), atol=1e-6)


def test_max_pool_is_differentiable_under_jit_in_half_precision():
    inputs = random_map(6, 6, 2).astype(jnp.bfloat16)
    gradient = jax.jit(jax.grad(lambda inputs: max_pool(inputs, 3, 2, 1).sum()))(inputs)
    assert gradient.dtype == jnp.bfloat16
    assert gradient.sum() == 2 * 2 * 9


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize(
    ("window", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 3, 1), (2, 1, 0), (5, 4, 2)]
)
def test_average_pool_matches_torch(window, stride, padding, ceil_mode, count_include_pad):
    for size in ((7, 8), (9, 10), (5, 6)):
        inputs = random_map(*size, 3)
        options = (window, stride, padding, ceil_mode, count_include_pad)
        expected = channels_last(torch.nn.functional.avg_pool2d(channels_first(inputs), *options))
        np.testing.assert_allclose(average_pool(inputs, *options), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (3, 1), (3, 3)])
def test_averages_over_the_border_of_small_maps_match_torch(size):
    """As runs compile it, and of many channels: XLA took the cell of a 1×1 map of 4,096 four times."""
    inputs = random_map(*size, 4096, batch=1)
    options = (2, 2, 0, True, False)
    expected = channels_last(torch.nn.functional.avg_pool2d(channels_first(inputs), *options))
    np.testing.assert_allclose(jit_as_runs_do(halve)(inputs), expected, atol=1e-6)


@pytest.mark.parametrize("name", ANTI_ALIASING)
@pytest.mark.parametrize("size", [(7, 8), (6, 5)])
def test_anti_aliasing_matches_timm(name, size):
    inputs = random_map(*size, 4)
    expected = channels_last(timm_layers.create_aa(name, channels=4, stride=2)(channels_first(inputs)))
    np.testing.assert_allclose(ANTI_ALIASING[name](inputs, stride=2), expected, atol=1e-6)


def test_a_run_of_parts_tells_only_norms_of_training():
    inputs = random_map(4, 4, 3)
    parts = [jax.nn.relu, GroupNorm(1).bind({"params": {"scale": jnp.ones(3), "bias": jnp.zeros(3)}})]
    np.testing.assert_allclose(run(parts, inputs, True).mean((1, 2, 3)), 0, atol=1e-6)


def test_a_choice_is_refused_with_the_nearest_and_with_all():
    with pytest.raises(InputError, match="argument x: 'ab' is none of 'abc', 'z'; did you mean 'abc'"):
        choose({"abc": 1, "z": 2}, "ab", "x")


@pytest.mark.parametrize("sizes", [(1, 7), (3, 7), (7, 3), (8, 4), (5, 5)])
def test_means_of_evenly_spread_windows_match_torch(sizes):
    inputs = random_map(sizes[0], sizes[1], 3)
    expected = torch.nn.functional.adaptive_avg_pool2d(channels_first(inputs), sizes[::-1])
    pooled = adaptive_average_pool(inputs, sizes[1], sizes[0])
    np.testing.assert_allclose(pooled, channels_last(expected), rtol=0, atol=1e-6)
