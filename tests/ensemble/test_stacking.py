"""Stacking against scikit-learn's logistic regression."""

import numpy as np
import pytest
from prediction_cases import LABELS, logits_of

from sketch_jax.ensemble.stacking import learn_stack, stacked_inputs
from sketch_jax.metrics import log_softmax

MEMBERS = [logits_of(seed, skill) for seed, skill in enumerate((2.0, 1.0))]


@pytest.mark.parametrize("inverse_penalty", [0.01, 1.0])
def test_a_stack_is_scikit_learns_logistic_regression(inverse_penalty):
    linear_model = pytest.importorskip("sklearn.linear_model")
    reference = linear_model.LogisticRegression(C=inverse_penalty, tol=1e-10, max_iter=5000)
    reference.fit(stacked_inputs(MEMBERS), LABELS)
    stack = learn_stack(MEMBERS, LABELS, inverse_penalty)
    np.testing.assert_allclose(stack.kernel, reference.coef_.T, atol=2e-4)
    further = [logits_of(seed + 10, 1.0) for seed in range(2)]
    expected = reference.predict_log_proba(stacked_inputs(further))
    np.testing.assert_allclose(log_softmax(stack(further)), expected, atol=1e-3)


def test_images_of_unknown_label_teach_nothing():
    half = np.where(np.arange(len(LABELS)) < 150, LABELS, -1)
    found = learn_stack(MEMBERS, half)
    expected = learn_stack([member[:150] for member in MEMBERS], LABELS[:150])
    np.testing.assert_allclose(found.kernel, expected.kernel, atol=1e-8)
