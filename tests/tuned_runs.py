"""Tiny runs in this process, and the same run cut off at a step and started again."""

import dataclasses
import io
import json
import shutil

import numpy as np
from rich.console import Console

from sketch_jax.config import Config, config_to_json
from sketch_jax.data.doodles import Doodles
from sketch_jax.data.options import Loading
from sketch_jax.data.splits import HoldOut
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.optim.options import AdamW
from sketch_jax.optim.schedule_options import WarmupCosine
from sketch_jax.run import run
from sketch_jax.train.checkpoint_arrays import read_leaves
from sketch_jax.train.options import Checkpointing, Logging

TINY = Config(
    name="tiny",
    epochs=2,
    batch_size=8,
    image_size=32,
    source=Doodles(classes=("cat", "fish", "house", "star"), train_per_class=10, test_per_class=3),
    split=HoldOut(fraction=0.2),
    model=ModelOptions(name="test_efficientnet"),
    optimizer=AdamW(learning_rate=3e-3),
    schedule=WarmupCosine(warmup_epochs=1.0),
    loading=Loading(workers=0),
    logging=Logging(every_steps=2, tensorboard=False),
    checkpointing=Checkpointing(keep_last=9, every_steps=2),
)
"""Two epochs of four steps each, a checkpoint after every second step."""


def do_run(directory, **changes) -> str:
    """Runs, and returns what was printed."""
    console = Console(file=io.StringIO(), record=True, width=200)
    result = run(dataclasses.replace(TINY, output_dir=str(directory), **changes), console)
    assert result.exit_code == 0
    return console.export_text()


def begin_again_at(directory, step, **changes):
    """A copy of a run that was killed after the checkpoint of a step, finished; returns its directory."""
    copy = directory.with_name(f"{directory.name}-again-{step}")
    shutil.copytree(directory, copy)
    for checkpoint in (copy / "checkpoints").iterdir():
        if int(checkpoint.name) > step:
            shutil.rmtree(checkpoint)
    config = config_to_json(dataclasses.replace(TINY, output_dir=str(copy), **changes))
    (copy / "config.json").write_text(json.dumps(config))
    assert f"going on from the checkpoint of step {step}" in do_run(copy, **changes)
    return copy


def leaves_at(directory, step):
    """All arrays of a checkpoint by their paths."""
    return read_leaves(directory / "checkpoints" / str(step), [""])


def assert_same_leaves(left, right):
    assert left.keys() == right.keys()
    for path, leaf in left.items():
        assert np.asarray(leaf).tobytes() == np.asarray(right[path]).tobytes(), path


def lines_of(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
