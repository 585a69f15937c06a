"""Predictions of a finished run, or of every fold of a cross-validation, through views of each image."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from rich.console import Console

from sketch_jax.data.records import Examples
from sketch_jax.ensemble.combine import cross_fit
from sketch_jax.ensemble.members import align, answer_with, mean_of
from sketch_jax.ensemble.merges import Merge, change_one_task, learn_class_weights, merge, turned_answers
from sketch_jax.ensemble.votes import Scores, probabilities
from sketch_jax.ensemble.weights import accuracy
from sketch_jax.errors import InputError
from sketch_jax.files import make_directory
from sketch_jax.flows.ensemble import table_lines, write_answers
from sketch_jax.flows.finished import Finished, answer_rows, open_finished, read_run_config
from sketch_jax.flows.folds import FoldRun, fold_runs, out_of_fold
from sketch_jax.inference.predict import as_predictions
from sketch_jax.inference.view_options import View, Views, list_views
from sketch_jax.inference.views import create_random_view, pixel_matrix, view_images
from sketch_jax.keys import stream
from sketch_jax.metrics import summarise
from sketch_jax.predictions import Predictions, save_predictions
from sketch_jax.run.texts import counted
from sketch_jax.tasks import Tasks, task_index
from sketch_jax.train.division import whole
from sketch_jax.train.host_memory import keep_freed_memory
from sketch_jax.train.program_cache import keep_compiled_programs
from sketch_jax.train.step import make_answer

Merging = Merge | Literal["learned"]
Combine = Callable[[Sequence[np.ndarray]], Scores]
"""Logits of all views -> scores that sum to 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """What is predicted, and how."""

    run: Path
    """Directory of a run, or of a cross-validation."""
    views: Views
    merge: Merging = "mean_logits"
    """How the views become one; `learned`: by weights of each view for each class, from held-out images."""
    task: str | None = None
    """The only task that the views count for, where classes are made of several; None: for all."""
    name: str = "views"
    """Of the directory below the run's `predictions`."""
    submission: Path | None = None
    """csv of the answers for the test images; None: none is written."""


class Seen(NamedTuple):
    """What a model says of each view."""

    held_out: Sequence[Predictions]
    """By view; empty without held-out images."""
    test: Sequence[Predictions]
    tasks: Tasks | None


def run_predict(options: PredictOptions, console: Console) -> Mapping[str, Any]:
    """Predicts, prints what each view brings on held-out images, and writes the predictions.

    Args:
        options: what to do.
        console: for progress and tables.

    Returns:
        A summary of JSON values.

    Raises:
        InputError: there is no finished run, its data or weights are gone, or nothing is held out to learn
            from.
    """
    config = read_run_config(options.run)
    if options.name in ("", ".", "..") or Path(options.name).name != options.name:
        raise InputError(f"--name {options.name!r}: must be the name of a directory, such as 'flips'")
    keep_freed_memory()
    keep_compiled_programs()
    views = list_views(options.views)
    runs = fold_runs(config) if config.folds is not None else []
    directories = [member.directory for member in runs] or [options.run]
    seen = [see(directory, views, console) for directory in directories]
    held_out = gather(runs, [part.held_out for part in seen])
    combine = choose_combine(options, views, seen[0].tasks, held_out)
    output = options.run / "predictions" / options.name
    make_directory(output)
    facts: dict[str, Any] = {"views": [view.name for view in views], "merge": options.merge}
    files = []
    if held_out:
        together = judge(options, views, seen[0].tasks, held_out, console)
        facts |= {"held_out": summarise(together.logits, together.labels)}
        files.append(output / ("oof.npz" if runs else "validation.npz"))
        save_predictions(files[-1], together)
    tests = {
        directory.name: answer_with(combine([view.logits for view in part.test]), part.test[0])
        for directory, part in zip(directories, seen, strict=True)
        if part.test
    }
    if tests:
        test = mean_of(list(align(tests).values()))
        known = summarise(test.logits, test.labels)
        facts |= {"test": known} if known else {}
        files += write_tests(options, output, tests if runs else {}, test)
    for path in files:
        console.print(f"made {path}", markup=False)
    return {**facts, "files": [str(path) for path in files]}


def see(directory: Path, views: Sequence[View], console: Console) -> Seen:
    """Predicts held-out and test images of a run through every view."""
    finished = open_finished(read_run_config(directory), console)
    data, answer = finished.setting.data, make_seen(finished, views)
    console.print(f"{directory.name}: {counted(len(views), 'view')} of each image", markup=False)

    def predict(examples: Examples, rows: np.ndarray, what: str) -> Sequence[Predictions]:
        logits = answer_rows(finished, answer, examples, rows, f"{directory.name}'s {what}")
        return [as_predictions(examples, rows, logits[:, view]) for view in range(len(views))]

    test = data.dataset.test
    return Seen(
        held_out=predict(data.dataset.train, data.validation_rows, "held-out")
        if len(data.validation_rows)
        else [],
        test=[] if test is None else predict(test, np.arange(len(test)), "test"),
        tasks=data.dataset.tasks,
    )


def make_seen(finished: Finished, views: Sequence[View]) -> Callable[[int, Any], Any]:
    """Builds (number of a batch, images on the devices) -> logits of the classes [batch, views, classes].

    All affine views go through one program; random ones through one for each kind.
    """
    setting, statistics = finished.setting, finished.statistics
    key = stream(jax.random.key(setting.config.seed), "views")
    answer = make_answer(finished.phase.model, setting.start.preprocessing)
    join_leaves = jax.jit(lambda trainable, frozen: whole(finished.phase.division, trainable, frozen))
    params = join_leaves(finished.trainable, finished.frozen)
    change = {view.random: create_random_view(view.random) for view in views if view.random}

    @jax.jit
    def look(params: Any, statistics: Any, images: Any, matrix: Any) -> Any:
        return answer_pixels(params, statistics, view_images(images, matrix))

    @jax.jit
    def answer_pixels(params: Any, statistics: Any, pixels: Any) -> Any:
        return setting.objective.class_logits(answer(params, statistics, pixels))

    def look_through(view: View, number: int, images: Any) -> Any:
        if not view.random:
            return look(params, statistics, images, pixel_matrix(view.matrix, *images.shape[1:3]))
        drawn = stream(stream(key, view.random, view.seed), "batch", number)
        return answer_pixels(params, statistics, change[view.random](drawn, images))

    return lambda number, images: jnp.stack([look_through(view, number, images) for view in views], axis=1)


def gather(runs: Sequence[FoldRun], parts: Sequence[Sequence[Predictions]]) -> Sequence[Predictions]:
    """Held-out predictions by view: of a run, or of all folds together."""
    if not runs:
        return parts[0]
    return [out_of_fold(runs, of_view) for of_view in zip(*parts, strict=True)]


def choose_combine(
    options: PredictOptions, views: Sequence[View], tasks: Tasks | None, held_out: Sequence[Predictions]
) -> Combine:
    """How the views become one.

    Raises:
        InputError: it is to be learnt and nothing is held out, or there is no such task.
    """
    if options.merge == "learned" and not (held_out and (held_out[0].labels >= 0).any()):
        raise InputError(
            "--merge learned: learns from held-out images, and nothing was held out; take another merge"
        )
    learn = make_learn(options, views, tasks)
    labels = held_out[0].labels if held_out else np.zeros(0, np.int32)
    return learn([view.logits for view in held_out], labels)


def make_learn(
    options: PredictOptions, views: Sequence[View], tasks: Tasks | None
) -> Callable[[Sequence[np.ndarray], np.ndarray], Combine]:
    """Builds (logits of views, labels) -> how they become one.

    Raises:
        InputError: there is no such task.
    """
    if options.task is not None and tasks is None:
        raise InputError(f"--task {options.task}: the classes of this source are not made of tasks")
    index = task_index(tasks, options.task, "--task") if tasks is not None and options.task else None
    plain = plain_view(views)

    def learn(lessons: Sequence[np.ndarray], labels: np.ndarray) -> Combine:
        if options.merge == "learned":
            weights = learn_class_weights(lessons, labels)

            def combine(logits: Sequence[np.ndarray]) -> Scores:
                return probabilities(np.einsum("vrc,vc->rc", np.stack(logits).astype(np.float64), weights))
        else:
            how: Merge = options.merge

            def combine(logits: Sequence[np.ndarray]) -> Scores:
                return merge(logits, how)

        if tasks is None or index is None:
            return combine
        of_task = functools.partial(change_one_task, tasks=tasks, index=index)
        return lambda logits: of_task(probabilities(logits[plain]), combine(logits))

    return learn


def plain_view(views: Sequence[View]) -> int:
    """The view that the others are compared with: the image itself, else the first."""
    names = [view.name for view in views]
    return names.index("identity") if "identity" in names else 0


def judge(
    options: PredictOptions,
    views: Sequence[View],
    tasks: Tasks | None,
    held_out: Sequence[Predictions],
    console: Console,
) -> Predictions:
    """Prints what each view answers rightly, and how good all are together."""
    labels = held_out[0].labels
    logits = [view.logits for view in held_out]
    learn = make_learn(options, views, tasks)
    scores = cross_fit(learn, logits, labels) if options.merge == "learned" else learn(logits, labels)(logits)
    plain = logits[plain_view(views)]
    everyone = {view.name: each for view, each in zip(views, logits, strict=True)} | {options.merge: scores}
    turned = [turned_answers(plain, each, labels) for each in everyone.values()]
    columns = {
        "accuracy": [accuracy(each, labels) for each in everyone.values()],
        "right→wrong": [each.to_wrong for each in turned],
        "wrong→right": [each.to_right for each in turned],
    }
    console.print("\n".join(["", *table_lines(list(everyone), columns)]), markup=False)
    if options.merge == "learned":
        console.print("learnt on four fifths of the held-out images, scored on the rest, in turns")
    return answer_with(scores, held_out[0])


def write_tests(
    options: PredictOptions, output: Path, folds: Mapping[str, Predictions], together: Predictions
) -> Sequence[Path]:
    """Predictions of test images, by fold and together, and the answers."""
    named = {f"test_{name}.npz": test for name, test in folds.items()} | {"test.npz": together}
    for name, test in named.items():
        save_predictions(output / name, test)
    files = [output / name for name in named]
    if options.submission is not None:
        write_answers(options.submission, together, [options.run])
        files.append(options.submission)
    return files
