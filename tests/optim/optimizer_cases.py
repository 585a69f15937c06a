"""Parameters of every kind, gradients for them, and both sides of a comparison with torch."""

import jax
import numpy as np
import optax
from jax import numpy as jnp

from sketch_jax.optim.optimizer import create_optimizer
from sketch_jax.optim.options import base_of
from sketch_jax.optim.treatments import is_decayed, rate_of_one
from sketch_jax.trees import flatten, unflatten
from sketch_jax.weights.names import timm_axes

SHAPES = {
    "pos_embed": (1, 4, 8),
    "patch_embed/proj/kernel": (2, 2, 3, 8),
    "conv/kernel": (3, 3, 8, 16),
    "depthwise/kernel": (3, 3, 1, 16),
    "mlp/fc1/kernel": (8, 24),
    "mlp/fc1/bias": (24,),
    "mlp/fc2/kernel": (24, 8),
    "norm/scale": (8,),
    "norm/bias": (8,),
    "head/kernel": (24, 5),
    "head/bias": (5,),
}

RATES = {"patch_embed": 0.25, "conv": 0.5, "mlp": 0.75}


def rate_by_part(path):
    return RATES.get(path.split("/")[0], 1.0)


def parameters():
    generator = np.random.default_rng(0)
    leaves = {path: jnp.asarray(generator.normal(size=shape), jnp.float32) for path, shape in SHAPES.items()}
    return unflatten(leaves)


def gradients_at(step, params):
    """Random ones, but that of `fc1` is orthogonal to each unit's weights, that of `conv` to all of them."""
    generator = np.random.default_rng(step + 1)
    leaves = {}
    for path, weight in flatten(params).items():
        weight = np.asarray(weight, np.float64)
        gradient = generator.normal(size=weight.shape)
        if path == "mlp/fc1/kernel":
            gradient -= weight * (weight * gradient).sum(0) / (weight**2).sum(0)
        if path == "conv/kernel":
            gradient -= weight * (weight * gradient).sum() / (weight**2).sum()
        leaves[path] = jnp.asarray(gradient, jnp.float32)
    return unflatten(leaves)


def schedule(step):
    return 0.01 + 0.002 * step


def our_steps(options, rate_of=rate_of_one, count=10):
    """(parameters before each step and after the last, state of the optimizer)."""
    optimizer = create_optimizer(options, schedule, rate_of)
    update = jax.jit(optimizer.update)
    params = parameters()
    trajectory, state = [params], optimizer.init(params)
    for step in range(count):
        updates, state = update(gradients_at(step, params), state, params)
        params = optax.apply_updates(params, updates)
        trajectory.append(params)
    return trajectory, state


def as_torch(path, leaf):
    """A leaf as a tensor in timm's layout."""
    import torch

    leaf = np.asarray(leaf)
    return torch.tensor(np.ascontiguousarray(leaf.transpose(timm_axes(path, leaf.ndim))))


def torch_steps(create, options, trajectory, rate_of=rate_of_one, before_step=lambda tensors: None):
    """What torch makes of the same gradients, by path.

    Args:
        create: groups, each of one tensor with its `weight_decay` and its `path` -> torch optimizers.
        options: of ours, for the weight decay.
        trajectory: our parameters, at which gradients are taken.
        rate_of: path -> factor of the rate.
        before_step: may change the gradients of the tensors.
    """
    tensors = {path: as_torch(path, leaf) for path, leaf in flatten(trajectory[0]).items()}
    decay = base_of(options).weight_decay
    groups = [
        {
            "params": [tensor.requires_grad_()],
            "weight_decay": decay if is_decayed(path, flatten(trajectory[0])[path]) else 0.0,
            "path": path,
            "lr": 1.0,
        }
        for path, tensor in tensors.items()
    ]
    optimizers = create(groups)
    for step, params in enumerate(trajectory[:-1]):
        for path, gradient in flatten(gradients_at(step, params)).items():
            tensors[path].grad = as_torch(path, gradient)
        before_step(tensors)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = schedule(step) * rate_of(group["path"])
            optimizer.step()
    return {path: tensor.detach().numpy() for path, tensor in tensors.items()}


def assert_same(params, expected, tolerance=1e-5):
    """Compares our parameters with arrays in timm's layout."""
    leaves = flatten(params)
    assert leaves.keys() == expected.keys()
    for path, leaf in leaves.items():
        ours = np.asarray(as_torch(path, leaf))
        np.testing.assert_allclose(ours, expected[path], rtol=0, atol=tolerance, err_msg=path)
