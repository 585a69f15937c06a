"""Ensembles: predictions of several models become one, scored on held-out images, and a submission."""

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from sketch_jax.data.sources import load_layout
from sketch_jax.ensemble.calibration import reliability
from sketch_jax.ensemble.combine import (
    LEARNED,
    VOTES,
    Combine,
    Recipe,
    cross_fitted,
    disagreement,
    gains,
    learn_combine,
)
from sketch_jax.ensemble.members import align, answer_with, common, mean_of, multiply
from sketch_jax.ensemble.weights import accuracy
from sketch_jax.errors import InputError
from sketch_jax.files import make_directory, write_atomically
from sketch_jax.flows.members import Member, config_beside, held_out_of, read_members
from sketch_jax.inference.submission import write_submission
from sketch_jax.metrics import count, per_class_recall, summarise
from sketch_jax.predictions import Predictions, save_predictions

PLAIN_COLUMNS = ("id", "label")
"""Of a submission of which there is no sample."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnsembleOptions:
    """What is combined, and what is written."""

    members: tuple[Path, ...]
    """Runs, cross-validations, directories of predictions, or npz files."""
    held_out: tuple[Path, ...] = ()
    """Held-out predictions of members that are npz files, in the same order."""
    recipe: Recipe
    tasks: bool = False
    """Whether the members are models of one task each: the answers are all combinations of their classes."""
    compare: bool = False
    """Whether every way is scored on the held-out images."""
    output: Path | None = None
    """Directory for the predictions and tables; None: none is written."""
    submission: Path | None = None
    """csv of the answers for the test images; None: none is written."""


def run_ensemble(options: EnsembleOptions, console: Console) -> Mapping[str, Any]:
    """Combines the members, prints how good they are alone and together, and writes what is asked for.

    Args:
        options: what to do.
        console: for the tables.

    Returns:
        A summary of JSON values.

    Raises:
        InputError: members that do not go together, a recipe that lacks what it learns from, or a file that
            cannot be read or written.
    """
    members = read_members(options.members, options.held_out)
    if options.tasks:
        return combine_tasks(options, members, console)
    held_out = common(held_out_of(members))
    tell_of_others(members, held_out, console)
    refuse_lack_of_lessons(options, members, held_out)
    labels = labels_of(held_out)
    logits = [predictions.logits for predictions in held_out.values()]
    combine, learnt = learn_combine(options.recipe, logits or [np.zeros((0, 0))] * len(members), labels)
    facts: dict[str, Any] = {"method": options.recipe.way, "members": [member.name for member in members]}
    facts |= learnt
    files: list[Path] = []
    if (labels >= 0).any():
        scores = cross_fitted(options.recipe, logits, labels)
        together = answer_with(scores, next(iter(held_out.values())))
        facts |= judge(options, held_out, together, learnt, console)
        files += write_held_out(options.output, held_out, together)
    tests = combine_tests(members, combine)
    if tests is not None:
        known = summarise(tests.logits, tests.labels)
        facts |= {"test": known} if known else {}
        files += write_tests(options, members, tests)
    elif options.submission is not None:
        raise InputError(
            f"--submission {options.submission}: no member has predictions of test images; "
            "name runs whose source has a test table"
        )
    for path in files:
        console.print(f"made {path}", markup=False)
    return {**facts, "files": [str(path) for path in files]}


def combine_tasks(options: EnsembleOptions, members: Sequence[Member], console: Console) -> Mapping[str, Any]:
    """Combines models of one task each, prints how good each is and all are, and writes what is asked for.

    A submission has the numbers of the combinations, counted with the last task varying fastest.

    Args:
        options: what to do; the recipe is not read.
        members: in the order of the tasks.
        console: for the table.
    """
    facts: dict[str, Any] = {"method": "tasks", "members": [member.name for member in members]}
    files: list[Path] = []
    parts = [member.held_out for member in members if member.held_out is not None]
    if len(parts) == len(members):
        together = multiply(parts)
        everyone = dict(zip(facts["members"], parts, strict=True)) | {"all tasks": together}
        found = {name: summarise(part.logits, part.labels) for name, part in everyone.items()}
        facts["held_out"] = found
        columns = {
            name: [each.get(name, math.nan) for each in found.values()] for name in ("accuracy", "macro_f1")
        }
        console.print("\n".join(table_lines(list(found), columns)), markup=False)
        if options.output is not None:
            make_directory(options.output)
            save_predictions(options.output / "oof.npz", together)
            files.append(options.output / "oof.npz")
    if all(member.tests for member in members):
        tests = multiply([mean_of(list(align(_numbered(member)).values())) for member in members])
        files += write_tests(options, members, tests)
    for path in files:
        console.print(f"made {path}", markup=False)
    return {**facts, "files": [str(path) for path in files]}


def tell_of_others(members: Sequence[Member], held_out: Mapping[str, Predictions], console: Console) -> None:
    """Prints what the figures are not of: images that some did not hold out, folds that only tests have."""
    counts = [len(member.held_out.ids) for member in members if member.held_out is not None]
    shared = len(labels_of(held_out))
    if len(counts) == len(members) and shared < max(counts):
        told = f"scored on the {shared:,} held-out images that all have" if shared else "not scored"
        console.print(
            f"the members held out other images ({min(counts):,} to {max(counts):,}): {told}", markup=False
        )
    if len({len(member.tests) for member in members}) > 1:
        folds = ", ".join(f"{member.name} {len(member.tests)}" for member in members)
        console.print(
            f"on test images each fold counts ({folds}), on held-out images each member once", markup=False
        )


def refuse_lack_of_lessons(
    options: EnsembleOptions, members: Sequence[Member], held_out: Mapping[str, Predictions]
) -> None:
    """Refuses a recipe that learns where there is nothing to learn from, and weights of another number.

    Raises:
        InputError: so it is.
    """
    recipe = options.recipe
    if recipe.way == "weighted" and (
        len(recipe.weights) != len(members)
        or not all(0 <= weight < math.inf for weight in recipe.weights)
        or not any(recipe.weights)
    ):
        raise InputError(
            f"--weights {' '.join(f'{weight:g}' for weight in recipe.weights)}: give one for each of the "
            f"{len(members)} members, at least 0 and not all 0"
        )
    if not recipe.learns and not options.compare:
        return
    if not (labels_of(held_out) >= 0).any():
        learner = f"--method {recipe.way}" if recipe.way in LEARNED else f"--calibrate {recipe.calibration}"
        what = learner if recipe.learns else "--compare"
        without = [member.name for member in members if member.held_out is None]
        raise InputError(
            f"{what}: learns from held-out images with labels, and "
            + (f"there are none of {', '.join(without)}" if without else "none in common has a known label")
            + "; name runs, or the held-out predictions of npz files by --held-out"
        )


def labels_of(held_out: Mapping[str, Predictions]) -> np.ndarray:
    """Labels of aligned predictions; none without any."""
    for predictions in held_out.values():
        return predictions.labels
    return np.zeros(0, np.int32)


def judge(
    options: EnsembleOptions,
    held_out: Mapping[str, Predictions],
    together: Predictions,
    learnt: Mapping[str, Sequence[float]],
    console: Console,
) -> dict[str, Any]:
    """Prints how good each member is, what it brings, and how good they are together."""
    labels = together.labels
    logits = [predictions.logits for predictions in held_out.values()]
    alone = [accuracy(member, labels) for member in logits]
    brought = gains(options.recipe, logits, labels)
    answers = [*(member.argmax(axis=1) for member in logits), together.logits.argmax(axis=1)]
    apart = disagreement(answers)[-1, :-1]
    columns = {"alone": alone, "gain": brought, "differs": apart, **learnt}
    console.print("\n".join(table_lines(list(held_out), columns)), markup=False)
    metrics = summarise(together.logits, labels)
    known = int((labels >= 0).sum())
    error = (metrics["accuracy"] * (1 - metrics["accuracy"]) / known) ** 0.5
    console.print(
        f"\n{options.recipe.way}: accuracy {metrics['accuracy']:.4f} ± {error:.4f} on {known:,} held-out "
        f"images (best member {max(alone):.4f}), macro F1 {metrics['macro_f1']:.4f}, "
        f"loss {metrics['loss']:.4f}, calibration error {metrics['expected_calibration_error']:.4f}"
        + ("; learnt on four fifths of them, scored on the rest, in turns" if options.recipe.learns else ""),
        markup=False,
    )
    facts: dict[str, Any] = {"held_out": metrics, "alone": dict(zip(held_out, alone, strict=True))}
    facts["gain"] = dict(zip(held_out, brought.tolist(), strict=True))
    if options.compare:
        facts["compared"] = compare(options.recipe, logits, labels)
        lines = table_lines(list(facts["compared"]), {"accuracy": list(facts["compared"].values())})
        console.print("\n".join(["", *lines]), markup=False)
    return facts


def compare(recipe: Recipe, held_out: Sequence[np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """Accuracy of every way on the held-out images."""
    given = ("weighted",) if recipe.way == "weighted" else ()
    return {
        way: accuracy(cross_fitted(dataclasses.replace(recipe, way=way), held_out, labels), labels)
        for way in (*VOTES, *given, *LEARNED)
    }


def combine_tests(members: Sequence[Member], combine: Combine) -> Predictions | None:
    """The members' test predictions as one; None where no member has any.

    Raises:
        InputError: some have them and some do not, or they do not go together.
    """
    with_tests = [member for member in members if member.tests]
    if not with_tests:
        return None
    if without := [member.name for member in members if not member.tests]:
        raise InputError(
            f"{', '.join(without)}: no predictions of test images, and {with_tests[0].name} has some; "
            "leave the former out, or let them predict the test images, too"
        )
    named: dict[str, Predictions] = {}
    for member in members:
        named |= _numbered(member)
    aligned = align(named)
    models = [
        [aligned[f"{member.name} {number}"].logits for number in range(len(member.tests))]
        for member in members
    ]
    return answer_with(combine(models), next(iter(aligned.values())))


def _numbered(member: Member) -> dict[str, Predictions]:
    """The test predictions of a member's folds, by name."""
    return {f"{member.name} {number}": test for number, test in enumerate(member.tests)}


def write_held_out(
    output: Path | None, held_out: Mapping[str, Predictions], together: Predictions
) -> Sequence[Path]:
    """Held-out predictions, recalls by class, and who disagrees how often with whom."""
    if output is None:
        return []
    make_directory(output)
    save_predictions(output / "oof.npz", together)
    everyone = {**held_out, "together": together}
    recalls = [per_class_recall(count(each.logits, together.labels)) for each in everyone.values()]
    rows = [
        [name, *(f"{recall[index]:.4f}" for recall in recalls)]
        for index, name in enumerate(together.class_names)
    ]
    _write_csv(output / "recall_by_class.csv", ["class", *everyone], rows)
    apart = disagreement([each.logits.argmax(axis=1) for each in everyone.values()])
    rows = [[name, *(f"{value:.4f}" for value in row)] for name, row in zip(everyone, apart, strict=True)]
    _write_csv(output / "disagreement.csv", ["", *everyone], rows)
    bins = reliability(together.logits, together.labels)
    edges = np.linspace(0.0, 1.0, len(bins.rows) + 1)
    rows = [
        [f"{low:.4f}", f"{high:.4f}", str(count), f"{confidence:.4f}", f"{right:.4f}"]
        for low, high, count, confidence, right in zip(edges, edges[1:], *bins, strict=False)
    ]
    _write_csv(output / "reliability.csv", ["above", "to", "rows", "confidence", "accuracy"], rows)
    names = ("oof.npz", "recall_by_class.csv", "disagreement.csv", "reliability.csv")
    return [output / name for name in names]


def write_tests(options: EnsembleOptions, members: Sequence[Member], tests: Predictions) -> Sequence[Path]:
    """Test predictions, and the answers in the layout of the members' source."""
    files = []
    if options.output is not None:
        make_directory(options.output)
        save_predictions(options.output / "test.npz", tests)
        files.append(options.output / "test.npz")
    if options.submission is not None:
        write_answers(options.submission, tests, [member.path for member in members])
        files.append(options.submission)
    return files


def write_answers(path: Path, predictions: Predictions, origins: Sequence[Path]) -> None:
    """A submission in the layout of the first source that has one; else ids and names of classes.

    Args:
        path: of the csv.
        predictions: of the test images.
        origins: where predictions come from: below the directories of runs.
    """
    for origin in origins:
        config = config_beside(origin)
        layout = None if config is None else load_layout(config.source)
        if layout is not None:
            if len(layout.targets) != len(predictions.class_names):  # combinations of several tasks' classes
                numbers = tuple(map(str, range(len(predictions.class_names))))
                layout = dataclasses.replace(layout, targets=numbers)
            write_submission(path, predictions, layout)
            return
    answers = predictions.logits.argmax(axis=1)
    rows = [
        [image, predictions.class_names[answer]]
        for image, answer in zip(predictions.ids, answers, strict=True)
    ]
    _write_csv(path, PLAIN_COLUMNS, rows)


def table_lines(names: Sequence[str], columns: Mapping[str, Sequence[float | int]]) -> Sequence[str]:
    """A table of numbers, a line for each name; fractions have four decimals."""
    width = max(map(len, names))
    lines = [f"{'':<{width}}  " + "  ".join(f"{name:>11}" for name in columns)]
    lines += [
        f"{name:<{width}}  " + "  ".join(f"{_shown(values[row]):>11}" for values in columns.values())
        for row, name in enumerate(names)
    ]
    return lines


def _shown(value: float | int) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_atomically(path, buffer.getvalue())
