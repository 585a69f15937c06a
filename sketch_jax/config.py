"""The configuration of a run: the records of the stages, composed; read from a file and the command line."""

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

from sketch_jax import serialization
from sketch_jax.augment.curriculum_options import Curriculum, stages_of
from sketch_jax.augment.options import Augmentation
from sketch_jax.data.options import Loading, NearDuplicates
from sketch_jax.data.sampling import Sampling, Uniform
from sketch_jax.data.sources import Doodles, Source
from sketch_jax.data.splits import HoldOut, Split
from sketch_jax.errors import InputError, refuse_faults, suggestion
from sketch_jax.losses.options import CrossEntropy, Loss
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.models.tuning_options import Everything, Rates, Tuning
from sketch_jax.optim.options import AdamW, Optimizer, ScheduleFreeAdamW, base_of
from sketch_jax.optim.schedule_options import Schedule, WarmupCosine
from sketch_jax.preprocessing import PreprocessingChanges
from sketch_jax.train.options import Averaging, Checkpointing, Logging, Selection, Swa

RANGES = {
    "seed": (0, 2**63 - 1),
    "epochs": (0, 10**6),
    "batch_size": (1, 10**6),
    "image_size": (1, 8192),
    "accumulation_steps": (1, 10**6),
    "folds": (2, 10**3),
    "repeats": (1, 10**3),
}
"""Least and greatest values of numbers that are no records' own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All that decides a run; equal configurations give equal runs."""

    name: str
    """Name of the run."""
    output_dir: str | None = None
    """Directory of the run; None: `runs/<name>`. Started again with the same one, a run goes on."""
    seed: int = 0
    """Root of all randomness: split, order, augmentation, dropout, new parameters."""
    epochs: int = 10
    """Passes over the training images; 0: none, the start weights are evaluated and predict."""
    batch_size: int = 64
    """Images a step, over all devices together."""
    image_size: int | None = None
    """Height and width of the model's input in pixels; None: what the weights or the architecture ask for."""
    accumulation_steps: int = 1
    """Parts that a batch is computed in, one after the other, so that larger ones fit on an accelerator (on a
    CPU it saves no memory); each must be a whole number of images on every device. The gradients are those of
    the batch where the loss is a mean over images; other losses, as soft macro-F1, and batch norms see a part
    at a time."""
    source: Source = Doodles()
    """Where the labelled images come from."""
    duplicates: NearDuplicates | None = None
    """Whether near-duplicates are looked for, to be kept on one side of the split; None: they are not."""
    split: Split = HoldOut()
    """Which images are held out of training to choose the best checkpoint."""
    folds: int | None = None
    """Folds of cross-validation, at least 2: for each a model is trained with that fold held out, in its own
    directory, and the predictions of all are gathered. None: one model, of `split`."""
    repeats: int = 1
    """Times that cross-validation is done, each with the seeds after the last."""
    train_on_all: bool = False
    """Whether nothing is held out: for the last model, when all is chosen."""
    model: ModelOptions = ModelOptions()
    """Architecture and start weights."""
    preprocessing: PreprocessingChanges = PreprocessingChanges()
    """Changes to the preprocessing that the weights ask for."""
    sampling: Sampling = Uniform()
    """How often each training image is drawn."""
    augmentation: Augmentation | Curriculum = Augmentation()
    """What training images go through, on the device: the same in all epochs, or in stages."""
    tuning: Tuning = Everything()
    """Which parameters are trained."""
    rates: Rates = Rates()
    """Factors of the learning rate, parameter by parameter."""
    loss: Loss = CrossEntropy()
    """What training minimises."""
    optimizer: Optimizer = AdamW()
    """How gradients become updates."""
    schedule: Schedule = WarmupCosine()
    """Learning rate over the steps."""
    averaging: Averaging | None = None
    """Average of the weights over the steps, of what is trained alone; None: none is kept."""
    loading: Loading = Loading()
    """How images reach the device."""
    selection: Selection = Selection()
    """Which checkpoint is the best, and whether training may end early."""
    checkpointing: Checkpointing = Checkpointing()
    """What is kept on disk of a run in progress."""
    logging: Logging = Logging()
    """What is written down, how often."""

    def __post_init__(self):
        """Refuses values that no run could have."""
        for field, (least, greatest) in RANGES.items():
            value = getattr(self, field)
            if value is not None and not least <= value <= greatest:
                bound = f"at least {least}" if value < least else f"at most {greatest}"
                raise InputError(f"--{field.replace('_', '-')} {value}: must be {bound}")
        _refuse_places(self)
        _refuse_folds(self)
        if self.batch_size % self.accumulation_steps:
            raise InputError(
                f"--accumulation-steps {self.accumulation_steps}: must divide --batch-size {self.batch_size}"
                "; choose a divisor"
            )
        _refuse_averages(self)
        _refuse_late_stages(self)
        if self.model.frozen_precision != "float32" and isinstance(self.tuning, Everything):
            raise InputError(
                f"--model.frozen-precision {self.model.frozen_precision}: nothing is frozen; leave it out, "
                "or choose a tuning that freezes parameters"
            )


def _refuse_places(config: Config) -> None:
    """Refuses names that would lead elsewhere than below `runs/`."""
    if not config.name or config.name in (".", "..") or Path(config.name).name != config.name:
        raise InputError(f"--name {config.name!r}: must be the name of a directory below runs/, as 'first'")
    if config.output_dir == "":
        raise InputError("--output-dir '': is no directory; name one, or leave the option out")


def _refuse_folds(config: Config) -> None:
    """Refuses cross-validation of what holds nothing out, or that has no folds."""
    if config.train_on_all and config.folds is not None:
        raise InputError(
            f"--train-on-all True: --folds {config.folds} holds each fold out in turn; leave one of them out"
        )
    if config.repeats > 1 and config.folds is None:
        raise InputError(f"--repeats {config.repeats}: repeats cross-validation; set --folds, too")


def _refuse_averages(config: Config) -> None:
    """Refuses averages that the run leaves no place for."""
    if isinstance(config.averaging, Swa) and config.epochs and config.averaging.first_epoch >= config.epochs:
        raise InputError(
            f"--averaging.first-epoch {config.averaging.first_epoch}: the run has {config.epochs} epochs; "
            "begin earlier, or set more --epochs"
        )
    if isinstance(config.averaging, Swa) and config.selection.patience is not None:
        raise InputError(
            f"--selection.patience {config.selection.patience}: the mean over the last epochs needs all of "
            "them; leave it out, or take --averaging.kind Ema"
        )
    if config.averaging is not None and isinstance(base_of(config.optimizer), ScheduleFreeAdamW):
        raise InputError(
            "--averaging: schedule-free training predicts with a mean of its own, which no other can "
            "replace; take --averaging.kind None, or another optimizer"
        )


def _refuse_late_stages(config: Config) -> None:
    """Refuses stages of augmentation that begin when the run is over."""
    refuse_faults(
        f"--augmentation.stages that would never begin in {config.epochs} epochs",
        [
            f"first_epoch {stage.first_epoch}"
            for stage in stages_of(config.augmentation)
            if config.epochs and stage.first_epoch >= config.epochs
        ],
        "let them begin earlier, or set more --epochs",
    )


def run_directory(config: Config) -> Path:
    """Where the run writes."""
    return Path(config.output_dir) if config.output_dir is not None else Path("runs") / config.name


def read_config(path: Path) -> Config:
    """The configuration of a file: `get_config()` of a Python file, or the `config.json` of an earlier run.

    Raises:
        InputError: there is no such file, or it does not hold a configuration.
    """
    if (path / "config.json").is_file():
        raise InputError(f"--config {path}: is the directory of a run; name {path / 'config.json'}")
    if not path.is_file():
        near = sorted(str(file) for file in path.parent.glob("*.py")) if path.parent.is_dir() else []
        there = f"; files there: {', '.join(near)}" if near else ""
        raise InputError(f"--config {path}: no such file{suggestion(str(path), near) or there}")
    if path.suffix == ".json":
        return config_from_json(_parse_json(path))
    return _config_of_module(path)


def config_to_json(config: Config) -> dict[str, Any]:
    """The configuration as JSON types, loadable again by `config_from_json`."""
    return serialization.to_json(config)


def config_from_json(value: dict[str, Any]) -> Config:
    """The configuration that `config_to_json` wrote.

    Raises:
        InputError: a field is unknown or its value does not fit.
    """
    return serialization.from_json(Config, value)


def _parse_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"--config {path}: not JSON ({error})") from error


def _config_of_module(path: Path) -> Config:
    spec = importlib.util.spec_from_file_location(f"sketch_jax_config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"--config {path}: must be a .py file with get_config(), or a run's config.json")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config()
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"--config {path}: {type(error).__name__}: {error}") from error
    if not isinstance(config, Config):
        raise InputError(f"--config {path}: get_config() must return a sketch_jax.config.Config")
    return config
