"""Made-up predictions of several models."""

import numpy as np

from sketch_jax.predictions import Predictions

ROWS, CLASSES = 300, 5
LABELS = np.random.default_rng(0).integers(0, CLASSES, ROWS).astype(np.int32)


def logits_of(seed: int, skill: float = 1.5, labels=LABELS) -> np.ndarray:
    """Logits that know the labels as well as the skill says, with errors of their own."""
    noise = np.random.default_rng(seed).normal(size=(len(labels), CLASSES))
    return (noise + skill * np.eye(CLASSES)[np.maximum(labels, 0)]).astype(np.float32)


def predictions_of(logits, labels=LABELS, ids=None) -> Predictions:
    ids = tuple(f"{row}.png" for row in range(len(logits))) if ids is None else ids
    return Predictions(ids=ids, logits=logits, labels=labels, class_names=tuple("abcde"))
