"""Small models whose values are all random, and steps over them without augmentation."""

import functools

import jax
import numpy as np
import optax
from jax import numpy as jnp

from sketch_jax.data.records import Batch
from sketch_jax.losses.create import create_loss
from sketch_jax.losses.options import CrossEntropy
from sketch_jax.models.architectures import create_model
from sketch_jax.models.batch_norms import freeze_norms
from sketch_jax.preprocessing import Preprocessing
from sketch_jax.train.division import begin, divide, whole
from sketch_jax.train.state import create_state
from sketch_jax.train.step import make_train_step

CLASSES, SIZE = 3, 32
ARGUMENTS = {
    "vit_tiny_patch16_224": {"embed_dim": 12, "depth": 2, "num_heads": 3},
    "eva02_base_patch14_448": {"embed_dim": 24, "depth": 2, "num_heads": 2, "patch_size": 16},
}


@functools.cache
def tiny_model(name, remat="none"):
    return create_model(
        name, arguments=ARGUMENTS.get(name, {}), class_count=CLASSES, image_size=SIZE, remat=remat
    )


@functools.cache
def values(name):
    """Parameters and statistics, every one away from where a new model has it."""
    params, statistics = jax.device_get(jax.jit(tiny_model(name).init)(jax.random.key(0)))
    generator = np.random.default_rng(0)

    def noisy(path, leaf):
        noise = generator.normal(size=leaf.shape).astype(np.float32)
        if path[-1].key == "var":
            return leaf + abs(noise)
        return leaf + 0.1 * noise

    return jax.tree_util.tree_map_with_path(noisy, (params, statistics))


def batch_of(rows, masked=0):
    generator = np.random.default_rng(1)
    mask = np.arange(rows) >= masked
    return Batch(
        images=generator.integers(0, 256, (rows, SIZE, SIZE, 3), dtype=np.uint8),
        labels=generator.integers(0, CLASSES, rows).astype(np.int32),
        mask=mask,
        rows=np.arange(rows, dtype=np.int32),
    )


def plain(key, step, images, labels, mask, rows):
    return jnp.asarray(images, jnp.float32) / 255.0, jax.nn.one_hot(labels, CLASSES)


def begun(name, tuning, optimizer, *, params=None, averages=False):
    """The division, the model with its norms frozen, the state, and the frozen tree."""
    params, statistics = (params or values(name)[0]), values(name)[1]
    division = divide(tuning, tiny_model(name), params)
    trainable, frozen = begin(division, params, jax.random.key(7))
    state = create_state(trainable, statistics, optimizer, averages=averages)
    return division, freeze_norms(tiny_model(name), division.is_trained), state, frozen


def step_of(model, division, optimizer, **options):
    return jax.jit(
        make_train_step(
            model,
            Preprocessing(image_size=SIZE),
            plain,
            optimizer,
            lambda step: 0.1,
            create_loss(CrossEntropy(), np.ones(CLASSES, np.int64)).loss,
            whole=functools.partial(whole, division),
            **options,
        )
    )


def trained(name, tuning, *, steps=1, rows=4, optimizer=None, params=None, **options):
    """The state after some steps, and the frozen tree that was given to them."""
    optimizer = optimizer or optax.sgd(0.1)
    division, model, state, frozen = begun(name, tuning, optimizer, params=params)
    step = step_of(model, division, optimizer, **options)
    for _ in range(steps):
        state, metrics = step(state, frozen, batch_of(rows), jax.random.key(0))
    return state, frozen, metrics
