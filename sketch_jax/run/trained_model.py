"""The whole model of a run that ended or was stopped: what was trained over what it began with."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jax import numpy as jnp

from sketch_jax.config import Config, config_from_json
from sketch_jax.errors import InputError
from sketch_jax.metric_names import HIGHER_IS_BETTER
from sketch_jax.models.low_rank import factor_paths
from sketch_jax.models.tuning_options import Everything
from sketch_jax.optim.optimizer import create_optimizer, predicting_params
from sketch_jax.optim.options import ScheduleFreeAdamW, base_of
from sketch_jax.run.phases import create_phases, tuning_stages
from sketch_jax.run.record import complete_record
from sketch_jax.run.setting import load_start
from sketch_jax.train.checkpoint_arrays import read_leaves
from sketch_jax.train.checkpoints import Checkpoints
from sketch_jax.train.division import Division, divide, keep_frozen_as, whole
from sketch_jax.train.options import Swa, averages_predict
from sketch_jax.train.packing import leaves_by_path
from sketch_jax.train.run_directory import CHECKPOINTS_NAME, CONFIG_NAME, read_config_json
from sketch_jax.train.start import Start
from sketch_jax.trees import Tree, flatten, separate, stack_blocks, stacked_path, unflatten, unstack_blocks


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TrainedModel:
    """The values of a run's model, all of them."""

    params: Tree
    """Blocks not stacked, low-rank changes added to their kernels."""
    statistics: Tree
    record: Mapping[str, Any]
    """What the checkpoint says of its model: name, arguments, class names, preprocessing."""
    origin: str
    """For people: the checkpoint."""


def load_trained(directory: Path) -> TrainedModel:
    """The model that a run predicts with: of its best checkpoint, or of its last where a mean predicts.

    Parameters that were frozen are read from the start weights again, or made from the seed again. Where the
    run's config.json is gone, the best checkpoint is the one with the highest metric.

    Args:
        directory: of the run.

    Raises:
        InputError: there is no finished checkpoint, or the start weights are needed and are gone or have
            changed.
    """
    found = find_checkpoint(directory)
    config, record = found.config, found.record
    values = unflatten(read_predicting(found))
    params = values["trainable"]
    if config is not None and isinstance(base_of(config.optimizer), ScheduleFreeAdamW):
        params = _mean_of_schedule_free(config, params, record, found.path)
    if config is not None:
        params = _complete(config, params, record, found.path)
    return TrainedModel(
        params=params,
        statistics=values.get("statistics", {}),
        record=record,
        origin=str(found.path),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """A checkpoint that can predict."""

    path: Path
    config: Config | None
    """Of its run; None: it is gone."""
    record: Mapping[str, Any]
    """What it says of its model."""
    averaged: bool
    """Whether its averages predict."""


def find_checkpoint(directory: Path, step: int | None = None) -> Found:
    """The checkpoint that a run predicts with: the best, or the last where a mean predicts.

    Where the run's config.json is gone, the best is the one with the highest metric.

    Args:
        directory: of the run.
        step: of another checkpoint that is wanted instead; None: of none.

    Raises:
        InputError: there is no finished checkpoint, or none of this step.
    """
    checkpoints = directory / CHECKPOINTS_NAME
    config = _config(directory)
    higher = config is None or HIGHER_IS_BETTER[config.selection.metric]
    with Checkpoints(
        checkpoints,
        report=lambda text: print(text, file=sys.stderr),
        higher_is_better=higher,
        complete=complete_record,
    ) as found:
        best, steps, record = found.best(), found.steps(), found.record()
    if record is None:
        raise InputError(f"{checkpoints}: has no finished checkpoint; let the run reach its first one")
    if step is not None and step not in steps:
        there = ", ".join(map(str, steps))
        raise InputError(f"{checkpoints / str(step)}: is no finished checkpoint; those there are {there}")
    last = best is None or (config is not None and isinstance(config.averaging, Swa))
    chosen = step if step is not None else steps[-1] if best is None or last else best[0]
    return Found(
        path=checkpoints / str(chosen),
        config=config,
        record=record,
        averaged=config is not None and averages_predict(config.averaging),
    )


def read_predicting(found: Found) -> dict[str, np.ndarray]:
    """The leaves that predict, by paths below `trainable/` and `statistics/`."""
    place = "averaged/" if found.averaged else ""
    leaves = read_leaves(found.path, [f"{place}trainable/", f"{place}statistics/"])
    return {path.removeprefix(place): leaf for path, leaf in leaves.items()}


def _config(directory: Path) -> Config | None:
    """The configuration of a run; None: checkpoints are all there is, so everything was trained."""
    return config_from_json(read_config_json(directory)) if (directory / CONFIG_NAME).is_file() else None


def _mean_of_schedule_free(config: Config, trainable: Tree, record: Mapping[str, Any], origin: Path) -> Tree:
    """The mean that schedule-free training predicts with, from the weights and the optimizer's state."""
    phases = create_phases(config, _start(config, record, origin), 1)
    if any(stacked_path(path) != path for path in flatten(trainable)) and config.model.scan_blocks:
        trainable = stack_blocks(trainable)
    division = _division_of([phase.division for phase in phases], trainable, origin)
    rate_of = next(phase.rate_of for phase in phases if phase.division is division)
    optimizer = create_optimizer(config.optimizer, optax.constant_schedule(0.0), rate_of)
    template = jax.eval_shape(optimizer.init, trainable)
    stored = read_leaves(origin, ["opt_state/"])
    state = jax.tree.unflatten(
        jax.tree.structure(template), [stored[f"opt_state/{path}"] for path in leaves_by_path(template)]
    )
    mean = predicting_params(config.optimizer, trainable, state, rate_of)
    return jax.tree.map(np.asarray, unstack_blocks(mean))


def _complete(config: Config, trainable: Tree, record: Mapping[str, Any], origin: Path) -> Tree:
    """All parameters of a model of which the checkpoint has what was trained."""
    tunings = [stage.tuning for stage in tuning_stages(config)]
    if all(isinstance(tuning, Everything) for tuning in tunings):
        return trainable
    single = dataclasses.replace(config, model=dataclasses.replace(config.model, scan_blocks=False))
    start = _start(single, record, origin)
    divisions = [divide(tuning, start.model, start.params) for tuning in tunings]
    division = _division_of(divisions, trainable, origin)
    params = keep_frozen_as(start.params, divisions, jnp.dtype(config.model.frozen_precision))
    _, frozen = separate(params, division.is_trained)
    return jax.tree.map(np.asarray, whole(division, trainable, frozen))


def _start(config: Config, record: Mapping[str, Any], origin: Path) -> Start:
    try:
        model = record["model"]
        heads, ordinal_heads = model.get("heads", {}), model.get("ordinal_heads", ())
        start = load_start(config, tuple(record["class_names"]), np.asarray, heads, ordinal_heads)
    except InputError as error:
        raise InputError(
            f"{origin}: holds what was trained alone; the rest comes from the start weights, but: {error}"
        ) from error
    if start.fingerprint != record["start"]:
        raise InputError(
            f"{origin}: holds what was trained alone; the rest comes from the start weights "
            f"{config.model.pretrained}, which have changed since (fingerprint {record['start']} then, "
            f"{start.fingerprint} now); put the former ones back"
        )
    return start


def _division_of(divisions: Sequence[Division], trainable: Tree, origin: Path) -> Division:
    """The division that a checkpoint is of, by the leaves that it has."""
    found = flatten(trainable).keys()
    for division in divisions:
        if found == division.trained | factor_paths(division.changed):
            return division
    raise InputError(
        f"{origin}: its parameters are not those that config.json has trained; put the run's own back"
    )
