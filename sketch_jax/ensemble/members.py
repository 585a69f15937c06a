"""Predictions of several models for the same images, row by row the same."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from sketch_jax.ensemble.votes import LEAST_SCORE, Scores, probabilities, soft_vote
from sketch_jax.errors import InputError, refuse_faults
from sketch_jax.metrics import log_softmax
from sketch_jax.predictions import Predictions
from sketch_jax.tasks import SEPARATOR

UNKNOWN = -1
"""Label of an image whose class is not known."""


def align(members: Mapping[str, Predictions]) -> dict[str, Predictions]:
    """The members with their rows in the order of the first, and every label that any of them knows.

    Args:
        members: by name, for messages; at least one.

    Raises:
        InputError: there is none; or classes, ids or known labels of one are not those of the first.
    """
    if not members:
        raise InputError("there are no predictions to combine; name a file at least")
    name, first = next(iter(members.items()))
    refuse_faults(
        f"predictions that do not go together with {name}",
        [f"{other}: {fault}" for other, member in members.items() if (fault := _fault(first, member))],
        "combine predictions of the same images for the same classes",
    )
    ordered = {other: choose(member, first.ids) for other, member in members.items()}
    labels = _labels(ordered)
    return {other: dataclasses.replace(member, labels=labels) for other, member in ordered.items()}


def common(members: Mapping[str, Predictions]) -> dict[str, Predictions]:
    """The members, aligned, on the images that all of them hold; none where there is no such image.

    Raises:
        InputError: classes or known labels of one are not those of the first.
    """
    if not members:
        return {}
    first = next(iter(members.values()))
    shared = set(first.ids).intersection(*(member.ids for member in members.values()))
    ids = [image for image in first.ids if image in shared]
    return align({name: choose(member, ids) for name, member in members.items()}) if ids else {}


def answer_with(scores: Scores, like: Predictions) -> Predictions:
    """Predictions whose logits are the logarithms of scores that sum to 1.

    Args:
        scores: of the rows of `like`.
        like: whose ids, labels and class names they are.
    """
    logits = np.log(np.maximum(scores, LEAST_SCORE)).astype(np.float32)
    return dataclasses.replace(like, logits=logits)


def mean_of(members: Sequence[Predictions]) -> Predictions:
    """The mean of the probabilities of aligned members."""
    return answer_with(soft_vote([probabilities(member.logits) for member in members]), members[0])


def multiply(tasks: Sequence[Predictions]) -> Predictions:
    """Predictions of all combinations of the classes of several tasks, the first of which varies slowest.

    The class of a combination is as likely as the classes of its parts together, so the answer is the
    combination of the parts' answers; a label is known where all its parts are.

    Args:
        tasks: predictions of the same images, in any order, each for classes of its own.

    Raises:
        InputError: they are not of the same images.
    """
    first = tasks[0]
    for number, task in enumerate(tasks, 1):
        if set(task.ids) != set(first.ids):
            raise InputError(
                f"task model {number} predicts {len(task.ids):,} images and the first {len(first.ids):,}, "
                "not the same ones; combine predictions of the same images"
            )
    ordered = [choose(task, first.ids) for task in tasks]
    logits, labels, names = log_softmax(ordered[0].logits), ordered[0].labels, first.class_names
    for task in ordered[1:]:
        logits = (logits[:, :, None] + log_softmax(task.logits)[:, None]).reshape(len(logits), -1)
        known = (labels >= 0) & (task.labels >= 0)
        labels = np.where(known, labels * len(task.class_names) + task.labels, UNKNOWN)
        names = tuple(f"{name}{SEPARATOR}{other}" for name in names for other in task.class_names)
    return Predictions(
        ids=first.ids, logits=logits.astype(np.float32), labels=labels.astype(np.int32), class_names=names
    )


def put_together(parts: Sequence[Predictions]) -> Predictions:
    """The rows of all parts, of which no two hold the same image."""
    return Predictions(
        ids=tuple(image for part in parts for image in part.ids),
        logits=np.concatenate([part.logits for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        class_names=parts[0].class_names,
    )


def choose(predictions: Predictions, ids: Sequence[str]) -> Predictions:
    """The rows of some images, in their order."""
    place = {image: row for row, image in enumerate(predictions.ids)}
    rows = np.array([place[image] for image in ids], np.int64)
    return dataclasses.replace(
        predictions, ids=tuple(ids), logits=predictions.logits[rows], labels=predictions.labels[rows]
    )


def _fault(first: Predictions, member: Predictions) -> str | None:
    """Why a member does not go together with the first, or None."""
    if member.class_names != first.class_names:
        return f"its {len(member.class_names)} classes are others, or in another order"
    missing, further = set(first.ids) - set(member.ids), set(member.ids) - set(first.ids)
    if missing or further:
        example = min(missing or further)
        return f"{len(missing)} images are missing and {len(further)} are further ones, such as {example!r}"
    return None


def _labels(ordered: Mapping[str, Predictions]) -> Int[np.ndarray, " rows"]:
    labels = np.full(len(next(iter(ordered.values())).ids), UNKNOWN, np.int32)
    for name, member in ordered.items():
        known = member.labels >= 0
        other = known & (labels >= 0) & (labels != member.labels)
        if other.any():
            row = int(np.flatnonzero(other)[0])
            raise InputError(
                f"{name}: {other.sum()} images have another label than in the predictions before it, such as "
                f"{member.ids[row]!r}; combine predictions of one data set"
            )
        labels = np.where(known, member.labels, labels).astype(np.int32)
    return labels
