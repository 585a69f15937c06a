"""Augmentation as data: the arrays of all stages, of which a step reads those of its own."""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Bool, Int

from sketch_jax.augment.curriculum_options import Curriculum, stages_of
from sketch_jax.augment.mixing_strengths import MixingLayout, MixingStrengths, create_mixing
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.policies.repertoire import Layout, Repertoire, create_repertoire
from sketch_jax.augment.strengths import Strengths, create_strengths, stack_strengths
from sketch_jax.class_choice import Choose, unknown_classes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layouts:
    """What a program is compiled for, beside the names of the strengths."""

    policy: Layout | None
    """None: no stage has a policy."""
    mixing: MixingLayout | None
    """None: no stage mixes."""


ONLY_CLASSES = "--augmentation.only-classes"


class Plan(NamedTuple):
    """Arrays with an axis for the stages in front; or those of one stage."""

    strengths: Strengths
    repertoire: Repertoire | None
    mixing: MixingStrengths | None
    classes: Bool[Array | np.ndarray, "*stages class"] | None
    """Classes whose images are augmented. None: all are, in every stage."""


def create_plan(
    options: Augmentation | Curriculum,
    class_count: int,
    steps_per_epoch: int,
    choose: Choose = unknown_classes,
) -> tuple[Layouts, Plan, Int[np.ndarray, " stage"]]:
    """The layouts, the arrays of all stages, and the first step of each stage.

    Args:
        options: what is on, how strong, and from which epoch.
        class_count: number of classes.
        steps_per_epoch: batches of an epoch.
        choose: marks the classes of a choice.

    Raises:
        InputError: a class does not exist.
    """
    stages = stages_of(options)
    parts = [stage.augmentation for stage in stages]
    policy = mixing = None, None
    if any(part.policy is not None for part in parts):
        policy = create_repertoire([part.policy for part in parts])
    if any(part.mixing is not None for part in parts):
        mixing = create_mixing([part.mixing for part in parts], class_count, steps_per_epoch, choose)
    plan = Plan(
        strengths=stack_strengths([create_strengths(part) for part in parts]),
        repertoire=policy[1],
        mixing=mixing[1],
        classes=_classes_of(parts, class_count, choose),
    )
    first_steps = np.array([stage.first_epoch * steps_per_epoch for stage in stages], np.int32)
    return Layouts(policy=policy[0], mixing=mixing[0]), plan, first_steps


def plan_at(plan: Plan, first_steps: Int[np.ndarray, " stage"], step: int | Int[Array, ""]) -> Plan:
    """The arrays of the stage that a step is in."""
    if len(first_steps) == 1:
        return jax.tree.map(lambda values: np.asarray(values[0]), plan)
    stage = stage_at(first_steps, step)
    return jax.tree.map(lambda values: jnp.asarray(values)[stage], plan)


def stage_at(first_steps: Int[np.ndarray, " stage"], step: Any) -> Int[Array, ""]:
    """The stage that a step is in, from 0."""
    return jnp.sum(step >= jnp.asarray(first_steps)) - 1


def _classes_of(parts: list[Augmentation], class_count: int, choose: Choose) -> np.ndarray | None:
    choices = [part.only_classes for part in parts]
    if all(choice is None for choice in choices):
        return None
    everything = np.ones(class_count, bool)
    return np.stack([everything if choice is None else choose(choice, ONLY_CLASSES) for choice in choices])
