"""Activations beside timm's and scipy's, and what compiled programs keep of them."""

import jax
import numpy as np
import pytest
from as_runs import jit_as_runs_do
from jax import numpy as jnp
from scipy import special

from sketch_jax.models.activations import ACTIVATIONS

PLAIN = {
    "gelu": lambda inputs: 0.5 * inputs * (1.0 + jax.lax.erf(inputs * 0.5**0.5)),
    "gelu_tanh": lambda inputs: jax.nn.gelu(inputs, approximate=True),
    "quick_gelu": lambda inputs: inputs * jax.nn.sigmoid(1.702 * inputs),
    "silu": jax.nn.silu,
}


def test_gelu_is_exact_to_float32():
    inputs = np.linspace(-9, 9, 2001, dtype=np.float32)
    exact = inputs.astype(np.float64) * special.ndtr(inputs.astype(np.float64))
    np.testing.assert_allclose(ACTIVATIONS["gelu"](jnp.asarray(inputs)), exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_their_slopes_are_timms(name):
    torch, layers = pytest.importorskip("torch"), pytest.importorskip("timm.layers")
    inputs = torch.linspace(-8, 8, 801, requires_grad=True)
    expected = layers.get_act_fn(name)(inputs)
    expected.sum().backward()
    ours = jnp.asarray(inputs.detach().numpy())
    np.testing.assert_allclose(ACTIVATIONS[name](ours), expected.detach(), rtol=0, atol=2e-6)
    slopes = jit_as_runs_do(jax.vmap(jax.grad(ACTIVATIONS[name])))(ours)
    # XLA's tanh reaches 1 a little before torch's does, where the slope of the tanh form is 3e-6 from its end
    atol = 4e-6 if name == "gelu_tanh" else 2e-6
    np.testing.assert_allclose(slopes[ours != 0], inputs.grad.numpy()[ours != 0], rtol=0, atol=atol)


@pytest.mark.parametrize("name", PLAIN)
def test_a_compiled_training_step_keeps_no_more_of_an_activation_than_its_inputs(name):
    """Squares keep their inputs alone. An exponential that is the same in both passes would be kept, too."""
    layer = 4096 * 64 * 4

    def bytes_between(act):
        def loss(kernels, rows):
            for kernel in kernels:
                rows = act(rows @ kernel)
            return rows.sum()

        shapes = jax.ShapeDtypeStruct((6, 64, 64), jnp.float32), jax.ShapeDtypeStruct((4096, 64), jnp.float32)
        compiled = jit_as_runs_do(jax.grad(loss)).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert bytes_between(ACTIVATIONS[name]) <= bytes_between(jnp.square) + layer


def test_activations_can_be_differentiated_twice_and_forward():
    for name, plain in PLAIN.items():
        for value in jnp.asarray([-2.0, 0.3, 1.7]):
            expected = jax.grad(jax.grad(plain))(value)
            np.testing.assert_allclose(jax.grad(jax.grad(ACTIVATIONS[name]))(value), expected, atol=2e-6)
            _, tangent = jax.jvp(ACTIVATIONS[name], (value,), (jnp.asarray(2.0),))
            np.testing.assert_allclose(tangent, 2.0 * jax.grad(plain)(value), atol=2e-6)
