"""The pure steps of training and evaluation; the caller jits them on its mesh."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.arrays import Images, Inputs
from sketch_jax.keys import stream
from sketch_jax.losses import cross_entropy, smooth_targets
from sketch_jax.models.model import Model
from sketch_jax.optim.optimizer import global_norm
from sketch_jax.preprocessing import Preprocessing
from sketch_jax.train.state import TrainState
from sketch_jax.trees import Tree

Metrics = dict[str, Float[Array, ""]]
TrainStep = Callable[[TrainState, Any, Any], tuple[TrainState, Metrics]]


def normalize(pixels: Float[Array, "batch height width 3"], preprocessing: Preprocessing) -> Inputs:
    """Images of 0 to 1 as the weights expect them: less the mean, over the standard deviation."""
    mean = jnp.asarray(preprocessing.mean, jnp.float32)
    scale = 1.0 / jnp.asarray(preprocessing.std, jnp.float32)
    return pixels * scale.reshape(1, 1, 1, 3) - (mean * scale).reshape(1, 1, 1, 3)


def make_train_step(
    model: Model,
    preprocessing: Preprocessing,
    augment: Callable[..., tuple[Any, Any]],
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    label_smoothing: float,
    dropout_samples: int = 1,
) -> TrainStep:
    """Builds the step (state, batch, key) -> (state, metrics).

    Args:
        model: the functions of the architecture.
        preprocessing: mean and standard deviation of the inputs.
        augment: (key, step, images, labels, mask) -> (images of 0 to 1, soft targets).
        optimizer: from gradients to updates.
        schedule: learning rate by step, for the metrics.
        label_smoothing: weight of the uniform distribution in the targets, in 0 to 1.
        dropout_samples: masks of the head's dropout, over which the loss is the mean (arXiv:1905.09788).
    """

    def objective(trainable: Tree, statistics: Tree, inputs: Any, targets: Any, mask: Any, key: Any):
        features_key, head_key = jax.random.split(key)
        features, statistics = model.features(trainable, statistics, inputs, features_key, True)
        smooth = smooth_targets(targets, label_smoothing)
        losses = [
            cross_entropy(model.head(trainable, features, key, True), smooth, mask)
            for key in jax.random.split(head_key, dropout_samples)
        ]
        return sum(losses) / dropout_samples, statistics

    def train_step(state: TrainState, batch: Any, key: Any) -> tuple[TrainState, Metrics]:
        augment_key = stream(key, "augment", state.step)
        images, targets = augment(augment_key, state.step, batch.images, batch.labels, batch.mask)
        inputs = normalize(images, preprocessing)
        (loss, statistics), gradients = jax.value_and_grad(objective, has_aux=True)(
            state.trainable, state.statistics, inputs, targets, batch.mask, stream(key, "model", state.step)
        )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.trainable)
        metrics = {
            "loss": loss,
            "gradient_norm": global_norm(gradients),
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
        }
        updated = TrainState(
            step=state.step + 1,
            trainable=optax.apply_updates(state.trainable, updates),  # pyright: ignore[reportArgumentType]
            statistics=statistics,
            opt_state=opt_state,
        )
        return updated, metrics

    return train_step


def make_predict_step(model: Model, preprocessing: Preprocessing) -> Callable[[Tree, Tree, Images], Any]:
    """Builds the step (params, statistics, images uint8) -> logits float32 [batch, classes]."""

    def predict_step(params: Tree, statistics: Tree, images: Images) -> Float[Array, "batch classes"]:
        inputs = normalize(jnp.asarray(images, jnp.float32) / 255.0, preprocessing)
        features, _ = model.features(params, statistics, inputs, None, False)
        return model.head(params, features, None, False)

    return predict_step
