"""What a user sets about augmentation that changes over the epochs (imports no jax)."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

from sketch_jax.augment.options import Augmentation
from sketch_jax.errors import refuse_faults


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """What training images go through from an epoch on."""

    first_epoch: int
    """Epoch, from 0, with which it begins; the next stage ends it."""
    augmentation: Augmentation = Augmentation()
    """Operations, policy and mixing of these epochs."""
    image_size: int | None = None
    """Height and width in pixels that these epochs train at: images are scaled on the device, positions with
    them in each step. None: the size of the run's images, at which it evaluates and predicts. Each other size
    compiles another program."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curriculum:
    """Augmentation in stages; which one holds follows from the step, so a resumed run goes on in the same."""

    stages: tuple[Stage, ...]
    """In the order of their epochs; the first begins with epoch 0."""

    def __post_init__(self):
        """Refuses stages that are out of order or sizes that are none."""
        firsts = [stage.first_epoch for stage in self.stages]
        faults = [
            f"--augmentation.stages.{place}.image-size {stage.image_size}: must be at least 8"
            for place, stage in enumerate(self.stages)
            if stage.image_size is not None and stage.image_size < 8
        ]
        if firsts[:1] != [0] or any(late <= early for early, late in itertools.pairwise(firsts)):
            shown = ", ".join(map(str, firsts)) or "none"
            faults.append(f"--augmentation.stages with first epochs {shown}: must begin with 0 and rise")
        refuse_faults("curriculum", faults, "order the stages by their first epochs.")


class SizeSpan(NamedTuple):
    """Steps that run at one image size."""

    first_step: int
    end_step: int
    """The step after the last."""
    image_size: int


def stages_of(options: Augmentation | Curriculum) -> tuple[Stage, ...]:
    """The stages of any augmentation; one that never changes is a stage of its own."""
    if isinstance(options, Curriculum):
        return options.stages
    return (Stage(first_epoch=0, augmentation=options),)


def stage_sizes(
    options: Augmentation | Curriculum, image_size: int, steps_per_epoch: int, steps: int
) -> tuple[SizeSpan, ...]:
    """The image size of each step of a run; a size may come back.

    Args:
        options: of the run.
        image_size: of the model's input, where a stage names none.
        steps_per_epoch: batches of an epoch.
        steps: length of the run.

    >>> stage_sizes(Augmentation(), 224, 10, 35)
    (SizeSpan(first_step=0, end_step=35, image_size=224),)
    """
    spans: list[SizeSpan] = []
    stages = stages_of(options)
    for stage, following in zip(stages, [*stages[1:], None], strict=True):
        first = min(stage.first_epoch * steps_per_epoch, steps)
        end = steps if following is None else min(following.first_epoch * steps_per_epoch, steps)
        size = stage.image_size or image_size
        if spans and spans[-1].image_size == size:
            spans[-1] = spans[-1]._replace(end_step=end)
        elif first < end or not spans:
            spans.append(SizeSpan(first, end, size))
    return tuple(spans)


def span_at(spans: Sequence[SizeSpan], step: int) -> SizeSpan:
    """The span of the step after so many; after the last step, the last.

    >>> span_at([SizeSpan(0, 5, 96), SizeSpan(5, 9, 128)], 5)
    SizeSpan(first_step=5, end_step=9, image_size=128)
    """
    return next((span for span in spans if step < span.end_step), spans[-1])
