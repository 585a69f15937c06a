"""The two compiled programs of a run, and the functions that feed them."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from sketch_jax.data.cache import ImageCache
from sketch_jax.data.pipeline import evaluation_batches
from sketch_jax.data.records import Batch, Examples
from sketch_jax.inference.predict import as_predictions, predict_logits
from sketch_jax.metrics import count, summary, task_summaries
from sketch_jax.models.batch_norms import freeze_norms
from sketch_jax.models.model import Model
from sketch_jax.optim.optimizer import create_optimizer, predicting_params, with_rate_factor
from sketch_jax.optim.sharpness import create_gradients
from sketch_jax.predictions import Predictions
from sketch_jax.run.data import Data
from sketch_jax.run.phases import Phase, begin_phase
from sketch_jax.run.setting import Setting
from sketch_jax.train.averages import create_average
from sketch_jax.train.compile import Compiled, abstract, compile_step
from sketch_jax.train.division import overlay, whole
from sketch_jax.train.mesh import on_all, over_data, stage
from sketch_jax.train.options import Ema
from sketch_jax.train.state import TrainState, create_state
from sketch_jax.train.step import make_predict_step, make_train_step
from sketch_jax.trees import Tree, separate

Predict = Callable[[TrainState, Examples, np.ndarray, ImageCache | None], Predictions]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Programs:
    """Compiled for one batch shape, one mesh and one phase of training."""

    train: Compiled | None
    """(state, frozen, batch, key) -> (state, metrics); the state's buffers are given up. None: no step is
    left."""
    predict: Compiled
    """(trainable, frozen, statistics, images) -> logits of the classes."""


def abstract_batch(batch_size: int, image_size: int, mesh: Mesh) -> Batch:
    """Shapes, types and placement of a staged batch."""
    shapes = Batch(
        images=np.broadcast_to(np.uint8(0), (batch_size, image_size, image_size, 3)),
        labels=np.zeros(batch_size, np.int32),
        mask=np.zeros(batch_size, bool),
        rows=np.zeros(batch_size, np.int32),
    )
    return abstract(shapes, over_data(mesh))


def initial_state(setting: Setting) -> TrainState:
    """The state before the first step, a copy on every device."""
    return state_of(setting, setting.phases[0], setting.start.params, setting.start.statistics, 0)


def state_of(setting: Setting, phase: Phase, params: Tree, statistics: Tree, step: int) -> TrainState:
    """The state before the first step of a phase, from the parameters of the whole model."""
    trainable, _ = begin_phase(phase, params, setting.key)
    averages = setting.config.averaging is not None
    state = create_state(trainable, statistics, phase_optimizer(setting, phase), step=step, averages=averages)
    return jax.device_put(state, on_all(setting.mesh))


def abstract_state(setting: Setting, phase: Phase) -> TrainState:
    """Shapes, types and placement of the states of a phase."""
    everywhere = on_all(setting.mesh)
    start = setting.start

    def create(params: Tree, statistics: Tree, key: Any) -> TrainState:
        trainable, _ = begin_phase(phase, params, key)
        averages = setting.config.averaging is not None
        return create_state(trainable, statistics, phase_optimizer(setting, phase), averages=averages)

    placed = [abstract(tree, everywhere) for tree in (start.params, start.statistics)]
    return abstract(jax.eval_shape(create, *placed, setting.key), everywhere)


def state_of_next(setting: Setting, phase: Phase, state: TrainState) -> TrainState:
    """The state before the first step of a phase, from the last state of the phase before it.

    The optimizer and the averages begin anew; the factor that a plateau has given the rate stays.
    """
    params = overlay(setting.start.params, state.trainable)
    following = state_of(setting, phase, params, state.statistics, int(jax.device_get(state.step)))
    factor = jax.device_get(state.opt_state.rate_factor).item()
    return dataclasses.replace(following, opt_state=with_rate_factor(following.opt_state, factor))


def frozen_of(setting: Setting, phase: Phase) -> Tree:
    """The leaves that a phase only reads."""
    return separate(setting.start.params, phase.division.is_trained)[1]


def phase_optimizer(setting: Setting, phase: Phase) -> optax.GradientTransformation:
    """The optimizer of a phase: it counts its own steps from 0, and learns at the rates of the run's."""

    def schedule(count: Any) -> Any:
        return setting.schedule(count + phase.first_step)

    return create_optimizer(setting.config.optimizer, schedule, phase.rate_of)


def compile_programs(
    setting: Setting, phase: Phase, image_size: int, steps_left: int, predict: Compiled | None = None
) -> Programs:
    """Compiles training, where a step is left, and prediction, for a phase and the run's batches.

    Args:
        setting: of the run.
        phase: that the states are of.
        image_size: that is trained at.
        steps_left: of the run.
        predict: of the same phase, where it was compiled before.
    """
    batch = abstract_batch(setting.config.batch_size, setting.start.preprocessing.image_size, setting.mesh)
    return Programs(
        train=compile_train_step(setting, phase, image_size, batch) if steps_left else None,
        predict=predict or compile_predict_step(setting, phase, batch),
    )


def compile_train_step(setting: Setting, phase: Phase, image_size: int, batch: Batch) -> Compiled:
    """Compiles training for the states of a phase and batches of given shapes and placement."""
    config, start, everywhere = setting.config, setting.start, on_all(setting.mesh)
    at_size = setting.at_size[image_size]
    step = make_train_step(
        freeze_norms(at_size.model, phase.division.is_trained),
        start.preprocessing,
        at_size.augment,
        phase_optimizer(setting, phase),
        setting.schedule,
        setting.objective.loss,
        config.model.head.dropout_samples,
        whole=functools.partial(whole_at_size, phase, at_size.model),
        accumulation_steps=config.accumulation_steps,
        average=None
        if config.averaging is None
        else create_average(config.averaging, setting.plan.steps_per_epoch, phase.first_step),
        take_gradients=create_gradients(config.optimizer),
    )
    state = abstract_state(setting, phase)
    results = jax.tree.map(lambda _: everywhere, state), everywhere
    frozen = abstract(frozen_of(setting, phase), everywhere)
    return compile_step(step, state, frozen, batch, setting.key, donate=(0,), out_shardings=results)


def whole_at_size(phase: Phase, model: Model, trainable: Tree, frozen: Tree) -> Tree:
    """The parameters of a phase, fitted to the image size of a model."""
    params = whole(phase.division, trainable, frozen)
    return params if model.image_size == phase.model.image_size else model.adapt(params)


def compile_predict_step(setting: Setting, phase: Phase, batch: Batch) -> Compiled:
    """Compiles prediction for the trained and the frozen leaves of a phase."""
    everywhere = on_all(setting.mesh)
    predict_step = make_predict_step(phase.model, setting.start.preprocessing)

    def predict_whole(trainable: Tree, frozen: Tree, statistics: Tree, images: Any) -> Any:
        logits = predict_step(whole(phase.division, trainable, frozen), statistics, images)
        return setting.objective.class_logits(logits)

    state, frozen = abstract_state(setting, phase), abstract(frozen_of(setting, phase), everywhere)
    arguments = state.trainable, frozen, state.statistics, batch.images
    return compile_step(predict_whole, *arguments, out_shardings=everywhere)


def make_predict(setting: Setting, phase: Phase, programs: Programs, averaged: bool) -> Predict:
    """Builds (state, examples, rows, cache) -> predictions.

    Args:
        setting: of the run.
        phase: that the states are of.
        programs: of the phase.
        averaged: whether the average predicts, in place of the newest weights.
    """
    frozen = frozen_of(setting, phase)
    find_leaves = make_predicting_leaves(setting, phase, averaged)

    def predict(
        state: TrainState, examples: Examples, rows: np.ndarray, cache: ImageCache | None
    ) -> Predictions:
        batches = evaluation_batches(
            examples,
            rows,
            setting.start.preprocessing,
            batch_size=setting.config.batch_size,
            loading=setting.config.loading,
            cache=cache,
        )
        trainable, statistics = find_leaves(state)
        logits = predict_logits(
            lambda images: programs.predict.call(trainable, frozen, statistics, images),
            batches,
            lambda images: stage(setting.mesh, images),
            len(rows),
        )
        return as_predictions(examples, rows, logits)

    return predict


def make_predicting_leaves(
    setting: Setting, phase: Phase, averaged: bool
) -> Callable[[TrainState], tuple[Tree, Tree]]:
    """Builds state -> (trained leaves, statistics) that predict: the average's, or the newest.

    Of schedule-free training the newest are those of its own mean.
    """
    if averaged:
        return lambda state: (state.averaged["trainable"], state.averaged["statistics"])
    optimizer = setting.config.optimizer
    find_params = jax.jit(functools.partial(predicting_params, optimizer, rate_of=phase.rate_of))
    return lambda state: (find_params(state.trainable, state.opt_state), state.statistics)


def make_evaluate(
    setting: Setting, phase: Phase, programs: Programs, cache: ImageCache | None
) -> Callable[[TrainState], Mapping[str, float]]:
    """Builds state -> metrics on the held-out rows; empty when there are none.

    Those of an exponential average are there, too, as `val_ema/…`.
    """
    predict = make_predict(setting, phase, programs, False)
    predict_averaged = make_predict(setting, phase, programs, True)

    def evaluate(state: TrainState) -> Mapping[str, float]:
        metrics = measure(setting.data, predict, state, cache)
        if isinstance(setting.config.averaging, Ema):
            of_average = measure(setting.data, predict_averaged, state, cache)
            metrics |= {f"val_ema/{name}": value for name, value in of_average.items()}
        return metrics

    return evaluate


def measure(data: Data, predict: Predict, state: TrainState, cache: ImageCache | None) -> dict[str, float]:
    """Metrics on the held-out rows; empty when there are none."""
    if not len(data.validation_rows):
        return {}
    predictions = predict(state, data.dataset.train, data.validation_rows, cache)
    counts = count(predictions.logits, predictions.labels)
    return summary(counts) | task_summaries(counts, data.dataset.tasks)
