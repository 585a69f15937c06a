"""Stacking: a linear model over the logits of several models, learnt on images that none was trained on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize

from sketch_jax.metrics import log_softmax

Logits = Float[np.ndarray, "rows classes"]
Labels = Int[np.ndarray, " rows"]


class Stack(NamedTuple):
    """A multinomial logistic regression over the members' log-probabilities, side by side."""

    kernel: Float[np.ndarray, "inputs classes"]
    bias: Float[np.ndarray, " classes"]

    def __call__(self, members: Sequence[Logits]) -> Logits:
        """The logits of all members together."""
        return stacked_inputs(members) @ self.kernel + self.bias


def stacked_inputs(members: Sequence[Logits]) -> Float[np.ndarray, "rows inputs"]:
    """Log-probabilities of all members, side by side, in float64."""
    return np.concatenate([log_softmax(member) for member in members], axis=1)


def learn_stack(members: Sequence[Logits], labels: Labels, inverse_penalty: float = 0.01) -> Stack:
    """Learns a stack.

    Args:
        members: logits of each, on images that it was not trained on.
        labels: of these images; -1 does not count.
        inverse_penalty: the smaller, the nearer to 0 are the weights; scikit-learn's `C`.

    References:
        Wolpert, Stacked generalization (1992). The loss is that of
        `sklearn.linear_model.LogisticRegression(C=inverse_penalty)`.
    """
    known = labels >= 0
    inputs, labels = stacked_inputs(members)[known], labels[known]
    width, classes = inputs.shape[1], members[0].shape[1]
    targets = np.eye(classes)[labels]

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        kernel, bias = values[: width * classes].reshape(width, classes), values[width * classes :]
        answers = log_softmax(inputs @ kernel + bias)
        error = np.exp(answers) - targets
        gradient = np.concatenate([(inputs.T @ error + kernel / inverse_penalty).ravel(), error.sum(axis=0)])
        penalty = 0.5 * np.square(kernel).sum() / inverse_penalty
        return float(penalty - (answers * targets).sum()) / len(labels), gradient / len(labels)

    start = np.zeros((width + 1) * classes)
    options = {"maxiter": 2000, "ftol": 1e-12, "gtol": 1e-6}
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
    return Stack(found[: width * classes].reshape(width, classes), found[width * classes :])
