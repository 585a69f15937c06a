"""The running statistics of averaged weights, measured over the training images."""

from collections.abc import Callable
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
from sketch_jax.train.step import normalize
from sketch_jax.trees import Tree


def make_measure_statistics(
    setting: Setting, phase: Phase, cache: ImageCache | None
) -> Callable[[Tree, Tree], Tree]:
    """Builds (averaged weights, averaged statistics) -> their statistics over batches of training images.

    The images are not augmented, and shuffled: tables are often sorted by class, and a batch of one class
    varies less than those of training. Norms of frozen parameters keep the statistics that are given; where
    there are none, because there are no batch norms, none are measured.

    Args:
        setting: of the run.
        phase: that the weights are of.
        cache: decoded training images; None: they are decoded each time.
    """
    measure_step = make_measure_step(phase.model)

    @jax.jit
    def step(
        trainable: Tree, frozen: Tree, statistics: Tree, measured: Tree, number: Any, images: Any, key: Any
    ) -> Tree:
        inputs = normalize(jnp.asarray(images, jnp.float32) / 255.0, setting.start.preprocessing)
        params = whole(phase.division, trainable, frozen)
        return measure_step(params, statistics, measured, number, inputs, key)

    frozen = frozen_of(setting, phase)
    shuffled = np.random.default_rng(setting.config.seed).permutation(setting.data.train_rows)

    def measure(trainable: Tree, statistics: Tree) -> Tree:
        if not statistics:
            return statistics
        measured, number = statistics, 0
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
                images, count = stage(setting.mesh, batch.images), jnp.asarray(number, jnp.float32)
                measured = step(trainable, frozen, statistics, measured, count, images, key)
        return measured

    return measure
