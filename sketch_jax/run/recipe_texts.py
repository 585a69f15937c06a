"""What a run says of its recipe: augmentation, loss, sampling, optimizer, averages."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sketch_jax.augment.curriculum_options import Curriculum
from sketch_jax.augment.options import Augmentation
from sketch_jax.config import Config
from sketch_jax.data.sampling import Uniform
from sketch_jax.losses.options import MultiTask, Ordinal, Regression

ORDER_SHOWN = 6


def recipe_texts(config: Config, class_names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Lines by what they are about."""
    texts = {
        "augment": augmentation_texts(config.augmentation),
        "loss": [record_text(config.loss), *order_texts(config.loss, class_names)],
        "optimizer": [record_text(config.optimizer)],
    }
    if config.sampling != Uniform():
        texts["sampling"] = [record_text(config.sampling)]
    if config.averaging is not None:
        texts["average"] = [record_text(config.averaging)]
    return texts


def record_text(record: Any) -> str:
    """A record's kind and what of it is not as it is by default.

    >>> from sketch_jax.losses.options import Focal, InverseFrequency
    >>> record_text(Focal(gamma=3.0, class_weights=InverseFrequency(exponent=0.5)))
    'Focal (gamma 3, class_weights InverseFrequency (exponent 0.5))'
    """
    fields = [
        f"{field.name} {_value_text(getattr(record, field.name))}"
        for field in dataclasses.fields(record)
        if getattr(record, field.name) != _default(field)
    ]
    name = type(record).__name__
    return f"{name} ({', '.join(fields)})" if fields else name


def augmentation_texts(augmentation: Augmentation | Curriculum) -> Sequence[str]:
    """What training images go through, stage by stage.

    >>> augmentation_texts(Augmentation(horizontal_flip=0.5))
    ['horizontal_flip 0.5']
    """
    if isinstance(augmentation, Augmentation):
        text = record_text(augmentation).removeprefix("Augmentation").strip(" ")
        return [text[1:-1] if text else "none"]
    return [
        f"from epoch {stage.first_epoch + 1} on: {augmentation_texts(stage.augmentation)[0]}"
        for stage in augmentation.stages
    ]


def order_texts(loss: Any, class_names: Sequence[str]) -> Sequence[str]:
    """In which order a loss takes the classes, where it takes them in one.

    >>> order_texts(Ordinal(), ["low", "high"])
    ['in the order low < high']
    """
    if isinstance(loss, MultiTask) or not isinstance(loss, Ordinal | Regression):
        return []
    shown = " < ".join(class_names[:ORDER_SHOWN])
    return [f"in the order {shown}{' < …' if len(class_names) > ORDER_SHOWN else ''}"]


def _value_text(value: Any) -> str:
    if dataclasses.is_dataclass(value):
        return record_text(value)
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_value_text, value)) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
