"""From records to losses: weights of classes, sums, tasks, extreme logits, and what is refused."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from loss_cases import everything, hard_targets, mixed_targets, sample

from sketch_jax.errors import InputError
from sketch_jax.losses import options, softmax
from sketch_jax.losses.class_weights import class_weights
from sketch_jax.losses.create import create_loss
from sketch_jax.losses.factors import join_log_probabilities, split_logits, task_targets
from sketch_jax.losses.options import (
    CrossEntropy,
    EffectiveNumber,
    InverseFrequency,
    MultiTask,
    Ordinal,
    Regression,
    SoftMacroF1,
    TaskLoss,
    WeightedSum,
)
from sketch_jax.tasks import Tasks, cross_product, joined_names

COUNTS = np.array([40, 20, 10, 4, 3, 2, 1])
RECORDS = [
    options.CrossEntropy(),
    options.BinaryCrossEntropy(target_threshold=0.2),
    options.Focal(gamma=0.5),
    options.SigmoidFocal(gamma=0.5),
    options.Asymmetric(),
    options.SigmoidAsymmetric(),
    options.SigmoidAsymmetric(clip=0.0, gamma_positive=0.5),
    options.SoftMacroF1(),
    options.LogitAdjusted(),
    WeightedSum(losses=(options.Focal(), options.SoftMacroF1()), weights=(1.0, 0.5)),
    Ordinal(),
    Regression(),
]


def logits_of(record):
    logits, labels = sample(rows=8)
    width = create_loss(record, COUNTS).heads.get("classes", 7)
    return logits[:, :width], labels


def test_soft_f1_at_hard_probabilities_is_one_minus_scikit_learns_macro_f1():
    reference = pytest.importorskip("sklearn.metrics")
    logits, labels = sample()
    labels, answers = np.where(labels == 6, 0, labels), logits.argmax(-1)
    targets = jnp.asarray(hard_targets(labels))
    loss = softmax.soft_macro_f1(jnp.asarray(logits) * 1e4, targets, everything(logits))
    expected = reference.f1_score(labels, answers, average="macro", labels=np.unique(labels))
    assert 6 in answers
    assert float(loss) == pytest.approx(1 - expected, abs=1e-6)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_no_loss_counts_a_masked_row(record):
    logits, labels = logits_of(record)
    targets, mask = jnp.asarray(mixed_targets(labels)), jnp.arange(8) < 5
    loss = create_loss(record, COUNTS).loss
    alone = loss(jnp.asarray(logits[:5]), targets[:5], mask[:5])
    value, gradient = jax.value_and_grad(loss)(jnp.asarray(logits).at[5:].set(30.0), targets, mask)
    assert float(value) == pytest.approx(float(alone), rel=1e-6)
    np.testing.assert_array_equal(gradient[5:], 0.0)
    assert np.abs(gradient[:5]).max(axis=-1).min() > 0


@pytest.mark.parametrize("size", [200.0, 1e4])
@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_extreme_logits_give_finite_losses_and_gradients(record, size):
    logits, labels = logits_of(record)
    signs = np.sign(logits) * size
    for targets in (hard_targets(labels), mixed_targets(labels)):
        value, gradient = jax.value_and_grad(create_loss(record, COUNTS).loss)(
            jnp.asarray(signs), jnp.asarray(targets), everything(labels)
        )
        assert np.isfinite(float(value))
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    "record", [options.Asymmetric(label_smoothing=0.0), options.SigmoidAsymmetric(clip=0.0)]
)
def test_the_asymmetric_loss_takes_no_logarithm_of_zero(record):
    """A right class of probability 0 costs its logit's distance, 1e4 nats, and no wrong class anything."""
    logits = jnp.asarray([[-1e4, 0.0, -2e4]])
    if isinstance(record, options.SigmoidAsymmetric):
        logits = jnp.asarray([[-1e4, -1e4, -2e4]])
    targets = jnp.asarray([[1.0, 0.0, 0.0]])
    assert float(create_loss(record, COUNTS[:3]).loss(logits, targets, jnp.ones(1, bool))) == pytest.approx(
        1e4
    )


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_bfloat16_logits_are_taken_in_float32(record):
    logits, labels = logits_of(record)
    low = jnp.asarray(logits, jnp.bfloat16)
    loss, targets = create_loss(record, COUNTS).loss, jnp.asarray(mixed_targets(labels))
    value = loss(low, targets, everything(labels))
    assert value.dtype == jnp.float32
    assert float(value) == float(loss(low.astype(jnp.float32), targets, everything(labels)))


@pytest.mark.parametrize("name", ["CrossEntropy", "BinaryCrossEntropy", "Focal", "SigmoidFocal"])
def test_smoothing_and_class_weights_of_a_record_reach_the_loss(name):
    logits, labels = sample()
    arguments = jnp.asarray(logits), jnp.asarray(hard_targets(labels)), everything(labels)
    kind = getattr(options, name)
    variants = [
        kind(label_smoothing=0.0),
        kind(label_smoothing=0.3),
        kind(label_smoothing=0.0, class_weights=InverseFrequency()),
        kind(label_smoothing=0.0, class_weights=EffectiveNumber(beta=0.9)),
    ]
    values = {round(float(create_loss(record, COUNTS).loss(*arguments)), 5) for record in variants}
    assert len(values) == 4


def test_inverse_frequency_is_scikit_learns_balanced_weight():
    reference = pytest.importorskip("sklearn.utils.class_weight").compute_class_weight
    labels = np.repeat(np.arange(7), COUNTS)
    expected = reference("balanced", classes=np.arange(7), y=labels)
    np.testing.assert_allclose(class_weights(InverseFrequency(), COUNTS), expected)
    np.testing.assert_allclose(class_weights(InverseFrequency(multiplier=3.0), COUNTS), 3 * expected)
    np.testing.assert_allclose(class_weights(InverseFrequency(exponent=0.0), COUNTS), 1.0)


def test_effective_numbers_are_those_of_the_paper_with_mean_1_over_images():
    weights = class_weights(EffectiveNumber(beta=0.9), COUNTS)
    paper = (1 - 0.9) / (1 - 0.9**COUNTS)
    np.testing.assert_allclose(weights / weights[0], paper / paper[0])
    assert np.sum(weights * COUNTS) / COUNTS.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(class_weights(EffectiveNumber(beta=0.0), COUNTS), 1.0)


def test_a_class_without_images_has_no_weight_and_moves_no_other():
    found = class_weights(InverseFrequency(), np.array([30, 0, 10]))
    np.testing.assert_allclose(found, [2 / 3, 0.0, 2.0])


def test_a_weighted_sum_adds_its_losses():
    logits, labels = sample()
    arguments = jnp.asarray(logits), jnp.asarray(hard_targets(labels)), everything(labels)
    parts = CrossEntropy(), SoftMacroF1()
    both = create_loss(WeightedSum(losses=parts, weights=(0.5, 2.0)), COUNTS).loss(*arguments)
    values = [float(create_loss(part, COUNTS).loss(*arguments)) for part in parts]
    assert float(both) == pytest.approx(0.5 * values[0] + 2.0 * values[1], rel=1e-6)


TASKS = cross_product({"mask": ("worn", "wrong", "none"), "gender": ("m", "f"), "age": ("y", "m", "o")})


def test_the_eighteen_classes_are_mask_6_gender_3_age():
    labels = np.arange(18)
    assert TASKS.members == (
        tuple(labels // 6),
        tuple(labels // 3 % 2),
        tuple(labels % 3),
    )
    assert joined_names(TASKS)[7] == "wrong/m/m"


def test_soft_class_targets_become_the_marginals_of_each_task():
    targets = np.random.default_rng(0).dirichlet(np.ones(18), 5).astype(np.float32)
    cube = targets.reshape(5, 3, 2, 3)
    found = task_targets(jnp.asarray(targets), TASKS)
    np.testing.assert_allclose(found["mask"], cube.sum((2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found["gender"], cube.sum((1, 3)), rtol=1e-5)
    np.testing.assert_allclose(found["age"], cube.sum((1, 2)), rtol=1e-5)


def joined(logits, tasks):
    parts = split_logits(jnp.asarray(logits), [len(names) for names in tasks.class_names])
    return join_log_probabilities([jax.nn.log_softmax(part) for part in parts], tasks)


def test_joined_logits_are_the_products_of_the_tasks_probabilities():
    logits = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    parts = [np.exp(part) / np.exp(part).sum(-1, keepdims=True) for part in np.split(logits, [3, 5], -1)]
    expected = np.einsum("ba,bc,bd->bacd", *parts).reshape(4, 18)
    np.testing.assert_allclose(jax.nn.softmax(joined(logits, TASKS)), expected, rtol=2e-6)


def test_classes_may_be_any_combinations_of_tasks():
    some = Tasks(names=("a", "b"), class_names=(("x", "y"), ("u", "v")), members=((0, 1, 1), (1, 0, 1)))
    logits = jnp.asarray([[2.0, -1.0, 0.5, 0.0]])
    first, second = jax.nn.log_softmax(logits[:, :2]), jax.nn.log_softmax(logits[:, 2:])
    expected = [first[0, 0] + second[0, 1], first[0, 1] + second[0, 0], first[0, 1] + second[0, 1]]
    np.testing.assert_allclose(joined(logits, some)[0], expected, rtol=1e-6)


def test_a_loss_of_tasks_is_their_weighted_sum_over_their_own_logits():
    record = MultiTask(
        losses=(TaskLoss(task="age", loss=Ordinal(), weight=2.0), TaskLoss(task="gender", loss=Regression()))
    )
    counts = np.arange(1, 19)
    objective = create_loss(record, counts, TASKS)
    assert dict(objective.heads) == {"mask": 3, "gender": 1, "age": 2}
    assert objective.ordinal_heads == ("age",)
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(5, 6)), jnp.float32)
    targets = jnp.asarray(np.eye(18, dtype=np.float32)[[0, 5, 9, 13, 17]])
    mask = jnp.asarray([True, True, True, True, False])
    own = task_targets(targets, TASKS)
    expected = (
        create_loss(CrossEntropy(), counts[:3]).loss(logits[:, :3], own["mask"], mask)
        + create_loss(Regression(), counts[:2]).loss(logits[:, 3:4], own["gender"], mask)
        + 2.0 * create_loss(Ordinal(), counts[:3]).loss(logits[:, 4:], own["age"], mask)
    )
    assert float(objective.loss(logits, targets, mask)) == pytest.approx(float(expected), rel=1e-6)
    answers = objective.class_logits(logits)
    assert answers.shape == (5, 18)
    np.testing.assert_allclose(np.exp(answers).sum(-1), 1.0, rtol=1e-4)


def test_class_weights_of_a_task_come_from_the_images_of_its_own_classes():
    counts = np.arange(1, 19)
    by_mask = np.array([counts[:6].sum(), counts[6:12].sum(), counts[12:].sum()])
    record = CrossEntropy(label_smoothing=0.0, class_weights=InverseFrequency())
    losses = tuple(TaskLoss(task=name, loss=CrossEntropy(), weight=0.0) for name in ("gender", "age"))
    objective = create_loss(MultiTask(losses=(TaskLoss(task="mask", loss=record), *losses)), counts, TASKS)
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(1, 8)), jnp.float32)
    value = objective.loss(logits, jnp.asarray(np.eye(18, dtype=np.float32)[[8]]), jnp.ones(1, bool))
    weight = by_mask.sum() / (3 * by_mask[1])
    assert float(value) == pytest.approx(-weight * float(jax.nn.log_softmax(logits[0, :3])[1]), rel=1e-5)


def message(build):
    with pytest.raises(InputError) as caught:
        build()
    return str(caught.value)


def test_numbers_out_of_their_ranges_are_refused_all_at_once():
    assert message(lambda: options.Focal(gamma=-1.0, label_smoothing=1.0)) == (
        "Focal: numbers of the loss out of their ranges (2):\n"
        "  --loss.label-smoothing 1: must be at least 0 and below 1\n"
        "  --loss.gamma -1: must be at least 0\n"
        "set them in these ranges"
    )
    assert "--loss.beta 1: must be" in message(lambda: EffectiveNumber(beta=1.0))
    assert "--loss.multiplier 0: must be above 0" in message(lambda: InverseFrequency(multiplier=0.0))
    assert "--loss.gamma nan: must be" in message(lambda: options.Focal(gamma=float("nan")))
    assert message(lambda: WeightedSum(weights=(1.0,))) == (
        "WeightedSum: every loss needs a weight (1):\n"
        "  --loss.weights: 1 weights for 2 losses\n"
        "give one weight for each loss"
    )
    assert "--loss.values 2 1: must rise" in message(lambda: Regression(values=(2.0, 1.0)))


def test_losses_that_do_not_fit_the_tasks_are_refused():
    assert message(lambda: create_loss(MultiTask(), COUNTS)) == (
        "--loss: MultiTask needs a source whose classes are made of tasks: MaskFolders, or Csv with "
        "--source.task-columns; choose one of them, or another loss"
    )
    unknown = MultiTask(losses=(TaskLoss(task="ages"),))
    assert message(lambda: create_loss(unknown, np.ones(18, int), TASKS)) == (
        "--loss.losses: task ages: the source has no such task; its tasks are 'mask', 'gender', 'age'; "
        "did you mean 'age'?"
    )
    twice = MultiTask(losses=(TaskLoss(task="age"), TaskLoss(task="age")))
    assert "a task has one loss (1):\n  'age'" in message(lambda: create_loss(twice, np.ones(18, int), TASKS))


def test_a_direct_loss_leaves_logits_as_they_are():
    objective = create_loss(options.LogitAdjusted(), COUNTS)
    logits = jnp.asarray(sample()[0])
    assert objective.class_logits(logits) is logits
    assert objective.heads == {}


def test_smoothing_is_that_of_the_targets():
    logits, labels = sample()
    arguments = jnp.asarray(logits), jnp.asarray(mixed_targets(labels)), everything(labels)
    found = create_loss(CrossEntropy(label_smoothing=0.2), COUNTS).loss(*arguments)
    smooth = softmax.smooth_targets(arguments[1], 0.2)
    assert float(found) == pytest.approx(float(softmax.cross_entropy(arguments[0], smooth, arguments[2])))
