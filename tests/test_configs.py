"""Every configuration traces at full size, and every field of the records is read somewhere."""

import ast
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

from sketch_jax import options
from sketch_jax.augment.pipeline import create_augment
from sketch_jax.config import Config, read_config
from sketch_jax.data.mask_folders import TASKS, MaskFolders
from sketch_jax.data.records import Batch
from sketch_jax.losses.create import create_loss
from sketch_jax.main import parse_config
from sketch_jax.models.architectures import bare_name, create_model, default_image_size
from sketch_jax.models.batch_norms import freeze_norms
from sketch_jax.models.heads import replace_head, replaces_head
from sketch_jax.models.learning_rates import create_rate_of
from sketch_jax.optim.optimizer import create_optimizer
from sketch_jax.optim.options import base_of
from sketch_jax.optim.sharpness import create_gradients
from sketch_jax.preprocessing import Preprocessing, change_preprocessing
from sketch_jax.tasks import joined_names
from sketch_jax.train.averages import create_average
from sketch_jax.train.division import begin, divide, keep_frozen_as, whole
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


def test_all_records_of_a_configuration_can_be_imported_from_one_module():
    records = {record.__name__: record for record in records_under(Config)} | {"Config": Config}
    assert {name: getattr(options, name, None) for name in records} == records
    assert set(records) <= set(options.__all__)


VARIANTS = {
    "system_a_mlp3 with EVA-giant": (
        "system_a_mlp3",
        *("--model.pretrained", "timm/eva_giant_patch14_336.clip_ft_in1k"),
        *("--model.head.activation", "gelu", "--epochs", "15", "--schedule.every-epochs", "5"),
    ),
    "system_b, the head alone": ("system_b", "--tuning.kind", "HeadOnly"),
    "system_c, three tasks": ("system_c", "--loss.kind", "MultiTask"),
    "system_d with VGG16": ("system_d", "--model.pretrained", "timm/vgg16_bn.tv_in1k"),
}
"""What configurations name beside themselves."""

PARTS = ("python -m sketch_jax.main --config configs/", "Source: ", "Needs: ", "Expected", "Unmeasured here")
SINGLE_MODELS = ("eva02", "deit3", "convnext", "vit")
NAMED = [path for path in CONFIGS if path.stem.startswith("system_") or path.stem in SINGLE_MODELS]


@pytest.mark.parametrize("path", NAMED, ids=lambda path: path.stem)
def test_a_recipe_opens_with_its_command_source_needs_and_what_is_expected_and_unmeasured(path):
    text = " ".join(ast.get_docstring(ast.parse(path.read_text())).split())
    assert [part for part in PARTS if part not in text] == []


def test_every_configuration_but_the_quickstart_names_pretrained_weights():
    without = [path.stem for path in CONFIGS if read_config(path).model.pretrained is None]
    assert without == ["quickstart"]


@pytest.mark.parametrize("words", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_variant_of_a_configuration_traces_at_full_size(words):
    name, *options = words
    trace(parse_config(["--config", f"configs/{name}.py", *options]))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_traces_at_full_size(path):
    trace(read_config(path))


def trace(config):
    """Traces a step of training with all that a configuration says of model, loss, optimizer and data."""
    architecture = config.model.name or bare_name(config.model.pretrained or "vit_small_patch16_224")
    size = config.image_size or default_image_size(architecture)
    # A source of several tasks names its classes; others may have any number.
    tasks = TASKS if isinstance(config.source, MaskFolders) else None
    class_count = 250 if tasks is None else len(joined_names(tasks))
    objective = create_loss(config.loss, np.arange(1, class_count + 1), tasks)
    model = create_model(
        architecture,
        class_count=class_count,
        image_size=size,
        dropout=config.model.dropout,
        drop_path=config.model.drop_path,
        dtype=jnp.bfloat16,
        remat=config.model.remat,
    )
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
        change_preprocessing(Preprocessing(image_size=size), config.preprocessing),
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
        params = keep_frozen_as(params, [division], jnp.dtype(config.model.frozen_precision))
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
