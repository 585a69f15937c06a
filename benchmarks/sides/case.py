"""What is timed, and what a side is."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

TUNINGS = ("Everything", "AttentionOnly", "HeadOnly", "Lora")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What is timed."""

    model: str
    image_size: int
    batch_size: int
    classes: int
    mode: str
    steps: int
    arguments: dict[str, Any]
    remat: Literal["none", "all", "dots"]
    tuning: str = "Everything"
    """One of TUNINGS."""
    trained: tuple[str, ...] | None = None
    """timm's names of what is trained; None: all, or low-rank changes."""


def random_batch(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [batch, height, width, 3] and labels [batch]."""
    generator = np.random.default_rng(0)
    shape = (case.batch_size, case.image_size, case.image_size, 3)
    images = generator.integers(0, 256, shape, dtype=np.uint8)
    return images, generator.integers(0, case.classes, case.batch_size).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Side:
    """A side ready to run: `block()` takes the case's steps and waits for the last."""

    block: Callable[[], None]
    facts: dict[str, Any]


def trained_names(case: Case) -> tuple[str, ...] | None:
    """timm's names of what a case trains; None: all of it."""
    if case.tuning == "Everything":
        return None
    import jax

    jax.config.update("jax_platforms", "cpu")  # the sides have the device to themselves
    from sketch_jax.models import tuning_options
    from sketch_jax.models.architectures import create_model
    from sketch_jax.train.division import divide
    from sketch_jax.weights.names import timm_name

    model = create_model(
        case.model, arguments=case.arguments, class_count=case.classes, image_size=case.image_size
    )
    shapes = jax.eval_shape(model.init, jax.random.key(0))[0]
    tuning = getattr(tuning_options, case.tuning)()
    return tuple(timm_name(path) for path in divide(tuning, model, shapes).trained)
