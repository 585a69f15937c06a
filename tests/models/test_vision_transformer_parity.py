"""Vision transformers and the EVA family beside timm's, everything random: tokens, logits and gradients."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from transformer_cases import CASES, EVA_CASES, SIZE

from sketch_jax.models.architectures import create_model
from sketch_jax.trees import flatten
from sketch_jax.weights.names import to_flax

CLASSES = 7


def random_timm_model(name, size=SIZE, **arguments):
    """timm's model with every parameter random, of sizes that keep activations of order 1."""
    timm = pytest.importorskip("timm")
    torch = pytest.importorskip("torch")
    model = timm.create_model(name, num_classes=CLASSES, img_size=size, **arguments)
    generator = torch.Generator().manual_seed(0)
    for path, tensor in model.state_dict().items():
        leaf = path.rpartition(".")[2]
        noise = torch.randn(tensor.shape, generator=generator)
        if leaf == "weight" and tensor.ndim > 1:
            tensor.copy_(noise * (1.5 / tensor[0].numel()) ** 0.5)
        elif leaf in ("weight", "gamma"):
            tensor.copy_(0.8 + 0.3 * noise)
        else:
            tensor.copy_(0.3 * noise)
    return model.eval()


def tensors_of(named):
    return {name: tensor.detach().numpy() for name, tensor in named}


def our_answers(model, params, images, weights):
    """Tokens, logits, and gradients of a weighted sum of both."""
    weights = [jnp.asarray(weight) for weight in weights]

    def objective(params):
        features, _ = model.features(params, {}, images, None, False)
        read, _ = model.read_features(params, {}, images, None, False)
        logits = model.head(params, read, None, False)
        total = sum(
            (answer * weight).sum() for answer, weight in zip((features, logits), weights, strict=True)
        )
        return total, (features, logits, model.pool(params, read))

    gradients, answers = jax.jit(jax.grad(objective, has_aux=True))(params)
    return *answers, flatten(gradients)


@pytest.mark.parametrize(("name", "arguments"), CASES.values(), ids=CASES.keys())
def test_a_vision_transformer_answers_as_timms(name, arguments):
    assert_parity(name, arguments)


@pytest.mark.parametrize(("name", "arguments"), EVA_CASES.values(), ids=EVA_CASES.keys())
def test_a_model_of_the_eva_family_answers_as_timms(name, arguments):
    assert_parity(name, arguments)


def assert_parity(name, arguments, size=SIZE, change=lambda model: None):
    """Everything agrees; `change` is given timm's model before both are compared."""
    torch = pytest.importorskip("torch")
    theirs = random_timm_model(name, size, **arguments)
    change(theirs)
    params, _ = to_flax(tensors_of(theirs.state_dict().items()))
    ours = create_model(name, arguments=arguments, class_count=CLASSES, image_size=size)

    images = np.random.default_rng(1).normal(size=(2, size, size, 3)).astype(np.float32)
    features = theirs.forward_features(torch.tensor(images).permute(0, 3, 1, 2))
    logits, pooled = theirs.forward_head(features), theirs.forward_head(features, pre_logits=True)
    random = np.random.default_rng(2)
    weights = [random.normal(size=tuple(answer.shape)).astype(np.float32) for answer in (features, logits)]
    sum(
        (answer * torch.tensor(weight)).sum()
        for answer, weight in zip((features, logits), weights, strict=True)
    ).backward()

    got = our_answers(ours, params, jnp.asarray(images), weights)
    for mine, reference in zip(got[:3], (features, logits, pooled), strict=True):
        reference = reference.detach().numpy()
        assert 0.1 < np.abs(reference).mean() < 10, "scale the random weights"
        np.testing.assert_allclose(mine, reference, rtol=0, atol=1e-4)
    expected = flatten(to_flax(tensors_of((n, p.grad) for n, p in theirs.named_parameters()))[0])
    assert got[3].keys() == expected.keys()
    for path, reference in expected.items():
        assert np.abs(reference).max() > 1e-3, f"no gradient reaches {path}"
        error = np.abs(got[3][path] - reference).max() / np.abs(reference).max()
        assert error < 1e-3, (path, error)
