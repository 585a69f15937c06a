"""The phases of training: in each the same parameters are trained. Most runs have one."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Key

from sketch_jax.config import Config
from sketch_jax.errors import refuse_faults
from sketch_jax.keys import stream
from sketch_jax.models.batch_norms import freeze_norms
from sketch_jax.models.learning_rates import RateOf, create_rate_of
from sketch_jax.models.low_rank import factor_paths
from sketch_jax.models.model import Model
from sketch_jax.models.tuning_options import Staged, TuningStage
from sketch_jax.train.division import Division, begin, divide, refuse_shrinking
from sketch_jax.train.start import Start
from sketch_jax.trees import STACKED, Tree, flatten, stacked_path, unstack_blocks


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Phase:
    """What is trained from a step on."""

    first_step: int
    """Steps that are over when it begins."""
    division: Division
    model: Model
    """With batch norms of frozen parameters in inference mode."""
    rate_of: RateOf
    """Factor of the learning rate by path."""


def create_phases(config: Config, start: Start, steps_per_epoch: int) -> tuple[Phase, ...]:
    """The phases of a run, in order.

    Raises:
        InputError: what is to be trained does not suit the model, or a stage never begins.
    """
    stages = tuning_stages(config)
    divisions = [divide(stage.tuning, start.model, start.params) for stage in stages]
    refuse_shrinking(divisions)
    return tuple(
        Phase(
            first_step=stage.first_epoch * steps_per_epoch,
            division=division,
            model=freeze_norms(start.model, division.is_trained),
            rate_of=_rate_of(config, start, division),
        )
        for stage, division in zip(stages, divisions, strict=True)
    )


def tuning_stages(config: Config) -> Sequence[TuningStage]:
    """The stages of the tuning; one where it has none.

    Raises:
        InputError: a stage begins when the run is over.
    """
    if not isinstance(config.tuning, Staged):
        return [TuningStage(first_epoch=0, tuning=config.tuning)]
    late = [
        f"first_epoch {stage.first_epoch}: the run has {config.epochs} epochs"
        for stage in config.tuning.stages
        if config.epochs and stage.first_epoch >= config.epochs
    ]
    refuse_faults(
        "--tuning.stages that would never begin", late, "let them begin earlier, or set more --epochs"
    )
    return config.tuning.stages


def phase_of_state(phases: Sequence[Phase], step: int) -> Phase:
    """The phase in which the state after so many steps came about; at a border it is the one that ends."""
    begun = [phase for phase in phases if phase.first_step < step]
    return begun[-1] if begun else phases[0]


def next_phase(phases: Sequence[Phase], phase: Phase, step: int) -> Phase:
    """The phase that the step after so many belongs to: this one, or the next where that begins."""
    following = phases.index(phase) + 1
    over = following < len(phases) and phases[following].first_step <= step
    return phases[following] if over else phase


def end_step(phases: Sequence[Phase], phase: Phase, steps: int) -> int:
    """Steps that are over when a phase ends, in a run of so many."""
    following = phases.index(phase) + 1
    return phases[following].first_step if following < len(phases) else steps


def begin_phase(phase: Phase, params: Tree, key: Key[Array, ""]) -> tuple[Tree, Tree]:
    """The trainable and the frozen tree of whole parameters; `key` is the run's."""
    return begin(phase.division, params, stream(key, "low_rank"))


def _rate_of(config: Config, start: Start, division: Division) -> RateOf:
    paths = list(flatten(unstack_blocks(jax.tree.map(_shape, start.params))))
    factors = factor_paths(path for path in paths if {path, stacked_path(path)} & division.changed)
    return create_rate_of(config.rates, start.model, [*paths, *factors], stacked=STACKED in start.params)


def _shape(leaf: jax.Array | np.ndarray) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
