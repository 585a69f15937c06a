"""What a user sets about checkpoints and logs (imports no jax, so that `--help` starts fast)."""

import dataclasses

from sketch_jax.errors import refuse_faults
from sketch_jax.metric_names import Metric


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpointing:
    """What is kept on disk of a run in progress; a checkpoint is taken at the end of each epoch."""

    keep_last: int = 2
    """Newest checkpoints that are kept, beside the best one; at least 1."""
    every_steps: int | None = None
    """Steps between further checkpoints within an epoch, at least 1; None: at the ends of epochs only."""

    def __post_init__(self):
        """Refuses numbers out of their ranges."""
        _refuse_below_one("checkpointing", self, ("keep_last", "every_steps"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Which checkpoint is the best, and whether training ends where none gets better."""

    metric: Metric = "accuracy"
    """Held-out metric by which the best checkpoint is chosen: the highest, but of `loss` and
    `expected_calibration_error` the lowest."""
    patience: int | None = None
    """Epochs in a row without a better metric after which training ends; None: all epochs are run. The
    schedule of the learning rate stays that of all epochs."""
    least_gain: float = 0.0
    """By how much a metric must better the best one to count against the patience."""

    def __post_init__(self):
        """Refuses numbers out of their ranges."""
        faults = []
        if self.patience is not None and self.patience < 1:
            faults.append(f"--selection.patience {self.patience}: must be at least 1")
        if self.least_gain and self.patience is None:
            faults.append(f"--selection.least-gain {self.least_gain:g}: has no meaning without a patience")
        if self.least_gain < 0:
            faults.append(f"--selection.least-gain {self.least_gain:g}: must be at least 0")
        refuse_faults("training cannot end by these numbers", faults, "set them in these ranges")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Logging:
    """What is written down, how often."""

    every_steps: int = 20
    """Steps between lines of training metrics, at least 1; at the ends of epochs there is one always."""
    tensorboard: bool = True
    """Also write TensorBoard event files."""

    def __post_init__(self):
        """Refuses numbers out of their ranges."""
        _refuse_below_one("logging", self, ("every_steps",))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ema:
    """An exponential moving average of weights and running statistics, moved after each step.

    It is evaluated beside the weights themselves, as `val_ema/…`.
    """

    decay: float = 0.9998
    """Largest weight of the old average in a step, at least 0 and below 1."""
    warmup_power: float = 2 / 3
    """After step n the old average weighs 1 - n ** -power, at most `decay`: the average forgets the start in
    time, and a run of 3,000 steps ends with one of its last 200. 1: the mean of all steps; 0: `decay` from
    the first step on, for runs of many times 1 / (1 - decay) steps. 0 to 1."""
    predicts: bool = True
    """Whether the best checkpoint is chosen by the average's metric and predicts with the average."""

    def __post_init__(self):
        """Refuses numbers out of their ranges."""
        faults = []
        if not 0.0 <= self.decay < 1.0:
            faults.append(f"--averaging.decay {self.decay:g}: must be at least 0 and below 1")
        if not 0.0 <= self.warmup_power <= 1.0:
            faults.append(f"--averaging.warmup-power {self.warmup_power:g}: must be in 0 to 1")
        refuse_faults("numbers of the average out of their ranges", faults, "set them in these ranges")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Swa:
    """The mean of the weights at the ends of the last epochs (stochastic weight averaging); it predicts.

    After the last epoch the statistics of batch norms are measured anew, in one pass over the training images
    as they are, without augmentation; then the mean is evaluated, as `val_swa/…`.
    """

    first_epoch: int
    """Epochs that are over when averaging begins; the ends of all later ones count."""

    def __post_init__(self):
        """Refuses what is no epoch."""
        faults = (
            [f"--averaging.first-epoch {self.first_epoch}: must be at least 0"]
            if self.first_epoch < 0
            else []
        )
        refuse_faults("averaging cannot begin", faults, "set it to 0 or more")


Averaging = Ema | Swa


def averages_predict(averaging: Averaging | None) -> bool:
    """Whether the average predicts, in place of the newest weights."""
    return isinstance(averaging, Swa) or (isinstance(averaging, Ema) and averaging.predicts)


def _refuse_below_one(record: str, options: Checkpointing | Logging, names: tuple[str, ...]) -> None:
    faults = [
        f"--{record}.{name.replace('_', '-')} {value}: must be at least 1"
        for name in names
        if (value := getattr(options, name)) is not None and value < 1
    ]
    refuse_faults("numbers out of their ranges", faults, "set 1 or more")
