"""The pure steps of training and evaluation; the caller jits them on its mesh."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.arrays import Images, Inputs
from sketch_jax.keys import stream
from sketch_jax.models.model import Model
from sketch_jax.optim.optimizer import global_norm, rate_factor
from sketch_jax.optim.sharpness import gradients_at_params
from sketch_jax.preprocessing import Preprocessing
from sketch_jax.train.accumulation import Examples, accumulated
from sketch_jax.train.averages import Average
from sketch_jax.train.state import TrainState
from sketch_jax.trees import Tree, join

Metrics = dict[str, Float[Array, ""]]
TrainStep = Callable[[TrainState, Tree, Any, Any], tuple[TrainState, Metrics]]
Whole = Callable[[Tree, Tree], Tree]
"""From trainable and frozen leaves to the parameters of the model."""


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
    loss: Callable[..., Float[Array, ""]],
    dropout_samples: int = 1,
    *,
    whole: Whole = join,
    accumulation_steps: int = 1,
    average: Average | None = None,
    take_gradients: Callable[..., tuple[Any, Tree]] = gradients_at_params,
) -> TrainStep:
    """Builds the step (state, frozen, batch, key) -> (state, metrics).

    Args:
        model: the functions of the architecture.
        preprocessing: mean and standard deviation of the inputs.
        augment: (key, step, images, labels, mask, rows) -> (images of 0 to 1, targets).
        optimizer: from gradients to updates.
        schedule: learning rate by step, for the metrics.
        loss: (logits, targets, mask) -> mean over the rows that count.
        dropout_samples: masks of the head's dropout, over which the loss is the mean (arXiv:1905.09788).
        whole: (trainable, frozen) -> parameters of the model; no gradient is taken of `frozen`.
        accumulation_steps: micro-batches that a batch, augmented as a whole, is computed in one after the
            other; batch norms see each by itself.
        average: moves the state's averages after the update; None: there are none.
        take_gradients: (value_and_gradient, params) -> (value, gradients), from
            `sharpness.create_gradients`.
    """
    objective = make_objective(model, whole, loss, dropout_samples)
    differentiate = accumulated(jax.value_and_grad(objective, has_aux=True), accumulation_steps)

    def train_step(state: TrainState, frozen: Tree, batch: Any, key: Any) -> tuple[TrainState, Metrics]:
        augment_key = stream(key, "augment", state.step)
        images, targets = augment(augment_key, state.step, *batch)
        examples = Examples(normalize(images, preprocessing), targets, batch.mask)
        model_key = stream(key, "model", state.step)

        def value_and_gradient(trainable: Tree) -> tuple[Any, Tree]:
            return differentiate(trainable, frozen, state.statistics, examples, model_key)

        (value, statistics), gradients = take_gradients(value_and_gradient, state.trainable)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.trainable)
        metrics = {
            "loss": value,
            "gradient_norm": global_norm(gradients),
            "learning_rate": jnp.asarray(schedule(state.step) * rate_factor(state.opt_state), jnp.float32),
        }
        updated = dataclasses.replace(
            state,
            step=state.step + 1,
            trainable=optax.apply_updates(state.trainable, updates),
            statistics=statistics,
            opt_state=opt_state,
        )
        return updated if average is None else average_state(updated, average), metrics

    return train_step


def make_objective(
    model: Model, whole: Whole, loss: Callable[..., Float[Array, ""]], dropout_samples: int
) -> Callable[..., tuple[Any, Tree]]:
    """Builds (trainable, frozen, statistics, examples, key) -> (loss, statistics); see `make_train_step`."""

    def objective(trainable: Tree, frozen: Tree, statistics: Tree, examples: Examples, key: Any):
        features_key, head_key = jax.random.split(key)
        params = whole(trainable, frozen)
        features, statistics = model.read_features(params, statistics, examples.inputs, features_key, True)
        losses = [
            loss(model.head(params, features, key, True), examples.targets, examples.mask)
            for key in jax.random.split(head_key, dropout_samples)
        ]
        return sum(losses) / dropout_samples, statistics

    return objective


def average_state(state: TrainState, average: Average) -> TrainState:
    """The state after an update, its averages moved."""
    values = {"trainable": state.trainable, "statistics": state.statistics}
    return dataclasses.replace(state, averaged=average(state.averaged, values, state.step))


def make_predict_step(model: Model, preprocessing: Preprocessing) -> Callable[[Tree, Tree, Images], Any]:
    """Builds the step (params, statistics, images uint8) -> logits float32 [batch, classes]."""
    answer = make_answer(model, preprocessing)

    def predict_step(params: Tree, statistics: Tree, images: Images) -> Float[Array, "batch classes"]:
        return answer(params, statistics, jnp.asarray(images, jnp.float32) / 255.0)

    return predict_step


def make_answer(model: Model, preprocessing: Preprocessing) -> Callable[[Tree, Tree, Any], Any]:
    """Builds (params, statistics, images of 0 to 1) -> logits float32 [batch, classes]."""

    def answer(
        params: Tree, statistics: Tree, pixels: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch classes"]:
        inputs = normalize(pixels, preprocessing)
        features, _ = model.read_features(params, statistics, inputs, None, False)
        return model.head(params, features, None, False)

    return answer
