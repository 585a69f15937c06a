"""The loss that a record asks for, the heads that it needs, and what their logits say of the classes."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.arrays import Mask, Targets
from sketch_jax.errors import InputError, refuse_faults
from sketch_jax.losses import class_weights, ordinal, sigmoid, softmax
from sketch_jax.losses.class_weights import ClassCounts
from sketch_jax.losses.factors import HeadLogits, join_log_probabilities, split_logits, task_targets
from sketch_jax.losses.numbers import Numbers, refuse_other_cuts, require_numbers, summarize_numbers
from sketch_jax.losses.options import (
    Asymmetric,
    BinaryCrossEntropy,
    ClassWeights,
    CrossEntropy,
    DirectLoss,
    Focal,
    LogitAdjusted,
    Loss,
    MultiTask,
    Ordinal,
    Regression,
    SigmoidAsymmetric,
    SigmoidFocal,
    SoftMacroF1,
    TaskChoice,
    TaskLoss,
    WeightedSum,
)
from sketch_jax.tasks import Tasks, membership, task_index

LossFunction = Callable[[HeadLogits, Targets, Mask], Float[Array, ""]]
"""(logits, targets, False where a row does not count) -> mean over the rows."""

ONLY_HEAD = "classes"
"""Name of the head where one task has other than a logit a class."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """What training minimises, and how its logits are read."""

    loss: LossFunction
    class_logits: Callable[[HeadLogits], Float[Array, "batch classes"]]
    """From the model's logits to those of the classes, whose softmax are the probabilities."""
    heads: Mapping[str, int]
    """Logits of each named head, in the order in which they lie side by side; empty: the model's own head,
    with one logit a class."""
    ordinal_heads: tuple[str, ...] = ()
    """Heads whose logits are one score plus a bias each."""
    reads_numbers: bool = False
    """Whether targets have the images' true numbers in a column after the soft labels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """The loss of one task and how its logits are read."""

    loss: LossFunction
    log_probabilities: Callable[[HeadLogits], Float[Array, "batch classes"]]
    logit_count: int
    ordinal: bool = False
    reads_numbers: bool = False
    """Whether the true number stands in a column after the soft labels."""


def create_loss(
    options: Loss, counts: ClassCounts, tasks: Tasks | None = None, numbers: Numbers | None = None
) -> Objective:
    """Builds the objective of a record.

    Args:
        options: the record.
        counts: training images of each class.
        tasks: what the classes are made of; None: they are of one task.
        numbers: of the training images; None: the source tells none.

    Raises:
        InputError: the record does not fit the classes, the tasks or the numbers.
    """
    if isinstance(options, MultiTask):
        return _create_multi_task(options, counts, _require_tasks(tasks), numbers)
    part = create_part(options, counts, numbers)
    if not isinstance(options, Ordinal | Regression):
        return Objective(loss=part.loss, class_logits=lambda logits: logits, heads={})
    return Objective(
        loss=part.loss,
        class_logits=part.log_probabilities,
        heads={ONLY_HEAD: part.logit_count},
        ordinal_heads=(ONLY_HEAD,) if part.ordinal else (),
        reads_numbers=part.reads_numbers,
    )


def create_part(options: TaskChoice, counts: ClassCounts, numbers: Numbers | None = None) -> Part:
    """The loss of one task, from the training images of its classes."""
    match options:
        case Ordinal():
            weights = weight_array(options.class_weights, counts)
            return Part(
                loss=partial(ordinal.ordinal_cross_entropy, weights=weights),
                log_probabilities=ordinal.ordinal_log_probabilities,
                logit_count=len(counts) - 1,
                ordinal=True,
            )
        case Regression():
            return _create_regression(options, counts, numbers)
        case WeightedSum():
            losses = [create_direct(loss, counts) for loss in options.losses]
            return _direct_part(partial(weighted_sum, losses, options.weights), counts)
        case _:
            return _direct_part(create_direct(options, counts), counts)


def create_direct(options: DirectLoss, counts: ClassCounts) -> LossFunction:
    """The function of a loss over one logit a class."""
    match options:
        case SoftMacroF1():
            return softmax.soft_macro_f1
        case LogitAdjusted(tau=tau):
            shares = jnp.asarray(class_weights.log_shares(counts), jnp.float32)
            function = partial(softmax.logit_adjusted, log_shares=shares, tau=tau)
        case Asymmetric():
            return partial(
                softmax.asymmetric,
                gamma_positive=options.gamma_positive,
                gamma_negative=options.gamma_negative,
                smoothing=options.label_smoothing,
                weights=weight_array(options.class_weights, counts),
            )
        case _:
            function = partial(_unsmoothed(options), weights=weight_array(options.class_weights, counts))
    return partial(smoothed, function, options.label_smoothing)


def _unsmoothed(
    options: CrossEntropy | BinaryCrossEntropy | Focal | SigmoidFocal | SigmoidAsymmetric,
) -> Callable[..., Float[Array, ""]]:
    match options:
        case CrossEntropy():
            return softmax.cross_entropy
        case Focal(gamma=gamma):
            return partial(softmax.focal, gamma=gamma)
        case BinaryCrossEntropy():
            return partial(
                sigmoid.binary_cross_entropy,
                threshold=options.target_threshold,
                sum_classes=options.sum_classes,
            )
        case SigmoidFocal(gamma=gamma, alpha=alpha):
            return partial(sigmoid.sigmoid_focal, gamma=gamma, alpha=alpha)
        case SigmoidAsymmetric():
            return partial(
                sigmoid.sigmoid_asymmetric,
                gamma_positive=options.gamma_positive,
                gamma_negative=options.gamma_negative,
                clip=options.clip,
            )


def weight_array(options: ClassWeights | None, counts: ClassCounts) -> Float[Array, " classes"] | None:
    """Weights of the classes, float32; None: all count the same."""
    return None if options is None else jnp.asarray(class_weights.class_weights(options, counts), jnp.float32)


def smoothed(
    function: LossFunction, smoothing: float, logits: HeadLogits, targets: Targets, mask: Mask
) -> Float[Array, ""]:
    """A loss over smoothed targets."""
    return function(logits, softmax.smooth_targets(targets, smoothing), mask)


def weighted_sum(
    losses: Sequence[LossFunction],
    weights: Sequence[float],
    logits: HeadLogits,
    targets: Targets,
    mask: Mask,
) -> Float[Array, ""]:
    """The sum of losses over the same logits, each times its weight."""
    terms = [
        weight * loss(logits, targets, mask) for loss, weight in zip(losses, weights, strict=True) if weight
    ]
    return sum(terms[1:], terms[0])


def _direct_part(loss: LossFunction, counts: ClassCounts) -> Part:
    return Part(loss=loss, log_probabilities=softmax.log_probabilities_of, logit_count=len(counts))


def _create_regression(options: Regression, counts: ClassCounts, numbers: Numbers | None) -> Part:
    reads_numbers = options.target == "numbers"
    if reads_numbers:
        values, between = summarize_numbers(require_numbers(numbers))
    else:
        values = np.array(options.values or range(len(counts)), np.float64)
        between = (values[1:] + values[:-1]) / 2.0
    cuts = np.array(options.cuts or between, np.float64)
    faults = [
        f"--loss.{name}: {len(numbers)} numbers where {wanted} are due"
        for name, numbers, wanted in (("values", values, len(counts)), ("cuts", cuts, len(counts) - 1))
        if len(numbers) != wanted
    ]
    refuse_faults(
        f"Regression: does not fit the {len(counts)} classes", faults, "give one value for each class"
    )
    if reads_numbers:
        refuse_other_cuts(require_numbers(numbers), cuts)
    squared_error = ordinal.squared_error_of_numbers if reads_numbers else ordinal.squared_error
    return Part(
        loss=partial(squared_error, values=values, weights=weight_array(options.class_weights, counts)),
        log_probabilities=partial(
            ordinal.number_log_probabilities,
            values=values,
            cuts=cuts,
            scale=options.spread * float(np.diff(values).min()),
        ),
        logit_count=1,
        reads_numbers=reads_numbers,
    )


def _require_tasks(tasks: Tasks | None) -> Tasks:
    if tasks is None:
        raise InputError(
            "--loss: MultiTask needs a source whose classes are made of tasks: MaskFolders, or Csv with "
            "--source.task-columns; choose one of them, or another loss"
        )
    return tasks


def _create_multi_task(
    options: MultiTask, counts: ClassCounts, tasks: Tasks, numbers: Numbers | None
) -> Objective:
    chosen = {name: TaskLoss(task=name) for name in tasks.names}
    named = [own.task for own in options.losses]
    for own in options.losses:
        task_index(tasks, own.task, "--loss.losses: task")
        chosen[own.task] = own
    refuse_faults(
        "--loss.losses: a task has one loss",
        [repr(name) for name in tasks.names if named.count(name) > 1],
        "leave out the others, or join them in a WeightedSum",
    )
    parts = {
        name: create_part(
            chosen[name].loss,
            (counts @ membership(tasks, index)).astype(np.int64),
            None if numbers is None else numbers.of_task(tasks, index),
        )
        for index, name in enumerate(tasks.names)
    }
    weights = [chosen[name].weight for name in tasks.names]
    sizes = [part.logit_count for part in parts.values()]

    def loss(logits: HeadLogits, targets: Targets, mask: Mask) -> Float[Array, ""]:
        by_task = task_targets(targets[:, : len(counts)], tasks)
        further = targets[:, len(counts) :]
        terms = [
            weight * part.loss(own, _with_numbers(part, by_task[name], further), mask)
            for weight, own, (name, part) in zip(
                weights, split_logits(logits, sizes), parts.items(), strict=True
            )
        ]
        return sum(terms[1:], terms[0])

    def class_logits(logits: HeadLogits) -> Float[Array, "batch classes"]:
        own = split_logits(logits, sizes)
        answers = [part.log_probabilities(mine) for part, mine in zip(parts.values(), own, strict=True)]
        return join_log_probabilities(answers, tasks)

    return Objective(
        loss=loss,
        class_logits=class_logits,
        heads={name: part.logit_count for name, part in parts.items()},
        ordinal_heads=tuple(name for name, part in parts.items() if part.ordinal),
        reads_numbers=any(part.reads_numbers for part in parts.values()),
    )


def _with_numbers(
    part: Part, targets: Float[Array, "batch _"], numbers: Float[Array, "batch _"]
) -> Float[Array, "batch _"]:
    return jnp.concatenate([targets, numbers], axis=1) if part.reads_numbers else targets
