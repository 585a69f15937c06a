"""The two compiled programs of a run, and the functions that feed them."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from sketch_jax.augment.pipeline import create_augment
from sketch_jax.data.cache import ImageCache
from sketch_jax.data.pipeline import evaluation_batches
from sketch_jax.data.records import Batch, Examples
from sketch_jax.inference.predict import as_predictions, predict_logits
from sketch_jax.metrics import summarise
from sketch_jax.optim.optimizer import create_optimizer
from sketch_jax.predictions import Predictions
from sketch_jax.run.data import Data
from sketch_jax.run.setting import Setting
from sketch_jax.train.compile import Compiled, abstract, compile_step
from sketch_jax.train.mesh import on_all, over_data, stage
from sketch_jax.train.state import TrainState, create_state
from sketch_jax.train.step import make_predict_step, make_train_step

Predict = Callable[[TrainState, Examples, np.ndarray, ImageCache | None], Predictions]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Programs:
    """Compiled for one batch shape and one mesh."""

    train: Compiled | None
    """(state, batch, key) -> (state, metrics); the state's buffers are given up. None: no step is left."""
    predict: Compiled
    """(params, statistics, images) -> logits."""


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
    optimizer = create_optimizer(setting.config.optimizer, setting.schedule)
    state = create_state(setting.start.params, setting.start.statistics, optimizer)
    return jax.device_put(state, on_all(setting.mesh))


def compile_programs(setting: Setting, state: TrainState, steps_left: int) -> Programs:
    """Compiles training, where a step is left, and prediction, for a state and the run's batches."""
    start, everywhere = setting.start, on_all(setting.mesh)
    batch = abstract_batch(setting.config.batch_size, start.preprocessing.image_size, setting.mesh)
    placed = abstract(state, everywhere)
    predict_step = make_predict_step(start.model, start.preprocessing)
    arguments = placed.trainable, placed.statistics, batch.images
    return Programs(
        train=compile_train_step(setting, placed, batch) if steps_left else None,
        predict=compile_step(predict_step, *arguments, out_shardings=everywhere),
    )


def compile_train_step(setting: Setting, placed: TrainState, batch: Batch) -> Compiled:
    """Compiles training for the shapes and the placement of a state and a batch."""
    config, start, everywhere = setting.config, setting.start, on_all(setting.mesh)
    step = make_train_step(
        start.model,
        start.preprocessing,
        create_augment(config.augmentation, start.model.class_count, setting.plan.steps_per_epoch),
        create_optimizer(config.optimizer, setting.schedule),
        setting.schedule,
        config.label_smoothing,
        config.model.head.dropout_samples,
    )
    results = jax.tree.map(lambda _: everywhere, placed), everywhere
    return compile_step(step, placed, batch, setting.key, donate=(0,), out_shardings=results)


def make_predict(setting: Setting, programs: Programs) -> Predict:
    """Builds (state, examples, rows, cache) -> predictions."""

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
        logits = predict_logits(
            lambda images: programs.predict.call(state.trainable, state.statistics, images),
            batches,
            lambda images: stage(setting.mesh, images),
            len(rows),
        )
        return as_predictions(examples, rows, logits)

    return predict


def make_evaluate(
    predict: Predict, data: Data, cache: ImageCache | None
) -> Callable[[TrainState], Mapping[str, float]]:
    """Builds state -> metrics on the held-out rows; empty when there are none."""

    def evaluate(state: TrainState) -> Mapping[str, float]:
        if not len(data.validation_rows):
            return {}
        predictions = predict(state, data.dataset.train, data.validation_rows, cache)
        return summarise(predictions.logits, predictions.labels)

    return evaluate
