"""Members are put in one order, or refused."""

import dataclasses

import numpy as np
import pytest
from prediction_cases import LABELS, logits_of, predictions_of

from sketch_jax.ensemble.members import align, multiply
from sketch_jax.errors import InputError
from sketch_jax.predictions import Predictions

FIRST = predictions_of(logits_of(1))


def shuffled(predictions, seed=0):
    rows = np.random.default_rng(seed).permutation(len(predictions.ids))
    return dataclasses.replace(
        predictions,
        ids=tuple(predictions.ids[row] for row in rows),
        logits=predictions.logits[rows],
        labels=predictions.labels[rows],
    )


def test_rows_in_any_order_come_out_in_that_of_the_first():
    second = predictions_of(logits_of(2))
    found = align({"a": FIRST, "b": shuffled(second)})
    assert found["b"].ids == FIRST.ids
    np.testing.assert_array_equal(found["b"].logits, second.logits)
    np.testing.assert_array_equal(found["b"].labels, LABELS)


def test_a_label_that_any_member_knows_is_known_of_all():
    unknown = dataclasses.replace(FIRST, labels=np.full_like(LABELS, -1))
    found = align({"a": unknown, "b": shuffled(FIRST)})
    np.testing.assert_array_equal(found["a"].labels, LABELS)


def test_other_images_classes_and_labels_are_refused_by_name():
    fewer = dataclasses.replace(FIRST, ids=("x.png", *FIRST.ids[1:]))
    renamed = dataclasses.replace(FIRST, class_names=tuple("edcba"))
    with pytest.raises(InputError) as caught:
        align({"a.npz": FIRST, "b.npz": fewer, "c.npz": FIRST, "d.npz": renamed})
    assert str(caught.value).splitlines() == [
        "predictions that do not go together with a.npz (2):",
        "  b.npz: 1 images are missing and 1 are further ones, such as '0.png'",
        "  d.npz: its 5 classes are others, or in another order",
        "combine predictions of the same images for the same classes",
    ]
    other = dataclasses.replace(FIRST, labels=np.where(np.arange(300) == 7, (LABELS + 1) % 5, LABELS))
    with pytest.raises(InputError, match=r"b: 1 images have another label .* such as '7.png'"):
        align({"a": FIRST, "b": other})
    with pytest.raises(InputError, match="there are no predictions to combine"):
        align({})


def test_models_of_one_task_each_are_multiplied_by_hand():
    def of(names, logits, labels, ids=("x", "y")):
        return Predictions(
            ids=ids,
            logits=np.log(np.array(logits, np.float32)),
            labels=np.array(labels, np.int32),
            class_names=names,
        )

    mask = of(("worn", "none"), [[0.9, 0.1], [0.4, 0.6]], [0, 1])
    age = of(("young", "mid", "old"), [[0.1, 0.1, 0.8], [0.2, 0.5, 0.3]], [-1, 2], ids=("y", "x"))
    found = multiply([mask, age])
    assert found.class_names == ("worn/young", "worn/mid", "worn/old", "none/young", "none/mid", "none/old")
    expected = [[0.18, 0.45, 0.27, 0.02, 0.05, 0.03], [0.04, 0.04, 0.32, 0.06, 0.06, 0.48]]
    np.testing.assert_allclose(np.exp(found.logits), expected, rtol=1e-5)
    assert found.labels.tolist() == [2, -1]  # the age of y is not known
    assert found.logits.argmax(axis=1).tolist() == [1, 5]
    with pytest.raises(InputError, match="task model 2 predicts 2 images and the first 2, not the same ones"):
        multiply([mask, of(("a", "b"), [[0.5, 0.5]] * 2, [0, 0], ids=("x", "z"))])
