"""Cross-validation: a run for each fold, each resumable by itself, and what all of them say together."""

import csv
import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from sketch_jax.config import Config, config_to_json, run_directory
from sketch_jax.data.sources import load_layout
from sketch_jax.data.splits import KFold
from sketch_jax.ensemble.members import choose, mean_of, put_together
from sketch_jax.inference.submission import write_submission
from sketch_jax.metrics import summarise
from sketch_jax.predictions import Predictions, load_predictions, save_predictions
from sketch_jax.run import Result, run
from sketch_jax.run.record import complete_config
from sketch_jax.run.stages import FREE_FIELDS
from sketch_jax.train.differences import differences
from sketch_jax.train.run_directory import (
    SPLIT_NAME,
    open_run,
    read_config_json,
    read_run_card,
    write_run_card,
)

SHOWN = ("accuracy", "macro_f1", "loss")
"""Metrics of the table at the end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoldRun:
    """One of the runs."""

    repeat: int
    config: Config

    @property
    def name(self) -> str:
        """Of its directory, and of its predictions."""
        return self.config.name

    @property
    def directory(self) -> Path:
        """Where it writes."""
        return run_directory(self.config)


def run_folds(config: Config, console: Console | None = None) -> Result:
    """Trains and predicts a model for each fold, or goes on with it, and gathers their predictions.

    Written below the run's directory: a run for each fold; `predictions/oof.npz`, in which each training
    image is predicted by the model that did not train on it; `predictions/test_<fold>.npz` and their mean,
    `predictions/test.npz`; `submission.csv` of that mean; and `run.json` with all metrics.

    Args:
        config: `folds` is at least 2.
        console: where messages go; None: standard output.

    Raises:
        InputError: as for `run`.
    """
    console = console or Console(highlight=False, soft_wrap=True)
    directory, runs = run_directory(config), fold_runs(config)
    stated = config_to_json(config)
    with open_run(directory, stated, free_fields=FREE_FIELDS, complete=complete_config):
        for place, member in enumerate(runs, 1):
            console.print(f"\n{member.name}: model {place} of {len(runs)}", markup=False)
            if is_finished(member):
                console.print("finished already", markup=False)
                continue
            result = run(member.config, console)
            if result.exit_code:
                return dataclasses.replace(result, directory=directory)
        facts = gather(config, runs)
        write_run_card(directory, {"name": config.name, "seed": config.seed, "status": "finished", **facts})
    console.print("\n".join(["", *summary_lines(directory, facts)]), markup=False)
    return Result(directory=directory, exit_code=0, metrics=facts["final_metrics"])


def fold_runs(config: Config) -> Sequence[FoldRun]:
    """The runs of all folds, of all repetitions."""
    return [
        FoldRun(repeat=repeat, config=config_of_fold(config, repeat, fold))
        for repeat in range(config.repeats)
        for fold in range(config.folds or 0)
    ]


def config_of_fold(config: Config, repeat: int, fold: int) -> Config:
    """The configuration of one of the runs: a run of its own, in a directory below."""
    split = config.split
    name = f"fold{fold}" if config.repeats == 1 else f"seed{repeat}_fold{fold}"
    return dataclasses.replace(
        config,
        name=name,
        output_dir=str(run_directory(config) / name),
        seed=config.seed + repeat,
        split=KFold(
            count=config.folds or 0,
            fold=fold,
            stratified=split.stratified,
            seed=None if split.seed is None else split.seed + repeat,
        ),
        folds=None,
        repeats=1,
    )


def is_finished(member: FoldRun) -> bool:
    """Whether a run came to its end with this very configuration."""
    if read_run_card(member.directory).get("status") != "finished":
        return False
    return not differences(read_config_json(member.directory), config_to_json(member.config))


def gather(config: Config, runs: Sequence[FoldRun]) -> dict[str, Any]:
    """Writes the predictions of all folds together; returns what stands in the run card."""
    folder = run_directory(config) / "predictions"
    folder.mkdir(exist_ok=True)
    held_out = out_of_fold(runs, [_validation(member) for member in runs])
    save_predictions(folder / "oof.npz", held_out)
    metrics = _named("oof", held_out)
    tests = {member.name: _test_predictions(member) for member in runs}
    found = {name: test for name, test in tests.items() if test is not None}
    if found:
        for name, test in found.items():
            save_predictions(folder / f"test_{name}.npz", test)
        together = mean_of(list(found.values()))
        save_predictions(folder / "test.npz", together)
        metrics |= _named("test", together)
        layout = load_layout(config.source)
        if layout is not None:
            write_submission(run_directory(config) / "submission.csv", together, layout)
    cards = {member.name: read_run_card(member.directory) for member in runs}
    folds = {name: {key: card[key] for key in ("best", "final_metrics")} for name, card in cards.items()}
    return {"folds": folds, **_spread(list(folds.values())), "final_metrics": metrics}


def out_of_fold(runs: Sequence[FoldRun], parts: Sequence[Predictions]) -> Predictions:
    """Images that were held out, predicted by the model that did not train on them, in the order of the data.

    With several repetitions, the mean of their probabilities.

    Args:
        runs: of all folds, of all repetitions.
        parts: what each of them predicts of its held-out images.
    """
    repeats = sorted({member.repeat for member in runs})
    gathered = [
        put_together([part for member, part in zip(runs, parts, strict=True) if member.repeat == repeat])
        for repeat in repeats
    ]
    with open(runs[0].directory / SPLIT_NAME, newline="", encoding="utf-8") as file:
        order = [row["id"] for row in csv.DictReader(file)]
    common = set(gathered[0].ids).intersection(*(part.ids for part in gathered[1:]))
    kept = [image for image in order if image in common]
    ordered = [choose(part, kept) for part in gathered]
    return ordered[0] if len(ordered) == 1 else mean_of(ordered)


def summary_lines(directory: Path, facts: Mapping[str, Any]) -> Sequence[str]:
    """A table of the folds, their mean and deviation, and where the predictions are."""
    names = [name for name in SHOWN if f"val/{name}" in facts["mean"]]
    width = max(map(len, (*facts["folds"], "deviation")))
    lines = [f"{'':<{width}}  " + "  ".join(f"{name:>9}" for name in names)]
    for fold, card in facts["folds"].items():
        values = "  ".join(f"{card['final_metrics'][f'val/{name}']:9.4f}" for name in names)
        lines.append(f"{fold:<{width}}  {values}")
    for what in ("mean", "deviation"):
        values = "  ".join(f"{facts[what][f'val/{name}']:9.4f}" for name in names)
        lines.append(f"{what:<{width}}  {values}")
    metrics = facts["final_metrics"]
    lines.append(f"out of fold: accuracy {metrics['oof/accuracy']:.4f}")
    if "test/accuracy" in metrics:
        lines.append(f"test, by the mean of all models: accuracy {metrics['test/accuracy']:.4f}")
    written = [directory / name for name in ("predictions", "submission.csv", "run.json")]
    return [*lines, "", "made:", *(f"  {path}" for path in written if path.exists())]


def _named(part: str, predictions: Predictions) -> dict[str, float]:
    summary = summarise(predictions.logits, predictions.labels)
    return {f"{part}/{name}": value for name, value in summary.items()}


def _spread(folds: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation (of a sample) of each metric over the runs; null counts as no number."""
    metrics = [fold["final_metrics"] for fold in folds]
    columns = {name: [part[name] for part in metrics] for name in metrics[0]}
    whole = {name: values for name, values in columns.items() if None not in values}
    return {
        "mean": {name: statistics.fmean(values) for name, values in whole.items()},
        "deviation": {name: statistics.stdev(values) for name, values in whole.items()},
    }


def _validation(member: FoldRun) -> Predictions:
    return load_predictions(member.directory / "predictions" / "validation.npz")


def _test_predictions(member: FoldRun) -> Predictions | None:
    path = member.directory / "predictions" / "test.npz"
    return load_predictions(path) if path.is_file() else None
