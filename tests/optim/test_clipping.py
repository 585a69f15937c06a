import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from optimizer_cases import SHAPES, as_torch, assert_same, gradients_at, our_steps, parameters, torch_steps

from sketch_jax.optim.clipping import clip
from sketch_jax.optim.options import AdamW, Sgd
from sketch_jax.optim.treatments import rate_of_one, treatment_of
from sketch_jax.trees import flatten, map_with_path

torch = pytest.importorskip("torch")
pytest.importorskip("timm")


def treatments(params):
    return map_with_path(functools.partial(treatment_of, rate_of=rate_of_one), params)


def clipped_by_norm(tensors):
    torch.nn.utils.clip_grad_norm_(tensors.values(), 1.0)


def clipped_by_value(tensors):
    torch.nn.utils.clip_grad_value_(tensors.values(), 0.3)


def clipped_by_units(tensors):
    from timm.utils.agc import adaptive_clip_grad

    adaptive_clip_grad(
        [tensor for path, tensor in tensors.items() if not path.startswith("head")], clip_factor=0.3
    )


CASES = {
    "norm": ({"clip_norm": 1.0}, clipped_by_norm),
    "value": ({"clip_value": 0.3}, clipped_by_value),
    "units": ({"clip_ratio": 0.3}, clipped_by_units),
}


@pytest.mark.parametrize("case", CASES)
def test_clipped_gradients_agree_with_torch_and_timm(case):
    fields, clip_tensors = CASES[case]
    params, gradients = parameters(), gradients_at(0, parameters())
    params["mlp"]["fc2"]["kernel"] *= 0.0
    ours = clip(AdamW(**fields), gradients, params, treatments(params))
    tensors = {path: as_torch(path, leaf) for path, leaf in flatten(params).items()}
    for path, gradient in flatten(gradients).items():
        tensors[path].grad = as_torch(path, gradient)
    clip_tensors(tensors)
    assert_same(ours, {path: tensor.grad.numpy() for path, tensor in tensors.items()}, 1e-6)
    changed = {
        path for path, leaf in flatten(ours).items() if not np.array_equal(leaf, flatten(gradients)[path])
    }
    expected = {path for path in SHAPES if not path.startswith("head")} if case == "units" else set(SHAPES)
    assert changed == expected


def test_adaptive_clipping_keeps_units_below_the_limit_as_they_are():
    params = {"fc1": {"kernel": jnp.asarray([[1.0, 1.0], [0.0, 0.0]])}}
    gradients = {"fc1": {"kernel": jnp.asarray([[0.3, 0.0], [0.4, 5.0]])}}
    ours = clip(AdamW(clip_ratio=1.0), gradients, params, treatments(params))
    np.testing.assert_allclose(ours["fc1"]["kernel"], [[0.3, 0.0], [0.4, 1.0]], rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_ten_clipped_steps_agree_with_torch(case):
    fields, clip_tensors = CASES[case]
    options = Sgd(weight_decay=0.1, **fields)
    trajectory, _ = our_steps(options)
    expected = torch_steps(
        lambda groups: [torch.optim.SGD(groups, momentum=0.9, nesterov=True)],
        options,
        trajectory,
        before_step=clip_tensors,
    )
    assert_same(trajectory[-1], expected)


def test_without_clipping_gradients_stay_the_same_objects():
    gradients = gradients_at(0, parameters())
    ours = clip(AdamW(), gradients, parameters(), treatments(parameters()))
    assert all(
        left is right for left, right in zip(jax.tree.leaves(ours), jax.tree.leaves(gradients), strict=True)
    )
