"""Predictions of a model over the rows of a table of examples."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from sketch_jax.data.records import Batch, Examples
from sketch_jax.predictions import Predictions


def predict_logits(
    predict: Callable[[Any], Any], batches: Iterable[Batch], stage: Callable[[Any], Any], row_count: int
) -> np.ndarray:
    """Logits of all rows, float32 [row_count, classes], each row counted once.

    Args:
        predict: images on the device -> logits on the device.
        batches: evaluation batches that together hold each row once; masked rows are dropped.
        stage: starts the copy of images to the device.
        row_count: number of rows.

    Raises:
        RuntimeError: the batches did not hold exactly `row_count` rows.
    """
    kept: list[np.ndarray] = []
    in_flight: tuple[Any, np.ndarray] | None = None
    for batch in batches:
        # The next batch is dispatched before the last one's logits are fetched.
        dispatched = predict(stage(batch.images)), batch.mask
        if in_flight is not None:
            kept.append(jax.device_get(in_flight[0])[in_flight[1]])
        in_flight = dispatched
    if in_flight is not None:
        kept.append(jax.device_get(in_flight[0])[in_flight[1]])
    logits = np.concatenate(kept) if kept else np.zeros((0, 0), np.float32)
    if len(logits) != row_count:
        raise RuntimeError(f"{len(logits)} rows were predicted, but there are {row_count}")
    return logits


def as_predictions(examples: Examples, rows: np.ndarray, logits: np.ndarray) -> Predictions:
    """The record of logits over rows of a table."""
    return Predictions(
        ids=tuple(examples.ids[row] for row in rows),
        logits=logits,
        labels=examples.labels[rows],
        class_names=examples.class_names,
    )
