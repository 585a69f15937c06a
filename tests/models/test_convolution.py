"""Convolution per backend: values and gradients against XLA's own convolution."""

import functools
import math

import jax
import numpy as np
import pytest
from as_runs import jit_as_runs_do
from jax import numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from sketch_jax.models import winograd
from sketch_jax.models.convolution import (
    Geometry,
    convolution,
    convolve_on_cpu,
    convolve_plainly,
    gradients_on_cpu,
    gradients_plainly,
    is_winograd,
)

FORMS = {
    "pointwise": (8, 12, 1),
    "depthwise": (6, 6, 6),
    "dense": (3, 8, 1),
    "grouped": (8, 12, 4),
    "grouped in pieces": (56, 28, 7),
    "depthwise multiplied": (4, 8, 4),
}


def arrays(form, kernel_size, size, dtype=jnp.float32):
    channels, features, groups = FORMS[form]
    random = np.random.default_rng(0)
    inputs = random.normal(size=(4, *size, channels))
    kernel = random.normal(size=(kernel_size, kernel_size, channels // groups, features))
    return jnp.asarray(inputs, dtype), jnp.asarray(kernel, dtype), groups


def results(function, inputs, kernel, jit=jax.jit):
    """Outputs and both gradients, for one fixed random cotangent."""

    @jit
    def pulled(inputs, kernel):
        outputs, pull = jax.vjp(function, inputs, kernel)
        cotangent = jax.random.normal(jax.random.key(1), outputs.shape, outputs.dtype)
        return outputs, *pull(cotangent)

    return pulled(inputs, kernel)


def assert_close(actual, expected, tolerance):
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        one, other = np.asarray(one, np.float32), np.asarray(other, np.float32)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(1.0, float(np.abs(other).max())))


def assert_matches_plain(inputs, kernel, geometry, tolerance=2e-6, jit=jax.jit):
    expected = results(functools.partial(convolve_plainly, geometry), inputs, kernel)
    actual = results(lambda inputs, kernel: convolution(inputs, kernel, *geometry), inputs, kernel, jit)
    assert_close(actual, expected, tolerance)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_values_and_gradients_are_those_of_xla(form, kernel_size, stride):
    inputs, kernel, groups = arrays(form, kernel_size, (14, 9))
    half = kernel_size // 2
    geometry = Geometry((stride, stride), ((half, half), (half, half)), groups, (1, 1))
    jit = jit_as_runs_do if (kernel_size, stride) == (3, 1) else jax.jit
    assert_matches_plain(inputs, kernel, geometry, jit=jit)


on_one_device = pytest.mark.skipif(jax.device_count() > 1, reason="several devices convolve plainly")

WIDE = [
    # batch, size, channels in and out, padding, images at once
    pytest.param(16, (8, 8), (64, 64), ((1, 1), (1, 1)), 16, id="whole tiles"),
    pytest.param(8, (13, 14), (64, 80), ((1, 1), (1, 1)), 8, id="tiles that stick out"),
    pytest.param(8, (12, 14), (80, 64), ((0, 2), (1, 0)), 8, id="uneven padding"),
    pytest.param(6, (16, 16), (64, 64), ((0, 0), (2, 2)), 2, id="a few images at a time"),
]


@on_one_device
@pytest.mark.parametrize(("batch", "size", "channels", "padding", "at_once"), WIDE)
def test_wide_dense_3x3_kernels_are_filtered_by_winograd(
    batch, size, channels, padding, at_once, monkeypatch
):
    random = np.random.default_rng(0)
    inputs = jnp.asarray(random.normal(size=(batch, *size, channels[0])), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(3, 3, *channels)) / 24, jnp.float32)
    tiles = math.prod(winograd.tile_counts(winograd.outputs_size(inputs.shape, padding)))
    monkeypatch.setattr(winograd, "TILES_OF_A_PRODUCT", 48)
    monkeypatch.setattr(winograd, "CELLS_AT_ONCE", at_once * 36 * tiles * max(channels))
    geometry = Geometry((1, 1), padding, 1, (1, 1))
    assert is_winograd(geometry, inputs, kernel)
    outputs = convolve_plainly(geometry, inputs, kernel)
    for lowered in (
        jax.jit(functools.partial(convolve_on_cpu, geometry)).lower(inputs, kernel),
        jax.jit(functools.partial(gradients_on_cpu, geometry)).lower(inputs, kernel, outputs),
    ):
        assert "stablehlo.convolution" not in lowered.as_text()
    assert_matches_plain(inputs, kernel, geometry, tolerance=4e-6, jit=jax.jit)


@on_one_device
def test_winograd_computes_half_precision_in_single_and_can_be_mapped():
    random = np.random.default_rng(0)
    inputs = jnp.asarray(random.normal(size=(2, 8, 12, 12, 64)), jnp.bfloat16)
    kernel = jnp.asarray(random.normal(size=(3, 3, 64, 64)) / 24, jnp.bfloat16)
    padding = (1, 1), (1, 1)
    convolved = jax.jit(jax.vmap(lambda images: convolution(images, kernel, (1, 1), padding)))(inputs)
    wide = convolve_plainly(
        Geometry((1, 1), padding, 1, (1, 1)),
        inputs.astype(jnp.float32).reshape(16, 12, 12, 64),
        kernel.astype(jnp.float32),
    )
    assert convolved.dtype == jnp.bfloat16
    actual = np.asarray(convolved.astype(jnp.float32)).reshape(wide.shape)
    np.testing.assert_allclose(actual, wide, rtol=2**-7, atol=1e-5)


@pytest.mark.parametrize("place", [(0, 0, 0, 0), (3, 5, 0, 2)])
def test_a_weight_that_is_no_number_makes_no_number_of_what_it_touches(place):
    inputs, kernel, groups = arrays("depthwise", 7, (12, 12))
    lost = kernel.at[place].set(jnp.nan)
    geometry = Geometry((1, 1), ((3, 3), (3, 3)), groups, (1, 1))
    outputs = jax.jit(lambda inputs, kernel: convolve_on_cpu(geometry, inputs, kernel))(inputs, lost)
    assert jnp.isnan(outputs[..., place[3]]).any()


@pytest.mark.parametrize(
    "geometry",
    [
        Geometry((2, 2), ((1, 1), (1, 1)), 1, (1, 1)),
        Geometry((1, 1), ((2, 2), (2, 2)), 1, (2, 2)),
        Geometry((1, 1), ((1, 1), (1, 1)), 2, (1, 1)),
    ],
    ids=["strides", "dilation", "groups"],
)
def test_winograd_takes_no_strides_dilation_or_groups(geometry):
    kernel = jnp.zeros((3, 3, 128 // geometry.groups, 128))
    assert not is_winograd(geometry, jnp.zeros((16, 16, 16, 128)), kernel)


def test_the_winograd_transforms_filter_a_tile_exactly():
    random = np.random.default_rng(0)
    tile, taps = random.normal(size=6), random.normal(size=3)
    products = (winograd.KERNEL_TRANSFORM @ taps) * (winograd.INPUT_TRANSFORM @ tile)
    np.testing.assert_allclose(
        winograd.OUTPUT_TRANSFORM @ products, np.correlate(tile, taps, "valid"), rtol=0, atol=1e-13
    )


@pytest.mark.parametrize(
    ("inputs", "kernel", "padding"),
    [
        ((16, 8, 8, 32), (3, 3, 32, 64), ((1, 1), (1, 1))),
        ((16, 8, 8, 64), (5, 5, 64, 64), ((2, 2), (2, 2))),
        ((16, 8, 8, 64), (3, 3, 64, 64), ((3, 1), (1, 1))),
        ((4, 8, 8, 64), (3, 3, 64, 64), ((1, 1), (1, 1))),
        ((256, 2, 2, 64), (3, 3, 64, 64), ((1, 1), (1, 1))),
        ((256, 2, 2, 64), (3, 3, 64, 64), ((0, 0), (0, 0))),
    ],
    ids=["few channels", "a larger kernel", "a wide margin", "few tiles", "mostly outside", "no outputs"],
)
def test_winograd_is_left_where_it_is_slower_or_wrong(inputs, kernel, padding):
    assert not winograd.applies(inputs, kernel, padding)


@pytest.mark.parametrize("form", ["depthwise", "pointwise", "dense"])
@pytest.mark.parametrize("padding", [((0, 1), (0, 1)), ((2, 0), (1, 3)), ((0, 0), (0, 0))])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (3, 2)])
def test_padding_may_differ_by_side_and_strides_by_axis(form, padding, strides):
    inputs, kernel, groups = arrays(form, 1 if form == "pointwise" else 3, (10, 11))
    assert_matches_plain(inputs, kernel, Geometry(strides, padding, groups, (1, 1)))


@pytest.mark.parametrize("strides", [(1, 1), (2, 1), (4, 4)])
@pytest.mark.parametrize("dilation", [(2, 2), (1, 3)])
def test_depthwise_taps_may_be_dilated(strides, dilation):
    inputs, kernel, groups = arrays("depthwise", 3, (15, 12))
    assert_matches_plain(inputs, kernel, Geometry(strides, ((2, 1), (3, 3)), groups, dilation))


def test_padding_wider_than_the_kernel_is_allowed():
    inputs, kernel, groups = arrays("depthwise", 3, (5, 6))
    assert_matches_plain(inputs, kernel, Geometry((2, 1), ((5, 4), (3, 6)), groups, (1, 1)))


@pytest.mark.parametrize("form", ["pointwise", "depthwise", "dense"])
def test_bfloat16_stays_bfloat16_and_is_near_the_float32_result(form):
    inputs, kernel, groups = arrays(form, 1 if form == "pointwise" else 3, (9, 8), jnp.bfloat16)
    geometry = Geometry((1, 1), ((1, 1), (1, 1)) if form != "pointwise" else ((0, 0), (0, 0)), groups, (1, 1))
    actual = results(lambda inputs, kernel: convolution(inputs, kernel, *geometry), inputs, kernel)
    assert {result.dtype for result in actual} == {jnp.dtype(jnp.bfloat16)}
    wide = functools.partial(convolve_plainly, geometry)
    outputs = wide(inputs.astype(jnp.float32), kernel.astype(jnp.float32))
    assert_close([actual[0].astype(jnp.float32)], [outputs], 1e-2)


@pytest.mark.parametrize("form", ["pointwise", "depthwise", "dense"])
def test_a_mapped_convolution_equals_a_loop(form):
    inputs, kernel, groups = arrays(form, 1 if form == "pointwise" else 3, (8, 8))
    many = jnp.stack([inputs, 2 * inputs])
    mapped = jax.vmap(lambda inputs: convolution(inputs, kernel, groups=groups))(many)
    single = [convolution(inputs, kernel, groups=groups) for inputs in many]
    np.testing.assert_allclose(mapped, jnp.stack(single), atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_sharded_over_a_mesh_gives_the_same_results(form):
    if jax.device_count() < 2:
        pytest.skip("needs several devices (XLA_FLAGS=--xla_force_host_platform_device_count=4)")
    count = 4 if jax.device_count() >= 4 else 2
    inputs, kernel, groups = arrays(form, 1 if form == "pointwise" else 3, (8, 8))
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:count]), ("batch",))
    sharded = jax.device_put(inputs, NamedSharding(mesh, PartitionSpec("batch")))
    replicated = jax.device_put(kernel, NamedSharding(mesh, PartitionSpec()))
    convolved = functools.partial(convolution, groups=groups)
    assert_close(results(convolved, sharded, replicated), results(convolved, inputs, kernel), 2e-6)


@pytest.mark.parametrize(
    ("size", "stride", "dilation", "kernel_size"),
    [
        ((2, 2), 1, 1, 3),
        ((4, 3), 2, 1, 3),
        ((1, 4), 1, 1, 3),
        ((1, 1), 1, 1, 3),
        ((4, 2), 2, 2, 3),
    ],
)
def test_dense_kernels_with_few_outputs_are_one_product_of_matrices(size, stride, dilation, kernel_size):
    inputs, kernel, _ = arrays("dense", kernel_size, size)
    half = kernel_size // 2 * dilation
    geometry = Geometry((stride, stride), ((half, half), (half, half)), 1, (dilation, dilation))
    assert_matches_plain(inputs, kernel, geometry)
    run = functools.partial(
        results, lambda inputs, kernel: convolution(inputs, kernel, *geometry), jit=lambda f: f
    )
    assert "convolution(" not in jax.jit(run).lower(inputs, kernel).compile().as_text()


def test_the_cpu_compiles_no_convolution_for_a_depthwise_kernel():
    inputs, kernel, groups = arrays("depthwise", 3, (8, 8))
    step = jax.grad(lambda inputs, kernel: convolution(inputs, kernel, groups=groups).sum(), (0, 1))
    text = jax.jit(step).trace(inputs, kernel).lower(lowering_platforms=("cpu",)).as_text()
    assert "convolution" not in text


def test_other_backends_keep_the_plain_convolution():
    inputs, kernel, groups = arrays("depthwise", 3, (8, 8))
    step = jax.grad(lambda inputs, kernel: convolution(inputs, kernel, groups=groups).sum(), (0, 1))
    text = jax.jit(step).trace(inputs, kernel).lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.convolution" in text


@pytest.mark.parametrize("height", [1, 11, 12, 13, 23, 48])
def test_blocks_of_rows_cover_every_height(height):
    random = np.random.default_rng(0)
    inputs = jnp.asarray(random.normal(size=(2, height, 5, 4)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(3, 3, 1, 4)), jnp.float32)
    geometry = Geometry((1, 1), ((1, 1), (1, 1)), 4, (1, 1))
    arguments = inputs, kernel, jnp.asarray(random.normal(size=inputs.shape), jnp.float32)
    here, plainly = (
        jax.jit(functools.partial(form, geometry))(*arguments)
        for form in (gradients_on_cpu, gradients_plainly)
    )
    assert_close(here, plainly, 2e-6)
