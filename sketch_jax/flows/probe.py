"""A frozen backbone and many heads: features once, then all folds, seeds and rates side by side."""

import contextlib
import dataclasses
import itertools
import json
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn

from sketch_jax.augment.curriculum_options import stages_of
from sketch_jax.config import Config, config_to_json, run_directory
from sketch_jax.data.order import TrainingOrder, steps_per_epoch
from sketch_jax.data.sources import load_layout
from sketch_jax.data.splits import KFold, create_folds, split_rows
from sketch_jax.ensemble.members import mean_of
from sketch_jax.errors import InputError, refuse_faults
from sketch_jax.files import make_directory, write_atomically
from sketch_jax.flows.ensemble import table_lines
from sketch_jax.flows.features import plan_views, stored_features
from sketch_jax.flows.head_grid import HeadTraining, Orders, predict_heads, train_heads
from sketch_jax.inference.predict import as_predictions
from sketch_jax.inference.submission import write_submission
from sketch_jax.metric_names import HIGHER_IS_BETTER
from sketch_jax.metrics import summarise
from sketch_jax.models.heads import create_pooled_head, subtree
from sketch_jax.optim.options import Optimizer, Sam, base_of
from sketch_jax.optim.schedule import create_schedule
from sketch_jax.optim.schedule_options import Plateau
from sketch_jax.predictions import Predictions, save_predictions
from sketch_jax.run.setting import Setting, prepare
from sketch_jax.train.host_memory import keep_freed_memory
from sketch_jax.train.program_cache import keep_compiled_programs
from sketch_jax.train.run_directory import CONFIG_NAME, has_checkpoint
from sketch_jax.train.start import fresh_classifiers

PROBE_NAME = "probe.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """The grid of heads."""

    config: Config
    """Its model is the backbone; its loss, optimizer, schedule, epochs and batch size train the heads."""
    heads: tuple[tuple[int, ...], ...]
    """Widths of the hidden layers of each kind of head; none: one linear map."""
    folds: int
    """Of cross-validation, at least 2."""
    seeds: int
    """Repetitions with other starts and orders, at least 1; the folds are the same."""
    rates: tuple[float, ...]
    """Learning rates; empty: the config's."""
    decays: tuple[float, ...]
    """Weight decays; empty: the config's."""
    views: int
    """Augmented views of each training image, for every stage of the augmentation; 0: the image alone."""


class Trial(NamedTuple):
    """A head's place in the grid; it is trained once for each fold."""

    hidden: tuple[int, ...]
    seed: int
    rate: float
    decay: float

    @property
    def kind(self) -> str:
        """Of the head, for names of directories."""
        return "mlp_" + "_".join(map(str, self.hidden)) if self.hidden else "linear"

    @property
    def name(self) -> str:
        """Of its directory of predictions."""
        return f"{self.kind}_rate{self.rate!r}_decay{self.decay!r}_seed{self.seed}"


class Tables(NamedTuple):
    """What heads read."""

    train: Any
    """Features [rows, views, width], on the devices."""
    test: Any | None
    """Features [rows, width], on the devices."""
    views: int
    """Augmented ones of each stage."""


def run_probe(options: ProbeOptions, console: Console) -> Mapping[str, Any]:
    """Computes the features or finds them, trains all heads, and writes the predictions of each.

    Below a directory of its own, `runs/NAME-probe`: `predictions/TRIAL/oof.npz`, `test_fold<k>.npz` and
    `test.npz` of every trial; `predictions/oof.npz` and the others of the trial that is best by the config's
    `selection.metric`; `submission.csv` of it; and `probe.json`, the summary.

    Args:
        options: the grid.
        console: for progress and tables.

    Returns:
        A summary of JSON values.

    Raises:
        InputError: data, weights and configuration do not fit, or the disk cannot be written.
    """
    keep_freed_memory()
    keep_compiled_programs()
    config = config_of_grid(options)
    directory = run_directory(config)
    refuse_runs(directory)
    setting = prepare(config, console)
    if setting.objective.heads:
        raise InputError(
            "--loss: heads of several tasks, and ordinal ones, are not probed; take another loss"
        )
    began = time.perf_counter()
    tables, found = load_tables(setting, options.views)
    feature_seconds = time.perf_counter() - began
    state = "read from the store" if found else "computed"
    console.print(f"features {tables.train.shape} {state} in {feature_seconds:.1f} s", markup=False)
    began = time.perf_counter()
    folds = create_folds(config.split, setting.data.dataset.train, config.seed)
    predictions = dict(train_grid(setting, options, tables, folds))
    head_seconds = time.perf_counter() - began
    scores = {trial: summarise(oof.logits, oof.labels) for trial, (oof, _) in predictions.items()}
    metric = config.selection.metric
    sign = 1.0 if HIGHER_IS_BETTER[metric] else -1.0
    best = max(scores, key=lambda trial: sign * scores[trial][metric])
    files = write_predictions(setting, directory, predictions, best)
    console.print("\n".join(["", *summary_lines(scores)]), markup=False)
    count = len(predictions) * options.folds
    console.print(f"\n{count:,} heads in {head_seconds:.1f} s; the best is {best.name}", markup=False)
    for path in files:
        console.print(f"made {path}", markup=False)
    facts = {
        "best": best.name,
        "held_out": scores[best],
        "trials": {trial.name: score["accuracy"] for trial, score in scores.items()},
        "heads": count,
        "feature_seconds": feature_seconds,
        "features_were_stored": found,
        "head_seconds": head_seconds,
        "files": [str(path) for path in files],
    }
    write_atomically(directory / PROBE_NAME, json.dumps(facts, indent=2) + "\n")
    return facts


def config_of_grid(options: ProbeOptions) -> Config:
    """The configuration whose folds, backbone and recipe the grid has, with a directory of its own.

    Raises:
        InputError: it asks for what heads on stored features do not have.
    """
    config, split = options.config, options.config.split
    rates, plain = config.rates, Config(name="plain")
    unheeded = {
        "--schedule.kind Plateau, which heeds metrics between epochs": isinstance(config.schedule, Plateau),
        "--averaging": config.averaging is not None,
        "--selection.patience": config.selection.patience is not None,
        "--rates.layer-decay and --rates.factors": rates != plain.rates,
        "--sampling": config.sampling != plain.sampling,
        "--model.head.rows": config.model.head.rows is not None,
        "--train-on-all True": config.train_on_all,
    }
    refuse_faults(
        "what heads on stored features are not trained with",
        [option for option, given in unheeded.items() if given],
        "leave these options out, or train by sketch_jax.main",
    )
    return dataclasses.replace(
        config,
        name=f"{config.name}-probe" if config.output_dir is None else config.name,
        split=KFold(count=options.folds, stratified=split.stratified, seed=split.seed),
        folds=None,
        repeats=1,
    )


def refuse_runs(directory: Path) -> None:
    """Refuses the directory of a run; removes the predictions of an earlier grid.

    Raises:
        InputError: a run lies there.
    """
    if has_checkpoint(directory) or ((directory / CONFIG_NAME).is_file() and not _is_grid(directory)):
        raise InputError(f"{directory}: holds a run; give the grid a directory of its own by --output-dir")
    if _is_grid(directory) and (directory / "predictions").is_dir():
        shutil.rmtree(directory / "predictions")


def _is_grid(directory: Path) -> bool:
    return (directory / PROBE_NAME).is_file()


def load_tables(setting: Setting, views: int) -> tuple[Tables, bool]:
    """The features of all images, and whether they were all in the store."""
    data = setting.data.dataset
    train, found = stored_features(setting, data.train, plan_views(setting, views), "training")
    if data.test is None:
        return Tables(jnp.asarray(train), None, views), found
    test, found_test = stored_features(setting, data.test, plan_views(setting, 0), "test")
    return Tables(jnp.asarray(train), jnp.asarray(test[:, 0]), views), found and found_test


def train_grid(
    setting: Setting, options: ProbeOptions, tables: Tables, folds: np.ndarray
) -> Sequence[tuple[Trial, tuple[Predictions, Sequence[Predictions]]]]:
    """Trials with their out-of-fold predictions and those of the test images by fold."""
    config = setting.config
    optimizer = base_of(config.optimizer)
    rates = options.rates or (optimizer.learning_rate,)
    decays = options.decays or (optimizer.weight_decay,)
    orders, epoch = draw_orders(setting, options, folds)
    steps = orders.rows.shape[1]
    numbers = jnp.arange(steps)
    table = np.stack([create_schedule(config.schedule, rate, steps, epoch)(numbers) for rate in rates])
    found = []
    for hidden, decay in itertools.product(options.heads, decays):
        training = create_training(setting, hidden, decay)
        seeds = range(config.seed, config.seed + options.seeds)
        keys = jnp.stack([jax.random.key(seed) for seed in seeds for _ in range(options.folds)])
        start = jax.jit(jax.vmap(training.head.init))(keys)
        labels = jnp.asarray(setting.data.dataset.train.labels)
        with _bar(setting.console, f"heads {hidden or 'linear'}, decay {decay:g}", steps) as report:
            params = train_heads(training, start, tables.train, labels, orders, table, epoch, report)
        for seed, (place, rate) in itertools.product(range(options.seeds), enumerate(rates)):
            rows = [seed * options.folds + fold for fold in range(options.folds)]
            members = [head_of(params, row, place) for row in rows]
            trial = Trial(hidden, config.seed + seed, rate, decay)
            found.append((trial, predict_trial(setting, training, members, tables, folds)))
    return found


def head_of(params: Any, trial: int, rate: int) -> Any:
    """The parameters of one head of those that were trained side by side."""
    return jax.tree.map(lambda leaf: leaf[trial, rate], params)


def draw_orders(setting: Setting, options: ProbeOptions, folds: np.ndarray) -> tuple[Orders, int]:
    """What each fold of each seed sees, as a run of its own would, and the steps of an epoch.

    All take as many steps as the fold with the most training images asks for.

    Raises:
        InputError: a fold leaves too few images for a batch.
    """
    config = setting.config
    train_rows = [split_rows(folds, fold)[0] for fold in range(options.folds)]
    fewest = min(map(len, train_rows))
    if fewest < config.batch_size:
        raise InputError(
            f"--batch-size {config.batch_size}: a fold leaves only {fewest} training images; choose at most "
            f"{fewest}, or more --folds"
        )
    epoch = max(steps_per_epoch(len(rows), config.batch_size) for rows in train_rows)
    steps = config.epochs * epoch
    pairs = [(config.seed + seed, fold) for seed in range(options.seeds) for fold in range(options.folds)]
    rows = [
        np.stack([_order(train_rows[fold], config.batch_size, seed, steps)[step] for step in range(steps)])
        for seed, fold in pairs
    ]
    return Orders(
        rows=np.stack(rows), views=_draw_views(setting, options.views, pairs, (steps, epoch))
    ), epoch


def create_training(setting: Setting, hidden: tuple[int, ...], decay: float) -> HeadTraining:
    """How heads of a kind are trained: as the config trains its own."""
    config, model = setting.config, setting.start.model
    options = dataclasses.replace(config.model.head, hidden=hidden, rows=None)
    head = create_pooled_head(options, model.feature_width, model.class_count, dropout=config.model.dropout)
    if hidden == config.model.head.hidden:  # begins as that of a run
        head = dataclasses.replace(
            head, init=lambda key: subtree(fresh_classifiers(model, key), model.classifier)
        )
    return HeadTraining(
        head=head,
        loss=setting.objective.loss,
        optimizer=_with_decay(config, decay),
        class_count=model.class_count,
        dropout_samples=options.dropout_samples,
    )


def predict_trial(
    setting: Setting,
    training: HeadTraining,
    members: Sequence[Any],
    tables: Tables,
    folds: np.ndarray,
) -> tuple[Predictions, Sequence[Predictions]]:
    """Held-out images by the fold's head that did not see them, and test images by the head of each fold."""
    data = setting.data.dataset
    held_out = np.flatnonzero(folds >= 0)
    logits = np.zeros((len(folds), training.class_count), np.float32)
    for fold, params in enumerate(members):
        rows = np.flatnonzero(folds == fold)
        logits[rows] = predict_heads(training.head, params, tables.train[:, 0], rows)
    tests = []
    if data.test is not None and tables.test is not None:
        every = np.arange(len(data.test))
        answers = [predict_heads(training.head, params, tables.test, every) for params in members]
        tests = [as_predictions(data.test, every, answer) for answer in answers]
    return as_predictions(data.train, held_out, logits[held_out]), tests


def write_predictions(
    setting: Setting,
    directory: Path,
    predictions: Mapping[Trial, tuple[Predictions, Sequence[Predictions]]],
    best: Trial,
) -> Sequence[Path]:
    """Writes the predictions of all trials, those of the best and its answers where a run has its own."""
    folder = directory / "predictions"
    for trial, (held_out, tests) in predictions.items():
        for place in (folder / trial.name, *((folder,) if trial == best else ())):
            make_directory(place)
            save_predictions(place / "oof.npz", held_out)
            for fold, test in enumerate(tests):
                save_predictions(place / f"test_fold{fold}.npz", test)
            if tests:
                save_predictions(place / "test.npz", mean_of(tests))
    files = [folder]
    layout = load_layout(setting.config.source)
    if layout is not None and predictions[best][1]:
        write_submission(directory / "submission.csv", mean_of(predictions[best][1]), layout)
        files.append(directory / "submission.csv")
    write_atomically(
        directory / CONFIG_NAME,
        json.dumps(config_to_json(setting.config), indent=2, ensure_ascii=False) + "\n",
    )
    return files


def summary_lines(scores: Mapping[Trial, Mapping[str, float]]) -> Sequence[str]:
    """Accuracy of each kind of head at each rate and decay over the seeds; the best first."""
    groups: dict[str, list[float]] = {}
    for trial, score in scores.items():
        name = f"{trial.kind}, rate {trial.rate:g}, decay {trial.decay:g}"
        groups.setdefault(name, []).append(score["accuracy"])
    ranked = sorted(groups, key=lambda name: -statistics.fmean(groups[name]))
    columns = {
        "mean": [statistics.fmean(groups[name]) for name in ranked],
        "least": [min(groups[name]) for name in ranked],
        "most": [max(groups[name]) for name in ranked],
    }
    return ["out-of-fold accuracy", *table_lines(ranked, columns)]


def _order(rows: np.ndarray, batch_size: int, seed: int, steps: int) -> TrainingOrder:
    return TrainingOrder(
        rows=rows,
        batch_size=batch_size,
        seed=seed,
        start_step=0,
        steps=steps,
        process_index=0,
        process_count=1,
    )


def _draw_views(
    setting: Setting, views: int, pairs: Sequence[tuple[int, int]], lengths: tuple[int, int]
) -> np.ndarray:
    """Which view of each image a trial sees in each step: one of those of the step's stage, by lot."""
    steps, epoch = lengths
    shape = steps, setting.config.batch_size
    if not views:
        return np.zeros((len(pairs), *shape), np.int32)
    first_epochs = [stage.first_epoch for stage in stages_of(setting.config.augmentation)]
    stage_of = np.searchsorted(first_epochs, np.arange(steps) // epoch, side="right") - 1
    drawn = [np.random.default_rng([seed, fold]).integers(0, views, shape) for seed, fold in pairs]
    return (1 + stage_of[None, :, None] * views + np.stack(drawn)).astype(np.int32)


def _with_decay(config: Config, decay: float) -> Optimizer:
    """The optimizer with another weight decay; that of the base where it is wrapped."""
    base = dataclasses.replace(base_of(config.optimizer), weight_decay=decay)
    return dataclasses.replace(config.optimizer, base=base) if isinstance(config.optimizer, Sam) else base


@contextlib.contextmanager
def _bar(console: Console, what: str, steps: int) -> Iterator[Callable[[int, int], None]]:
    columns = [*Progress.get_default_columns()[:-1], TimeRemainingColumn()]
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=steps)
        yield lambda done, total: bar.update(task, completed=done, total=total)
