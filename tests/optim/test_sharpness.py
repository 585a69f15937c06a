import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from sketch_jax.optim.optimizer import create_optimizer
from sketch_jax.optim.options import AdamW, Sam, Sgd
from sketch_jax.optim.sharpness import create_gradients, sam_gradients

torch = pytest.importorskip("torch")


def arrays():
    generator = np.random.default_rng(0)
    shapes = {"first": (6, 8), "bias": (8,), "second": (8, 1)}
    params = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return params, generator.normal(size=(16, 6)).astype(np.float32), generator.normal(size=(16, 1))


def our_loss(params, inputs, wanted):
    hidden = jnp.tanh(inputs @ params["first"] + params["bias"].reshape(1, -1))
    return jnp.mean((hidden @ params["second"] - wanted) ** 2), {"mean": jnp.mean(hidden)}


def torch_loss(params, inputs, wanted):
    hidden = torch.tanh(inputs @ params["first"] + params["bias"])
    return torch.mean((hidden @ params["second"] - wanted) ** 2)


def torch_sam(params, inputs, wanted, optimizer, rho, adaptive):
    """A step by hand: uphill, gradients there, back, down. Returns the loss before the step."""
    optimizer.zero_grad()
    loss = torch_loss(params, inputs, wanted)
    loss.backward()
    before = {name: tensor.detach().clone() for name, tensor in params.items()}
    sizes = {name: tensor.detach().abs() if adaptive else 1.0 for name, tensor in params.items()}
    norm = torch.sqrt(sum(((sizes[name] * tensor.grad) ** 2).sum() for name, tensor in params.items()))
    with torch.no_grad():
        for name, tensor in params.items():
            tensor += rho / norm * sizes[name] * sizes[name] * tensor.grad
    optimizer.zero_grad()
    torch_loss(params, inputs, wanted).backward()
    with torch.no_grad():
        for name, tensor in params.items():
            tensor.copy_(before[name])
    optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize("adaptive", [False, True])
def test_ten_steps_of_sam_agree_with_a_loop_written_by_hand_in_torch(adaptive):
    values, inputs, wanted = arrays()
    options = Sam(base=Sgd(momentum=0.9, nesterov=False), rho=0.5, adaptive=adaptive)
    optimizer = create_optimizer(options, lambda step: 0.1)
    gradients_of = create_gradients(options)
    params, state = jax.tree.map(jnp.asarray, values), None
    state = optimizer.init(params)
    tensors = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
    reference = torch.optim.SGD(tensors.values(), lr=0.1, momentum=0.9)
    target = np.asarray(wanted, np.float32)

    def value_and_gradient(params):
        return jax.value_and_grad(our_loss, has_aux=True)(params, inputs, target)

    for _ in range(10):
        (loss, extra), gradients = gradients_of(value_and_gradient, params)
        assert float(extra["mean"]) == pytest.approx(float(our_loss(params, inputs, target)[1]["mean"]))
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        expected = torch_sam(
            tensors, torch.tensor(inputs), torch.tensor(target), reference, options.rho, adaptive
        )
        assert float(loss) == pytest.approx(expected, rel=1e-5)
    for name, tensor in tensors.items():
        np.testing.assert_allclose(params[name], tensor.detach().numpy(), rtol=0, atol=1e-5)
    plain = create_gradients(AdamW())(value_and_gradient, params)[1]
    sharp = gradients_of(value_and_gradient, params)[1]
    assert np.abs(plain["first"] - sharp["first"]).max() > 1e-3


def test_where_the_gradient_is_zero_sam_stays_finite():
    params = {"weight": jnp.ones(3)}
    _, gradients = sam_gradients(
        jax.value_and_grad(lambda params: 0.0 * params["weight"].sum()), params, 0.1, False
    )
    np.testing.assert_array_equal(gradients["weight"], 0.0)
