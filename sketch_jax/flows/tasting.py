"""How good a model of given leaves is, on the images that a run held out, without a run of its own."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from sketch_jax.data.cache import ImageCache
from sketch_jax.data.pipeline import evaluation_batches
from sketch_jax.ensemble.soups import Leaves
from sketch_jax.flows.finished import Finished
from sketch_jax.inference.predict import predict_logits
from sketch_jax.metrics import summarise
from sketch_jax.run.data import decode_to_memory
from sketch_jax.run.statistics import make_measure_statistics
from sketch_jax.train.division import whole
from sketch_jax.train.mesh import on_all, stage
from sketch_jax.train.step import make_predict_step
from sketch_jax.trees import Tree, flatten, unflatten

TRAINABLE, STATISTICS = "trainable/", "statistics/"
MOST_TRAINING_ROWS = 512
"""Images that stand in where none are held out."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tasting:
    """What measures models of leaves below `trainable/` and `statistics/`."""

    metrics: Callable[[Leaves], Mapping[str, float]]
    """On the rows."""
    loss_and_gradient: Callable[[Leaves], tuple[float, dict[str, np.ndarray]]]
    """Mean cross-entropy on the rows in nats, and its gradient with respect to what is trained."""
    measure_statistics: Callable[[Leaves], dict[str, np.ndarray]]
    """The leaves with statistics of batch norms measured anew over the training images."""
    rows: np.ndarray
    """Of the training table; labels are known."""
    held_out: bool
    """Whether no model was trained on them."""


def make_tasting(finished: Finished, held_out_ids: Set[str]) -> Tasting:
    """Builds what measures models like that of a run; images are decoded once, programs compiled once.

    Args:
        finished: the run.
        held_out_ids: of the images that no model was trained on; none: some training images stand in.
    """
    setting, phase = finished.setting, finished.phase
    data = setting.data
    rows = np.array(
        [row for row, name in enumerate(data.dataset.train.ids) if name in held_out_ids], np.int64
    )
    held_out = bool(len(rows))
    rows = rows if held_out else _some(data.train_rows, setting.config.seed)
    wanted = np.union1d(rows, data.train_rows) if finished.statistics else rows
    cache = decode_to_memory(
        data.dataset.train, wanted, setting.start.preprocessing, setting.config.loading,
        setting.console, lambda: None,
    )  # fmt: skip
    measure = make_measure_statistics(setting, phase, cache)
    logits_of, gradient_of = _programs(finished)

    def metrics(leaves: Leaves) -> Mapping[str, float]:
        trainable, statistics = _placed(finished, leaves)
        logits = predict_logits(
            lambda images: logits_of(trainable, statistics, images),
            _batches(finished, rows, cache),
            functools.partial(stage, setting.mesh),
            len(rows),
        )
        return summarise(logits, data.dataset.train.labels[rows])

    def loss_and_gradient(leaves: Leaves) -> tuple[float, dict[str, np.ndarray]]:
        trainable, statistics = _placed(finished, leaves)
        total, sums = 0.0, None
        for batch in _batches(finished, rows, cache):
            value, gradient = gradient_of(trainable, statistics, *stage(setting.mesh, batch[:3]))
            total += float(value)
            sums = gradient if sums is None else jax.tree.map(jnp.add, sums, gradient)
        assert sums is not None, "there are rows"
        scaled = {f"{TRAINABLE}{path}": np.asarray(leaf) / len(rows) for path, leaf in flatten(sums).items()}
        return total / len(rows), scaled

    def with_statistics(leaves: Leaves) -> dict[str, np.ndarray]:
        measured = measure(*_placed(finished, leaves))
        return {
            **leaves,
            **{f"{STATISTICS}{path}": np.asarray(leaf) for path, leaf in flatten(measured).items()},
        }

    return Tasting(
        metrics=metrics,
        loss_and_gradient=loss_and_gradient,
        measure_statistics=with_statistics,
        rows=rows,
        held_out=held_out,
    )


def leaves_below(leaves: Leaves, part: str) -> Tree:
    """The tree of the leaves whose paths begin like this."""
    return unflatten(
        {path.removeprefix(part): leaf for path, leaf in leaves.items() if path.startswith(part)}
    )


def _programs(finished: Finished) -> tuple[Any, Any]:
    setting, division = finished.setting, finished.phase.division
    predict_step = make_predict_step(finished.phase.model, setting.start.preprocessing)

    def logits_of(trainable: Tree, frozen: Tree, statistics: Tree, images: Any) -> Any:
        logits = predict_step(whole(division, trainable, frozen), statistics, images)
        return setting.objective.class_logits(logits)

    def loss(trainable: Tree, frozen: Tree, statistics: Tree, images: Any, labels: Any, mask: Any) -> Any:
        log_probabilities = jax.nn.log_softmax(logits_of(trainable, frozen, statistics, images))
        picked = jnp.take_along_axis(log_probabilities, labels[:, None], axis=1)[:, 0]
        return -jnp.where(mask, picked, 0.0).sum()

    gradient = jax.jit(jax.value_and_grad(loss))
    predict = jax.jit(logits_of)
    return (
        lambda trainable, statistics, images: predict(trainable, finished.frozen, statistics, images),
        lambda trainable, statistics, *batch: gradient(trainable, finished.frozen, statistics, *batch),
    )


def _placed(finished: Finished, leaves: Leaves) -> Sequence[Tree]:
    trees = [leaves_below(leaves, part) for part in (TRAINABLE, STATISTICS)]
    return jax.device_put(trees, on_all(finished.setting.mesh))


def _batches(finished: Finished, rows: np.ndarray, cache: ImageCache | None) -> Any:
    setting = finished.setting
    return evaluation_batches(
        setting.data.dataset.train,
        rows,
        setting.start.preprocessing,
        batch_size=setting.config.batch_size,
        loading=setting.config.loading,
        cache=cache,
    )


def _some(rows: np.ndarray, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(rows)[:MOST_TRAINING_ROWS])
