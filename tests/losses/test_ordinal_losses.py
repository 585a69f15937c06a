"""Classes in an order: against torch, and against probabilities worked by hand."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from loss_cases import assert_equals_torch, everything, hard_targets, mixed_targets

from sketch_jax.errors import InputError
from sketch_jax.losses import ordinal
from sketch_jax.losses.create import create_loss
from sketch_jax.losses.numbers import Numbers
from sketch_jax.losses.options import InverseFrequency, Ordinal, Regression

LABELS = np.array([0, 1, 2, 3, 3, 2])
LOGITS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
HARD, MIXED = hard_targets(LABELS, 4), mixed_targets(LABELS, 4)


def test_the_ordinal_loss_is_the_binary_cross_entropy_of_corals_levels():
    torch = pytest.importorskip("torch")
    levels = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 0]]).float()

    def theirs(logits):
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, levels, reduction="none")
        return entropy.sum(1).mean()

    assert_equals_torch(
        lambda logits: ordinal.ordinal_cross_entropy(logits, jnp.asarray(HARD), everything(LABELS)),
        theirs,
        LOGITS,
    )


def test_the_ordinal_loss_of_a_mixed_target_is_the_mean_of_its_classes():
    torch = pytest.importorskip("torch")
    levels = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]).float()

    def theirs(logits):
        by_class = torch.nn.functional.binary_cross_entropy_with_logits(
            logits[:, None].expand(6, 4, 3), levels[None].expand(6, 4, 3), reduction="none"
        ).sum(-1)
        return (by_class * torch.tensor(MIXED)).sum(-1).mean()

    assert_equals_torch(
        lambda logits: ordinal.ordinal_cross_entropy(logits, jnp.asarray(MIXED), everything(LABELS)),
        theirs,
        LOGITS,
    )


def test_ordinal_probabilities_are_differences_of_the_sigmoids():
    logits = np.array([[2.0, 0.5, -1.0]], np.float32)
    above = 1 / (1 + np.exp(-logits[0].astype(np.float64)))
    expected = [1 - above[0], above[0] - above[1], above[1] - above[2], above[2]]
    found = np.exp(ordinal.ordinal_log_probabilities(jnp.asarray(logits)))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_thresholds_out_of_order_give_finite_probabilities_that_sum_to_one():
    logits = jnp.asarray([[-1.0, 3.0, 0.0], [50.0, 50.0, -50.0]])
    found = np.exp(ordinal.ordinal_log_probabilities(logits))
    assert np.isfinite(np.log(found)).all()
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(found[0, 0], 1 / (1 + np.exp(-1.0)), rtol=1e-5)
    assert found[0, 1] < 1e-5


def test_class_weights_of_an_ordinal_loss_weigh_rows():
    counts = np.array([1, 1, 2, 2])
    weighted = create_loss(Ordinal(class_weights=InverseFrequency()), counts)
    plain = create_loss(Ordinal(), counts)
    mask = everything(LABELS)
    terms = [
        float(plain.loss(jnp.asarray(LOGITS[[row]]), jnp.asarray(HARD[[row]]), mask[:1])) for row in range(6)
    ]
    # Counts 1, 1, 2, 2 of 6: 6 / (4 * count) = 1.5, 1.5, .75, .75, whose mean over these very rows is 1.
    expected = np.mean(np.array([1.5, 1.5, 0.75, 0.75])[LABELS] * terms)
    assert float(weighted.loss(jnp.asarray(LOGITS), jnp.asarray(HARD), mask)) == pytest.approx(
        expected, rel=1e-6
    )


def test_the_number_of_a_logit_runs_from_the_least_to_the_largest_value():
    numbers = ordinal.predicted_number(jnp.asarray([[-1.0], [0.0], [1.0]]), np.array([22.0, 45.0, 64.0]))
    np.testing.assert_allclose(numbers, [22.0, 43.0, 64.0])


def test_squared_error_is_that_of_the_mean_value_of_a_mixed_target():
    values = np.array([20.0, 40.0, 60.0])
    logits, targets = jnp.asarray([[0.5], [-0.25]]), jnp.asarray([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    loss, gradient = jax.value_and_grad(ordinal.squared_error)(logits, targets, everything(logits), values)
    # Numbers 50 and 35 for 40 and 40, in halves of the range 20: errors .5 and -.25.
    assert float(loss) == pytest.approx((0.5**2 + 0.25**2) / 2)
    np.testing.assert_allclose(gradient[:, 0], [0.5, -0.25], rtol=1e-6)


def test_the_class_of_a_number_is_the_range_that_holds_it():
    objective = create_loss(Regression(values=(22.0, 45.0, 64.0), cuts=(30.0, 60.0)), np.array([5, 5, 5]))
    assert objective.heads == {"classes": 1}
    ages = np.array([10.0, 24.0, 29.0, 31.0, 44.0, 59.0, 61.0, 80.0])
    logits = ((ages - 43.0) / 21.0).astype(np.float32)[:, None]
    answers = np.asarray(objective.class_logits(jnp.asarray(logits)))
    assert answers.argmax(-1).tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    np.testing.assert_allclose(np.exp(answers).sum(-1), 1.0, rtol=1e-4)
    at_cut = np.exp(np.asarray(objective.class_logits(jnp.asarray([[(30.0 - 43.0) / 21.0]]))))[0]
    np.testing.assert_allclose(at_cut, [0.5, 0.5, 0.0], atol=1e-5)


NAMES = ("young", "middle", "old")
AGES = Numbers(np.array([0, 0, 1, 1, 2]), np.array([18.0, 22.0, 30.0, 58.0, 60.0], np.float32), NAMES)


def of_numbers(numbers, labels=AGES.labels, **options):
    known = None if numbers is None else Numbers(labels, np.array(numbers, np.float32), NAMES)
    return create_loss(Regression(target="numbers", **options), np.array([2, 2, 1]), numbers=known)


def test_the_true_number_is_predicted_where_the_source_tells_it():
    torch = pytest.importorskip("torch")
    objective = of_numbers(AGES.numbers)
    assert objective.reads_numbers
    assert objective.heads == {"classes": 1}
    logits = np.array([[-0.9], [0.2], [0.7], [1.1], [0.0]], np.float32)
    targets = jnp.concatenate([hard_targets(AGES.labels, 3), jnp.asarray(AGES.numbers)[:, None]], axis=1)
    mask = jnp.asarray([True, True, True, True, False])
    value, gradient = jax.value_and_grad(objective.loss)(jnp.asarray(logits), targets, mask)
    # The classes' means are 20, 44 and 60: a logit of 1 stands for 60, one of -1 for 20.
    reference = torch.tensor(logits[:4, 0], requires_grad=True)
    expected = torch.nn.functional.mse_loss(reference, (torch.tensor(AGES.numbers[:4]) - 40.0) / 20.0)
    expected.backward()
    assert float(value) == pytest.approx(expected.item(), rel=1e-6)
    np.testing.assert_allclose(gradient[:4, 0], reference.grad.numpy(), rtol=1e-5)
    ages = np.array([25.0, 27.0, 58.0, 59.5], np.float32)
    answers = objective.class_logits(jnp.asarray((ages - 40.0) / 20.0)[:, None])
    assert np.argmax(answers, -1).tolist() == [0, 1, 1, 2]
    with pytest.raises(TypeError):
        objective.loss(jnp.asarray(logits), targets[:, :3], mask)


def test_a_cut_may_be_the_least_number_of_its_class_whatever_its_last_bit():
    objective = of_numbers([0.1, 0.5, 0.7, 0.8, 0.9], cuts=(0.7, 0.9))
    assert objective.reads_numbers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"numbers": None},
            "--loss.target numbers: the source tells no number of its images; choose MaskFolders, or Csv "
            "with --source.number-column, or --loss.target classes",
        ),
        (
            {"numbers": [1.0, 2.0], "labels": np.array([0, 1])},
            "--loss.target numbers: every class needs a range of numbers, and these have no training image "
            "(1):\n  'old'\nadd images, or take --loss.target classes",
        ),
        (
            {"numbers": [18.0, 31.0, 30.0, 58.0, 60.0]},
            "--loss.target numbers: a class is a range of numbers, and the next class begins above it (1):\n"
            "  'young': its numbers reach 31, those of the next class, 'middle', begin at 30\n"
            "bring the classes into the order of their numbers (--source.class-list, or values that sort so),"
            " correct labels or numbers, or take --loss.target classes",
        ),
        (
            {"numbers": AGES.numbers, "cuts": (30.0, 55.0)},
            "--loss.cuts: a cut lies above a class's numbers, and no higher than the next class's least (1):"
            "\n"
            "  55: the numbers of 'middle' reach 58, those of 'old' begin at 60\n"
            "correct these cuts, or leave them out",
        ),
        (
            {"numbers": AGES.numbers, "cuts": (30.0,)},
            "Regression: does not fit the 3 classes (1):\n"
            "  --loss.cuts: 1 numbers where 2 are due\n"
            "give one value for each class",
        ),
        (
            {"numbers": AGES.numbers, "values": (1.0, 2.0, 3.0)},
            "Regression: the classes must be ranges of a number (1):\n"
            "  --loss.values: are the classes' means where --loss.target is numbers\n"
            "correct these numbers",
        ),
    ],
    ids=["no numbers", "empty class", "overlap", "other cuts", "too few cuts", "values"],
)
def test_numbers_that_are_no_ranges_of_the_classes_are_refused(arguments, message):
    with pytest.raises(InputError) as caught:
        of_numbers(**arguments)
    assert str(caught.value) == message


def test_values_that_fit_no_classes_are_refused():
    with pytest.raises(InputError) as caught:
        create_loss(Regression(values=(1.0, 2.0)), np.array([5, 5, 5]))
    assert str(caught.value) == (
        "Regression: does not fit the 3 classes (2):\n"
        "  --loss.values: 2 numbers where 3 are due\n"
        "  --loss.cuts: 1 numbers where 2 are due\n"
        "give one value for each class"
    )
