"""Counted operations beside hand-worked cases, and torch's counter where that counts right."""

import jax
import numpy as np
import pytest
from jax import lax
from jax import numpy as jnp

from sketch_jax.models import attention
from sketch_jax.models.architectures import create_model
from sketch_jax.models.convolution import convolution
from sketch_jax.train.flops import count_flops


def flops(function, *shapes):
    return count_flops(jax.make_jaxpr(function)(*(jnp.ones(shape) for shape in shapes)))


def test_a_batch_of_matrix_products_counts_each():
    assert flops(lambda left, right: left @ right, (7, 2, 3), (7, 3, 5)) == 7 * 2 * 3 * 5 * 2


def test_the_gradient_of_a_product_counts_two_further_products():
    both = jax.grad(lambda left, right: jnp.tanh(left @ right).sum(), (0, 1))
    assert flops(both, (2, 3), (3, 5)) == 3 * (2 * 3 * 5 * 2)


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (1, 4), (2, 4), (1, 2)])
def test_a_convolution_counts_its_taps_forward_and_twice_backward(stride, groups):
    def convolve(images, kernel):
        return convolution(images, kernel, (stride, stride), ((1, 1), (1, 1)), groups)

    side = 6 // stride
    forward = 2 * (3 * side * side * 8) * 9 * (4 // groups)
    shapes = (3, 6, 6, 4), (3, 3, 4 // groups, 8)
    assert flops(convolve, *shapes) == forward
    assert flops(jax.grad(lambda *inputs: (convolve(*inputs) ** 2).sum(), (0, 1)), *shapes) == 3 * forward
    assert flops(jax.grad(lambda *inputs: (convolve(*inputs) ** 2).sum(), 1), *shapes) == 2 * forward


@pytest.mark.parametrize(("side", "padding", "size"), [(7, 0, 7), (5, 0, 3), (2, 1, 3), (1, 1, 3)])
def test_places_around_the_images_count_no_more_backward_than_forward(side, padding, size):
    def convolve(images, kernel):
        return convolution(images, kernel, (1, 1), ((padding, padding), (padding, padding)))

    shapes = (2, side, side, 3), (size, size, 3, 4)
    forward = flops(convolve, *shapes)
    assert forward == 2 * 2 * 4 * (side + 2 * padding - size + 1) ** 2 * size * size * 3
    assert flops(jax.grad(lambda *inputs: (convolve(*inputs) ** 2).sum(), (0, 1)), *shapes) == 3 * forward


def test_a_branch_that_is_known_beforehand_does_not_end_the_count():
    assert (
        flops(lambda left, right: lax.cond(True, lambda: left @ right, lambda: left), (4, 4), (4, 4)) == 128
    )


def test_each_turn_of_a_scan_counts_and_the_dearest_branch():
    def loop(left, right):
        return lax.scan(lambda carry, _: (carry @ right, None), left, None, length=10)[0]

    def choose(left, right):
        return lax.cond(left[0, 0] > 0, lambda: left @ right, lambda: left)

    assert flops(loop, (4, 4), (4, 4)) == 10 * 2 * 4**3
    assert flops(choose, (4, 4), (4, 4)) == 2 * 4**3


def test_what_no_result_needs_does_not_count():
    assert flops(lambda left, right: (left @ right, left)[1], (4, 4), (4, 4)) == 0


def test_flash_attention_counts_two_products_forward_and_four_backward(pretended_cudnn):
    del pretended_cudnn
    heads = [jnp.ones((2, 7, 3, 16), jnp.bfloat16)] * 3

    def attended(query, key, value):
        return attention.attend_in_pieces(query, key, value, 0.25, "cudnn").sum()

    per_pair = 4 * 2 * 3 * 16
    assert count_flops(jax.make_jaxpr(attended)(*heads)) == per_pair * 7 * 7
    # One token more, as a gradient wants an even number.
    assert count_flops(jax.make_jaxpr(jax.grad(attended, (0, 1, 2)))(*heads)) == 3 * per_pair * 8 * 8


@pytest.mark.parametrize(
    ("name", "size", "arguments", "trains"),
    [
        ("resnet10t", 64, {}, True),
        ("test_vit", 160, {}, False),
        ("test_convnext", 64, {}, False),
        ("swinv2_tiny_window8_256", 256, {"depths": (2, 1), "num_heads": (3, 6)}, True),
    ],
)
def test_models_count_as_torchs_counter_says(name, size, arguments, trains):
    """Of groups torch counts too much backward, and of attention what flash attention computes again."""
    torch = pytest.importorskip("torch")
    timm = pytest.importorskip("timm")
    from torch.utils.flop_counter import FlopCounterMode

    model = create_model(name, arguments=arguments, class_count=3, image_size=size)
    images, key = np.ones((2, size, size, 3), np.float32), jax.random.key(0)
    abstract = jax.eval_shape(model.init, key)

    def total(params, statistics, images):
        features, _ = model.features(params, statistics, images, key, False)
        return (model.head(params, features, key, False) ** 2).sum()

    reference = timm.create_model(name, num_classes=3, **arguments).eval()
    with FlopCounterMode(display=False) as counter:
        result = (reference(torch.ones(2, 3, size, size)) ** 2).sum()
        forward = counter.get_total_flops()
        result.backward()
        both = counter.get_total_flops()
    assert count_flops(jax.make_jaxpr(total)(*abstract, images)) == forward
    if trains:
        assert count_flops(jax.make_jaxpr(jax.grad(total))(*abstract, images)) == both
