"""Every configuration traces at full size, and every field of the records is read somewhere."""

import dataclasses
import functools
import re
import typing
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from sketch_jax.augment.pipeline import create_augment
from sketch_jax.config import Config, read_config
from sketch_jax.data.mask_folders import TASKS, MaskFolders
from sketch_jax.data.records import Batch
from sketch_jax.losses.create import create_loss
from sketch_jax.models.architectures import bare_name, create_model, default_image_size
from sketch_jax.models.batch_norms import freeze_norms
from sketch_jax.models.heads import replace_head, replaces_head
from sketch_jax.models.learning_rates import create_rate_of
from sketch_jax.optim.optimizer import create_optimizer
from sketch_jax.optim.options import base_of
from sketch_jax.optim.sharpness import create_gradients
from sketch_jax.preprocessing import Preprocessing
from sketch_jax.tasks import joined_names
from sketch_jax.train.averages import create_average
from sketch_jax.train.division import begin, divide, whole
from sketch_jax.train.state import create_state
from sketch_jax.train.step import make_train_step
from sketch_jax.trees import flatten

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))


def records_under(kind) -> set[type]:
    """The record types that a field's type can hold, and those inside them."""
    found: set[type] = set()
    for part in [kind, *typing.get_args(kind)]:
        if dataclasses.is_dataclass(part):
            found.add(part)
            for inner in typing.get_type_hints(part).values():
                found |= records_under(inner)
    return found


def test_every_field_of_the_configuration_is_read_somewhere(root):
    records = records_under(Config)
    assert len(records) >= 12
    sources = {path: path.read_text() for path in (root / "sketch_jax").rglob("*.py")}
    unread = [
        f"{record.__name__}.{field.name}"
        for record in records
        for field in dataclasses.fields(record)
        if not any(re.search(rf"\.{field.name}\b(?!\s*=[^=])", text) for text in sources.values())
        and not any(re.search(rf"[\"']{field.name}[\"']", text) for text in sources.values())
    ]
    assert unread == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_traces_at_full_size(path):
    config = read_config(path)
    architecture = config.model.name or bare_name(config.model.pretrained or "vit_small_patch16_224")
    size = config.image_size or default_image_size(architecture)
    # A source of several tasks names its classes; others may have any number.
    tasks = TASKS if isinstance(config.source, MaskFolders) else None
    class_count = 250 if tasks is None else len(joined_names(tasks))
    objective = create_loss(config.loss, np.arange(1, class_count + 1), tasks)
    model = create_model(architecture, class_count=class_count, image_size=size, dropout=config.model.dropout)
    if replaces_head(config.model.head, objective.heads):
        model = replace_head(model, config.model.head, tasks=objective.heads, ordinal=objective.ordinal_heads)
    params = jax.eval_shape(model.init, jax.random.key(0))[0]
    division = divide(config.tuning, model, params)
    schedule = optax.constant_schedule(base_of(config.optimizer).learning_rate)
    optimizer = create_optimizer(
        config.optimizer, schedule, create_rate_of(config.rates, model, flatten(params))
    )
    step = make_train_step(
        freeze_norms(model, division.is_trained),
        Preprocessing(image_size=size),
        create_augment(config.augmentation, class_count, 100),
        optimizer,
        schedule,
        objective.loss,
        whole=functools.partial(whole, division),
        accumulation_steps=config.accumulation_steps,
        average=None if config.averaging is None else create_average(config.averaging, 100),
        take_gradients=create_gradients(config.optimizer),
    )
    rows = config.batch_size
    images = jax.ShapeDtypeStruct((rows, size, size, 3), np.uint8)
    labels = jax.ShapeDtypeStruct((rows,), np.int32)
    mask = jax.ShapeDtypeStruct((rows,), bool)

    def begin_and_step(key, images, labels, mask):
        params, statistics = model.init(key)
        trainable, frozen = begin(division, params, key)
        averages = config.averaging is not None
        state = create_state(trainable, statistics, optimizer, averages=averages)
        updated, metrics = step(state, frozen, Batch(images, labels, mask, labels), key)
        return jax.tree.leaves(state), jax.tree.leaves(updated), metrics

    state, updated, metrics = jax.eval_shape(begin_and_step, jax.random.key(0), images, labels, mask)
    assert len(state) > 5
    assert [(leaf.shape, leaf.dtype) for leaf in updated] == [(leaf.shape, leaf.dtype) for leaf in state]
    assert {metric.shape for metric in metrics.values()} == {()}
    assert metrics["loss"].dtype == jnp.float32
