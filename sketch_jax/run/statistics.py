"""The running statistics of averaged weights, measured over the training images."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from sketch_jax.data.cache import ImageCache
from sketch_jax.data.pipeline import evaluation_batches
from sketch_jax.keys import stream
from sketch_jax.run.phases import Phase
from sketch_jax.run.programs import frozen_of
from sketch_jax.run.setting import Setting
from sketch_jax.train.averages import make_measure_step
from sketch_jax.train.division import whole
from sketch_jax.train.mesh import stage
from sketch_jax.train.state import TrainState
from sketch_jax.train.step import normalize
from sketch_jax.trees import Tree


def measure_statistics(
    setting: Setting, phase: Phase, state: TrainState, cache: ImageCache | None
) -> TrainState:
    """The state whose average has the statistics of its own weights, over whole batches of training images.

    The images are not augmented, and shuffled: tables are often sorted by class, and a batch of one class
    varies less than those of training. Without batch norms nothing changes.
    """
    average = state.averaged
    if not average["statistics"]:
        return state
    measure_step = make_measure_step(phase.model)

    @jax.jit
    def step(average: Tree, frozen: Tree, measured: Tree, number: Any, images: Any, key: Any) -> Tree:
        inputs = normalize(jnp.asarray(images, jnp.float32) / 255.0, setting.start.preprocessing)
        params = whole(phase.division, average["trainable"], frozen)
        return measure_step(params, average["statistics"], measured, number, inputs, key)

    frozen, measured, number = frozen_of(setting, phase), average["statistics"], 0
    shuffled = np.random.default_rng(setting.config.seed).permutation(setting.data.train_rows)
    for batch in evaluation_batches(
        setting.data.dataset.train,
        shuffled,
        setting.start.preprocessing,
        batch_size=setting.config.batch_size,
        loading=setting.config.loading,
        cache=cache,
    ):
        if batch.mask.all():
            number += 1
            key = stream(setting.key, "statistics", number)
            images = stage(setting.mesh, batch.images)
            measured = step(average, frozen, measured, jnp.asarray(number, jnp.float32), images, key)
    return dataclasses.replace(state, averaged={**average, "statistics": measured})
