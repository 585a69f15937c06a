"""Comparison of a convolutional model with timm's, every parameter and statistic random."""

import dataclasses
import re

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from sketch_jax.models.model import Request
from sketch_jax.trees import flatten, unflatten

torch = pytest.importorskip("torch")

STATISTICS = {"running_mean": "mean", "running_var": "var"}


ASKED = {field.name for field in dataclasses.fields(Request)}


def build(family, name, image_size=45, *, classes=7, **changes):
    """A model of a family's module; changes are of the request, or of the architecture's record."""
    request = {key: changes.pop(key) for key in ASKED & changes.keys()}
    architecture = dataclasses.replace(family.ARCHITECTURES[name], **changes)
    return family.create(
        architecture, Request(name=name, class_count=classes, image_size=image_size, **request)
    )


def flax_path(name, ndim):
    """timm's parameter name as a path: numbers join the name before them."""
    *modules, leaf = re.sub(r"\.(\d+)(?=\.)", r"_\1", name).split(".")
    if leaf == "weight":
        leaf = "scale" if ndim == 1 else "kernel"
    elif leaf == "scale":
        leaf = "scale_"
    return "/".join([*modules, STATISTICS.get(leaf, leaf)])


def flax_shape(name, shape):
    """Output axis last: OIHW -> HWIO, [out, in] -> [in, out]; what is no weight stays."""
    turned = name.endswith("weight") and len(shape) > 1
    return (*shape[2:], *shape[1::-1]) if turned else tuple(shape)


def flax_array(name, tensor):
    array = tensor.detach().numpy()
    turned = name.endswith("weight") and array.ndim > 1
    return array.transpose(*range(2, array.ndim), 1, 0) if turned else array.copy()


def to_flax(named_tensors, convert=flax_array):
    """torch's names and tensors as (parameters, statistics), both flat."""
    params, statistics = {}, {}
    for name, tensor in named_tensors:
        if not name.endswith("num_batches_tracked"):
            place = statistics if name.rpartition(".")[2] in STATISTICS else params
            place[flax_path(name, tensor.ndim)] = convert(name, tensor)
    return params, statistics


def torch_tree(torch_model):
    """Paths and shapes of a torch model, which may be on the meta device: (parameters, statistics)."""
    return to_flax(torch_model.state_dict().items(), lambda name, tensor: flax_shape(name, tensor.shape))


def our_tree(model):
    """Paths and shapes of a model of ours, without computing it: (parameters, statistics)."""
    trees = jax.eval_shape(model.init, jax.random.key(0))
    return tuple({path: leaf.shape for path, leaf in flatten(tree).items()} for tree in trees)


def randomise(torch_model, seed=0):
    """Gives every parameter and statistic a random value, of sizes that keep activations of order 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in torch_model.state_dict().items():
        normal = torch.randn(tensor.shape, generator=generator)
        leaf = name.rpartition(".")[2]
        if leaf == "running_var":
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif leaf in ("running_mean", "bias"):
            tensor.copy_(0.2 * normal)
        elif leaf in ("gamma", "scale", "gain", "skipinit_gain") or (leaf == "weight" and tensor.ndim == 1):
            tensor.copy_(0.8 + 0.2 * normal)
        elif leaf == "weight":
            tensor.copy_((1.5 / tensor[0].numel()) ** 0.5 * normal)
        elif leaf == "relative_position_bias_table":
            tensor.copy_(normal)
    return torch_model


def converted(torch_model):
    """The (parameters, statistics) of a torch model, as trees."""
    leaves = to_flax(
        torch_model.state_dict().items(), lambda name, tensor: jnp.asarray(flax_array(name, tensor))
    )
    return tuple(unflatten(part) for part in leaves)


def random_images(size, batch=4, seed=1):
    """Normal noise; four of 45 pixels are enough that batch norm does not magnify rounding."""
    return np.random.default_rng(seed).normal(size=(batch, size, size, 3)).astype(np.float32)


def cotangent(shape):
    return np.random.default_rng(2).normal(size=tuple(shape)).astype(np.float32)


def channels_first(images):
    return torch.tensor(np.asarray(images)).permute(0, 3, 1, 2)


def channels_last(tensor):
    return tensor.detach().permute(0, 2, 3, 1).numpy()


def torch_answers(torch_model, images, train):
    """Features, logits, statistics afterwards, gradients."""
    torch_model.train(train)
    torch_model.zero_grad()
    features = torch_model.forward_features(channels_first(images))
    logits = torch_model.forward_head(features)
    (logits * torch.tensor(cotangent(logits.shape))).sum().backward()
    gradients, _ = to_flax((name, parameter.grad) for name, parameter in torch_model.named_parameters())
    _, statistics = to_flax(torch_model.state_dict().items())
    return channels_last(features), logits.detach().numpy(), statistics, gradients


def our_answers(model, params, statistics, images, train, key=0):
    """Features, logits, statistics afterwards."""
    features, logits, updated = jax.jit(forward(model, statistics, images, train, key))(params)[1]
    return features, logits, flatten(updated)


def our_answers_with_gradients(model, params, statistics, images, train, key=0):
    """As `torch_answers`."""
    objective = jax.grad(forward(model, statistics, images, train, key), has_aux=True)
    gradients, (features, logits, updated) = jax.jit(objective)(params)
    return features, logits, flatten(updated), flatten(gradients)


def forward(model, statistics, images, train, key):
    """The function of the parameters that is compiled."""
    features_key, head_key = jax.random.split(jax.random.key(key))

    def objective(params):
        features, updated = model.features(params, statistics, jnp.asarray(images), features_key, train)
        read, _ = model.read_features(params, statistics, jnp.asarray(images), features_key, train)
        logits = model.head(params, read, head_key, train)
        return (logits * cotangent(logits.shape)).sum(), (features, logits, updated)

    return objective


def assert_parity(model, torch_model, train, answer=our_answers_with_gradients):
    """Features and logits within 1e-4, gradients within 1e-3 of their largest, statistics within 1e-5."""
    params, statistics = converted(randomise(torch_model))
    images = random_images(model.image_size)
    features, logits, updated, *gradients = answer(model, params, statistics, images, train)
    references = torch_answers(torch_model, images, train)
    for mine, reference in zip((features, logits), references[:2], strict=True):
        assert 0.05 < np.abs(reference).mean() < 5, "random weights of another scale prove nothing"
        np.testing.assert_allclose(mine, reference, rtol=0, atol=1e-4)
    assert updated.keys() == references[2].keys()
    for path, reference in references[2].items():
        np.testing.assert_allclose(updated[path], reference, rtol=1e-5, atol=1e-5, err_msg=path)
    for mine in gradients:
        assert_gradients_agree(mine, references[3])


def assert_forward_parity(model, torch_model, train):
    """As `assert_parity`, without the gradients, whose compilation takes longest."""
    assert_parity(model, torch_model, train, our_answers)


def assert_gradients_agree(ours, theirs):
    """Within 1e-3 of the largest value of each parameter's gradient, unless it is zero but for rounding.

    Where batch statistics follow a linear map, a shift before it cancels: its gradient is a sum to zero.
    """
    assert ours.keys() == theirs.keys()
    rounding = 1e-5 * max(np.abs(gradient).max() for gradient in theirs.values())
    for path, reference in theirs.items():
        largest = np.abs(reference).max()
        error = np.abs(ours[path] - reference).max()
        assert largest > 0, f"no gradient reaches {path}"
        assert error < 1e-3 * largest or max(error, largest) < rounding, (path, error, largest, rounding)


def assert_new_parameters_are_distributed_as_timms(model, torch_model):
    """Constants are equal; the spread and the largest value of the random ones agree."""
    params, statistics = jax.jit(model.init)(jax.random.key(0))
    ours = flatten(params) | flatten(statistics)
    theirs = {}
    for leaves in to_flax(torch_model.state_dict().items()):
        theirs |= leaves
    assert ours.keys() == theirs.keys()
    for path, reference in theirs.items():
        if reference.std() == 0:
            np.testing.assert_array_equal(ours[path], reference, err_msg=path)
        elif reference.size >= 400:
            assert 0.8 < np.std(ours[path]) / reference.std() < 1.25, path
            assert 0.6 < np.abs(ours[path]).max() / np.abs(reference).max() < 1.6, path
