"""Heads in place of timm's: layers, starts, named tasks, dropout."""

import re

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from sketch_jax.errors import InputError
from sketch_jax.losses.factors import split_logits
from sketch_jax.models.architectures import create_model
from sketch_jax.models.head_options import HeadOptions
from sketch_jax.models.heads import create_pooled_head, replace_head, replaces_head
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.models.trained_parameters import is_in_head
from sketch_jax.trees import flatten
from sketch_jax.weights.load import fit
from sketch_jax.weights.names import to_timm
from sketch_jax.weights.sources import Weights

TINY = {"embed_dim": 12, "depth": 1, "num_heads": 3}
FAMILIES = {
    "vit_tiny_patch16_224": (TINY, "head"),
    "deit_tiny_distilled_patch16_224": (TINY, "head"),
    "eva02_tiny_patch14_224": ({"embed_dim": 16, "depth": 1, "num_heads": 2, "patch_size": 16}, "head"),
    "resnet18": ({"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}, "fc"),
    "mobilenetv2_035": ({}, "classifier"),
    "caformer_s18": ({"depths": (1, 1, 1, 1), "dims": (32, 32, 32, 64)}, "head/fc"),
}
CLASSES = 5


def create(name="vit_tiny_patch16_224", *, classes=CLASSES, tasks=None, ordinal=(), dropout=0.0, **options):
    model = create_model(name, arguments=FAMILIES[name][0], class_count=classes, image_size=32)
    return replace_head(model, HeadOptions(**options), tasks=tasks or {}, ordinal=ordinal, dropout=dropout)


def new_parameters(model):
    params, statistics = jax.jit(model.init)(jax.random.key(0))
    return params, statistics, flatten(params)


def features_of(model, batch=3):
    features = jax.eval_shape(
        lambda: model.features(*model.init(jax.random.key(0)), jnp.zeros((batch, 32, 32, 3)), None, False)[0]
    )
    return jnp.asarray(np.random.default_rng(0).normal(size=features.shape), jnp.float32)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_mlp_takes_the_place_of_any_familys_classifier(name):
    torch = pytest.importorskip("torch")
    model, place = create(name, hidden=(7, 6), activation="gelu"), FAMILIES[name][1]
    params, _, leaves = new_parameters(model)
    widths = [(model.feature_width, 7), (7, 6), (6, CLASSES)]
    assert {path: leaf.shape for path, leaf in leaves.items() if path.startswith(place)} == {
        f"{place}/fc{index}/{part}": shape[-1:] if part == "bias" else shape
        for index, shape in enumerate(widths, 1)
        for part in ("kernel", "bias")
    }
    assert not any(path.startswith("head_dist") for path in leaves)
    features = features_of(model)
    logits = jax.jit(lambda: model.head(params, features, None, False))()
    expected = torch.tensor(np.asarray(model.pool(params, features)))
    for index in (1, 2, 3):
        kernel, bias = (np.asarray(leaves[f"{place}/fc{index}/{part}"]) for part in ("kernel", "bias"))
        expected = torch.nn.functional.linear(expected, torch.tensor(kernel.T), torch.tensor(bias))
        expected = torch.nn.functional.gelu(expected) if index < 3 else expected
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-5, atol=1e-5)
    assert logits.dtype == jnp.float32


def test_hidden_features_are_thinned_in_training_alone_and_scaled():
    head = create_pooled_head(HeadOptions(hidden=(400,), dropout=0.75), 3, 2)
    params = head.init(jax.random.key(0))
    params["fc1"] = {"kernel": jnp.zeros((3, 400)), "bias": jnp.ones(400)}
    params["fc2"] = {"kernel": jnp.tile(jnp.eye(2), (200, 1)), "bias": jnp.zeros(2)}
    pooled = jnp.ones((6, 3))
    np.testing.assert_allclose(head.apply(params, pooled, None, False), 200.0)
    thinned = np.asarray(head.apply(params, pooled, jax.random.key(1), True))
    kept = thinned / 4.0  # each kept one counts four times
    np.testing.assert_array_equal(kept, np.round(kept))
    # Of 200 features a quarter stays: deviation of a count sqrt(200 * .25 * .75) = 6.1.
    assert (np.abs(kept - 50) < 5 * 6.2).all()
    assert len(set(kept.ravel().tolist())) > 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": (4,), "dropout": 1.0}, "--model.head.dropout 1: must be at least 0 and below 1"),
        ({"dropout": 0.5}, "--model.head.dropout: it is of hidden layers; set --model.head.hidden, too"),
    ],
)
def test_a_dropout_that_no_head_can_have_is_refused(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        HeadOptions(**options)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_after_the_features_gets_a_gradient(name):
    model = create(name, start="xavier_uniform")
    params, _, leaves = new_parameters(model)
    features = features_of(model)

    def loss(params):
        return jnp.square(model.head(params, features, None, False) - 1.0).sum()

    gradients = flatten(jax.grad(loss)(params))
    after = [path for path in leaves if is_in_head(model, path)]
    assert f"{model.classifier}/kernel" in after
    for path in after:
        assert np.abs(gradients[path]).max() > 0, path


@pytest.mark.parametrize("name", FAMILIES)
def test_pretrained_weights_start_what_a_new_head_reads(name):
    arguments, _ = FAMILIES[name]
    whole = create_model(name, arguments=arguments, class_count=9, image_size=32)
    params, statistics = jax.device_get(jax.jit(whole.init)(jax.random.key(1)))
    model = create(name, hidden=(4,))
    fresh = jax.device_get(jax.jit(model.init)(jax.random.key(0))[0])
    fitted = fit(
        Weights(tensors=to_timm(params, statistics), config={}, fingerprint="", origin="here"),
        jax.eval_shape(model.init, jax.random.key(0)),
        architecture=name,
        classifier=model.classifier,
        further_classifiers=whole.further_classifiers,
        fresh=fresh,
    )
    old, new = flatten(params), flatten(fresh)
    for path, leaf in flatten(fitted.params).items():
        np.testing.assert_array_equal(leaf, new[path] if path.startswith(model.classifier) else old[path])


def test_a_changed_parameter_of_the_head_changes_the_logits():
    model = create(hidden=(7,))
    params, _, leaves = new_parameters(model)
    features = features_of(model)
    before = np.asarray(model.head(params, features, None, False))
    for path in [path for path in leaves if path.startswith("head/")]:
        *parents, leaf = path.split("/")
        changed = jax.tree.map(jnp.asarray, params)
        node = changed["head"][parents[-1]]
        node[leaf] = node[leaf] + 1.0
        assert np.abs(model.head(changed, features, None, False) - before).max() > 1e-3, path


def test_a_single_map_keeps_timms_names():
    _, _, leaves = new_parameters(create(start="xavier_uniform"))
    assert leaves["head/kernel"].shape == (12, CLASSES)
    assert leaves["head/bias"].shape == (CLASSES,)


@pytest.mark.parametrize("hidden", [(), (400,)])
def test_new_heads_start_as_torchs_do(hidden):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)
    fan_in = hidden[-1] if hidden else 12
    path = f"head/fc{len(hidden) + 1}" if hidden else "head"
    starts = {
        "default": None,
        "xavier_uniform": nn.init.xavier_uniform_,
        "truncated_normal": lambda weight: nn.init.trunc_normal_(weight, std=0.02),
    }
    for start, fill in starts.items():
        if start == "default" and not hidden:
            assert not replaces_head(HeadOptions())
            continue
        reference = nn.Linear(fan_in, 300)
        leaves = new_parameters(create(classes=300, hidden=hidden, start=start))[2]
        if fill is not None:
            fill(reference.weight)
            nn.init.zeros_(reference.bias)
        for part, expected in (("kernel", reference.weight), ("bias", reference.bias)):
            ours, expected = np.asarray(leaves[f"{path}/{part}"]), expected.detach().numpy()
            assert abs(ours.std() - expected.std()) <= 0.1 * expected.std(), (start, part)
            assert abs(np.abs(ours).max() - np.abs(expected).max()) <= 0.3 * np.abs(expected).max(), start


def by_task(model, params, features):
    parts = split_logits(model.head(params, features, None, False), list(model.tasks.values()))
    return dict(zip(model.tasks, parts, strict=True))


def test_named_tasks_have_heads_of_their_own_side_by_side():
    tasks = {"mask": 3, "gender": 2, "age": 3}
    model = create(tasks=tasks, hidden=(4,))
    params, _, leaves = new_parameters(model)
    assert (model.class_count, dict(model.tasks)) == (8, tasks)
    assert {path.split("/")[1] for path in leaves if path.startswith("head/")} == set(tasks)
    features = features_of(model)
    parts = by_task(model, params, features)
    assert {task: part.shape for task, part in parts.items()} == {
        task: (3, count) for task, count in tasks.items()
    }
    params["head"]["gender"]["fc2"]["bias"] += 1.0
    again = by_task(model, params, features)
    np.testing.assert_allclose(again["gender"], parts["gender"] + 1.0, rtol=1e-6)
    for task in ("mask", "age"):
        np.testing.assert_array_equal(again[task], parts[task])


@pytest.mark.parametrize("hidden", [(), (4,)])
def test_an_ordinal_head_is_one_score_with_a_bias_for_each_threshold(hidden):
    model = create(tasks={"age": 3, "mask": 2}, hidden=hidden, ordinal=("age",))
    params, _, leaves = new_parameters(model)
    assert {path.split("/")[2] for path in leaves if path.startswith("head/age/")} == {"score", "bias"}
    params["head"]["age"]["bias"] = jnp.asarray([1.0, 0.5, -2.0])
    features = features_of(model)
    logits = model.head(params, features, None, False)[:, :3]
    assert logits.shape == (3, 3)
    assert np.ptp(logits[:, 0]) > 0
    expected = jnp.broadcast_to(jnp.asarray([[-0.5, -2.5]]), (3, 2))
    np.testing.assert_allclose(jnp.diff(logits, axis=-1), expected, atol=1e-6)


def test_dropout_before_the_head_follows_the_key_and_keeps_the_mean():
    model = create(dropout=0.9, start="xavier_uniform")
    params, _, _ = new_parameters(model)
    features = features_of(model)
    draw = jax.jit(lambda key: model.head(params, features, key, True))
    draws = jax.vmap(draw)(jax.random.split(jax.random.key(1), 4000))
    np.testing.assert_array_equal(draw(jax.random.key(2)), draw(jax.random.key(2)))
    assert draws.std(0).min() > 0.1
    plain = model.head(params, features, None, False)
    deviation = draws.std(0) / len(draws) ** 0.5
    np.testing.assert_array_less(np.abs(draws.mean(0) - plain), 5 * deviation)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"eye color": 3}, r"task 'eye color': the name becomes a part of parameter paths; write letters"),
        ({"age2": 3}, r"task 'age2': the name becomes a part of parameter paths"),
        ({"age": 0}, r"task 'age': has 0 classes; it needs at least 1"),
    ],
)
def test_tasks_that_cannot_be_are_refused(tasks, message):
    with pytest.raises(InputError, match=message):
        create(tasks=tasks)


def test_options_that_cannot_be_are_refused_all_at_once():
    with pytest.raises(InputError) as refusal:
        HeadOptions(hidden=(0,), dropout_samples=0, rows="rows.json")
    assert str(refusal.value).splitlines() == [
        "the head cannot be built (3):",
        "  --model.head.hidden 0: must be at least 1",
        "  --model.head.dropout-samples 0: must be at least 1",
        "  --model.head.rows: rows fit one linear map; leave --model.head.hidden out",
        "change these options",
    ]


def test_samples_of_no_dropout_are_refused():
    with pytest.raises(
        InputError, match=r"--model\.head\.dropout-samples 4: without dropout all samples are the same"
    ):
        ModelOptions(head=HeadOptions(dropout_samples=4))
    ModelOptions(head=HeadOptions(dropout_samples=4), dropout=0.1)
