"""What a user sets about the loss (imports no jax, so that `--help` starts fast)."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from sketch_jax.errors import refuse_faults

RULES: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "label_smoothing": (lambda value: 0.0 <= value < 1.0, "at least 0 and below 1"),
    "target_threshold": (lambda value: 0.0 <= value < 1.0, "at least 0 and below 1"),
    "beta": (lambda value: 0.0 <= value < 1.0, "at least 0 and below 1"),
    "alpha": (lambda value: 0.0 <= value <= 1.0, "0 to 1"),
    "clip": (lambda value: 0.0 <= value < 1.0, "at least 0 and below 1"),
    "gamma": (lambda value: value >= 0.0, "at least 0"),
    "gamma_positive": (lambda value: value >= 0.0, "at least 0"),
    "gamma_negative": (lambda value: value >= 0.0, "at least 0"),
    "exponent": (lambda value: value >= 0.0, "at least 0"),
    "tau": (lambda value: value >= 0.0, "at least 0"),
    "weight": (lambda value: value >= 0.0, "at least 0"),
    "multiplier": (lambda value: value > 0.0, "above 0"),
    "spread": (lambda value: value > 0.0, "above 0"),
}
"""By a field's name: which numbers it may hold."""


class Checked:
    """A record whose numbers keep `RULES`."""

    def __post_init__(self):
        """Refuses numbers out of their ranges."""
        record: Any = self
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(record)}
        refuse_faults(
            f"{type(self).__name__}: numbers of the loss out of their ranges",
            [
                f"--loss.{name.replace('_', '-')} {values[name]:g}: must be {wanted}"
                for name, (allows, wanted) in RULES.items()
                if values.get(name) is not None and not (math.isfinite(values[name]) and allows(values[name]))
            ],
            "set them in these ranges",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InverseFrequency(Checked):
    """Each class weighs by a power of its share of the training images, falling; the mean over them is 1."""

    exponent: float = 1.0
    """Power of the inverse share, at least 0; 0: all classes weigh the same, 1: all classes together do."""
    multiplier: float = 1.0
    """Factor of all weights, above 0: how much this loss counts beside others."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EffectiveNumber(Checked):
    """Each class weighs by the inverse of its effective number of images; the mean over images is 1."""

    beta: float = 0.999
    """How far an image stands for itself, at least 0 and below 1; 0: all classes weigh the same, towards 1:
    inverse frequency."""


ClassWeights = InverseFrequency | EffectiveNumber


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossEntropy(Checked):
    """Cross-entropy of the softmax."""

    label_smoothing: float = 0.1
    """Weight of the uniform distribution in the targets, 0 to below 1."""
    class_weights: ClassWeights | None = None
    """How classes of few images count for more; None: all images count the same."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BinaryCrossEntropy(Checked):
    """Binary cross-entropy of each class's sigmoid, as in the ResNet recipes of timm."""

    label_smoothing: float = 0.1
    """Weight of the uniform distribution in the targets, 0 to below 1."""
    target_threshold: float | None = None
    """Targets above it, after smoothing, become 1 and others 0, so that a mixed image has all its classes;
    0 to below 1. None: targets stay soft."""
    sum_classes: bool = False
    """Whether the classes of an image are summed, not averaged."""
    class_weights: ClassWeights | None = None
    """How classes of few images count for more; None: all classes count the same."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Focal(Checked):
    """Cross-entropy of the softmax in which images that are answered well count less."""

    gamma: float = 2.0
    """Power of the missing probability that weighs a class's term, at least 0; 0 is cross-entropy."""
    label_smoothing: float = 0.0
    """Weight of the uniform distribution in the targets, 0 to below 1."""
    class_weights: ClassWeights | None = None
    """How classes of few images count for more; None: all images count the same."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SigmoidFocal(Checked):
    """Focal loss of each class's sigmoid, summed over the classes, as for detectors."""

    gamma: float = 2.0
    """Power of the missing probability that weighs each term, at least 0."""
    alpha: float | None = 0.25
    """Weight of the positive terms, 0 to 1; negative ones have the rest. None: neither is weighted."""
    label_smoothing: float = 0.0
    """Weight of the uniform distribution in the targets, 0 to below 1."""
    class_weights: ClassWeights | None = None
    """How classes of few images count for more; None: all classes count the same."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asymmetric(Checked):
    """Asymmetric loss of the softmax: one focusing power for right classes, another for wrong ones."""

    gamma_positive: float = 1.0
    """Power of the missing probability that weighs a right class, at least 0."""
    gamma_negative: float = 4.0
    """Power of the probability that weighs a wrong class, at least 0; matters with smoothing."""
    label_smoothing: float = 0.1
    """Weight of the uniform distribution in the targets, 0 to below 1."""
    class_weights: ClassWeights | None = None
    """How classes of few images count for more; None: all images count the same."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SigmoidAsymmetric(Checked):
    """Asymmetric loss of each class's sigmoid, summed over the classes."""

    gamma_positive: float = 1.0
    """Power of the missing probability that weighs a right class, at least 0."""
    gamma_negative: float = 4.0
    """Power of the probability, less `clip`, that weighs a wrong class, at least 0."""
    clip: float = 0.05
    """Probability up to which a wrong class costs nothing, 0 to below 1."""
    label_smoothing: float = 0.0
    """Weight of the uniform distribution in the targets, 0 to below 1."""
    class_weights: ClassWeights | None = None
    """How classes of few images count for more; None: all classes count the same."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoftMacroF1:
    """One minus the mean F1 of the classes in the batch, with probabilities for counts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogitAdjusted(Checked):
    """Cross-entropy of logits plus the classes' log shares of the training images; answers without them."""

    tau: float = 1.0
    """Factor of the log shares, at least 0; 1 aims at the balanced error."""
    label_smoothing: float = 0.0
    """Weight of the uniform distribution in the targets, 0 to below 1."""


DirectLoss = (
    CrossEntropy
    | BinaryCrossEntropy
    | Focal
    | SigmoidFocal
    | Asymmetric
    | SigmoidAsymmetric
    | SoftMacroF1
    | LogitAdjusted
)
"""A loss over one logit a class."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightedSum:
    """Several losses over the same logits."""

    losses: tuple[DirectLoss, ...] = (CrossEntropy(), SoftMacroF1())
    """The losses."""
    weights: tuple[float, ...] = (1.0, 1.0)
    """Factor of each loss, at least 0."""

    def __post_init__(self):
        """Refuses weights that do not go with the losses."""
        faults = [
            f"--loss.weights {weight:g}: must be at least 0" for weight in self.weights if not weight >= 0.0
        ]
        if len(self.weights) != len(self.losses):
            faults.append(f"--loss.weights: {len(self.weights)} weights for {len(self.losses)} losses")
        if not sum(self.weights) > 0.0:
            faults.append("--loss.weights: at least one must be above 0")
        refuse_faults("WeightedSum: every loss needs a weight", faults, "give one weight for each loss")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ordinal(Checked):
    """For classes in an order, such as ages: one score, and a threshold between neighbouring classes."""

    class_weights: ClassWeights | None = None
    """How images of small classes count for more; None: all images count the same."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regression(Checked):
    """For classes that are ranges of a number, such as ages: the number is predicted and cut into classes."""

    target: Literal["classes", "numbers"] = "classes"
    """What is predicted: a number that stands for the class, or the true number of each image, which
    MaskFolders (the age) and Csv (`--source.number-column`) tell."""
    values: tuple[float, ...] = ()
    """Number that stands for each class, rising; none: 0, 1, 2 and so on. Of true numbers they are the
    classes' means, and are not set."""
    cuts: tuple[float, ...] = ()
    """Numbers where the next class begins, rising; none: half-way between the values, of true numbers between
    the largest of a class and the least of the next."""
    spread: float = 0.1
    """How unsure the predicted number counts as, above 0, in the least distance between values: it makes
    probabilities of it, and is small so that the answer is the class whose range holds the number."""
    class_weights: ClassWeights | None = None
    """How images of small classes count for more; None: all images count the same."""

    def __post_init__(self):
        """Refuses values and cuts that are no ranges."""
        super().__post_init__()
        faults = [
            f"--loss.{name} {' '.join(f'{number:g}' for number in numbers)}: must rise"
            for name, numbers in (("values", self.values), ("cuts", self.cuts))
            if any(not low < high for low, high in itertools.pairwise(numbers))
        ]
        if self.target == "numbers" and self.values:
            faults.append("--loss.values: are the classes' means where --loss.target is numbers")
        if self.values and self.cuts and len(self.cuts) != len(self.values) - 1:
            faults.append(
                f"--loss.cuts: {len(self.cuts)} cuts for {len(self.values)} values; one less is due"
            )
        refuse_faults("Regression: the classes must be ranges of a number", faults, "correct these numbers")


TaskChoice = DirectLoss | WeightedSum | Ordinal | Regression
"""A loss of one task."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskLoss(Checked):
    """The loss of one of several tasks."""

    task: str
    """Name of the task in the source, such as `age`."""
    loss: TaskChoice = CrossEntropy()
    """Over the task's own logits."""
    weight: float = 1.0
    """Factor of the loss in the sum, at least 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiTask:
    """A head and a loss for each task of the source, summed; the answer is the likeliest class of all."""

    losses: tuple[TaskLoss, ...] = ()
    """Losses of tasks by name; tasks that are not named have cross-entropy of weight 1."""


Loss = TaskChoice | MultiTask
