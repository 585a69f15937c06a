"""Policies as data: rows of operations to draw from, all in one form, so that one program runs any of them.

An image goes through several rows, drawn by their weights; of each row it goes through the operations that
their probabilities let happen. AugMix does so in several chains at once and blends them.

References:
    timm/data/auto_augment.py; torchvision/transforms/autoaugment.py; deit/augment.py for 3-Augment.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sketch_jax.augment.policies.levels import (
    GEOMETRIC_FROM,
    OPERATIONS,
    ROUNDINGS,
    TIMM_RULES,
    WIDE_RULES,
    Rule,
    RuleArrays,
)
from sketch_jax.augment.policies.options import (
    AugMix,
    AutoAugment,
    Policy,
    RandAugment,
    ThreeAugment,
    TrivialAugmentWide,
)
from sketch_jax.augment.policies.sets import AUG_MIX_NAMES, AUTO_AUGMENT_ROWS, RAND_AUGMENT_WEIGHTS

TIMM_LEVELS = 10.0


class Entry(NamedTuple):
    """An operation of a row."""

    rule: Rule
    probability: float
    level: float
    """1 is timm's level 10 and torchvision's last bin."""
    spread: float = 0.0
    """Standard deviation of the level; infinite: uniform from 0 to the level."""
    highest: float = 1.0
    """Levels are held between 0 and this."""
    bins: int = 0
    """Levels are drawn from this many, evenly spaced from 0 to 1; 0: they are not."""


class Entries(NamedTuple):
    """Operations of rows, as data."""

    rules: RuleArrays
    probability: Float[Array | np.ndarray, "*shape"]
    level: Float[Array | np.ndarray, "*shape"]
    spread: Float[Array | np.ndarray, "*shape"]
    highest: Float[Array | np.ndarray, "*shape"]
    bins: Int[Array | np.ndarray, "*shape"]


class Repertoire(NamedTuple):
    """A policy as data; or several, stacked, with an axis for the stages in front."""

    weights: Float[Array | np.ndarray, "*stages row"]
    """How often a row is drawn, relative to the others; 0 is never."""
    entries: Entries
    """[*stages, row, place in the row]"""
    distinct: Bool[Array | np.ndarray, "*stages"]
    """Whether the rows that an image goes through are different ones."""
    least_draws: Int[Array | np.ndarray, "*stages"]
    most_draws: Int[Array | np.ndarray, "*stages"]
    width: Int[Array | np.ndarray, "*stages"]
    """Chains that are blended."""
    alpha: Float[Array | np.ndarray, "*stages"]
    """Of the blend's distributions; 0: there is no blend, the image is its only chain."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """What a program is compiled for: the largest policy that its arrays hold."""

    chains: int
    draws: int
    blends: bool
    """Whether chains are blended with the image."""
    operations: frozenset[str]
    """Those that can happen."""

    @property
    def moves(self) -> bool:
        """Whether geometric operations can happen."""
        return not self.operations.isdisjoint(OPERATIONS[GEOMETRIC_FROM:])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A policy before it is made into arrays."""

    rows: tuple[tuple[Entry, ...], ...]
    weights: tuple[float, ...] | None = None
    """None: all rows alike."""
    distinct: bool = False
    draws: tuple[int, int] = (1, 1)
    width: int = 1
    alpha: float = 0.0


NOTHING = Table(rows=((Entry(Rule("identity"), 0.0, 0.0),),), draws=(0, 0))
"""The policy of a stage that has none."""


def create_repertoire(policies: Sequence[Policy | None]) -> tuple[Layout, Repertoire]:
    """Policies as arrays with an axis for the policies in front, and the layout that holds them all.

    Args:
        policies: one for each stage; None: the stage has none. At least one is a policy.
    """
    tables = [NOTHING if policy is None else table_of(policy) for policy in policies]
    shape = max(len(table.rows) for table in tables), max(len(row) for table in tables for row in table.rows)
    repertoires = [_arrays_of(table, shape) for table in tables]
    happening = {
        entry.rule.operation
        for table in tables
        for row in table.rows
        for entry in row
        if entry.probability > 0.0
    }
    layout = Layout(
        chains=max(table.width for table in tables),
        draws=max(table.draws[1] for table in tables),
        blends=any(table.alpha for table in tables),
        operations=frozenset(happening - {"identity"}),
    )
    return layout, jax.tree.map(lambda *parts: np.stack(parts), *repertoires)


def table_of(policy: Policy) -> Table:
    """The rows of a policy and how they are drawn."""
    match policy:
        case AutoAugment():
            return _auto_augment(policy)
        case RandAugment():
            return _rand_augment(policy)
        case TrivialAugmentWide():
            return _trivial_augment(policy)
        case AugMix():
            return _aug_mix(policy)
        case ThreeAugment():
            return _three_augment(policy)


def _auto_augment(policy: AutoAugment) -> Table:
    spread = policy.magnitude_std / TIMM_LEVELS
    rows = [
        tuple(
            Entry(TIMM_RULES[name], probability, level / TIMM_LEVELS, spread)
            for name, probability, level in row
        )
        for row in AUTO_AUGMENT_ROWS[policy.variant]
    ]
    return Table(rows=tuple(rows))


def _rand_augment(policy: RandAugment) -> Table:
    weights = RAND_AUGMENT_WEIGHTS["mixed" if _is_plain(policy) else policy.operation_set]
    return Table(
        rows=tuple(
            (
                Entry(
                    TIMM_RULES[name],
                    policy.probability,
                    policy.magnitude / TIMM_LEVELS,
                    _spread(policy.magnitude_std),
                    policy.highest_magnitude / TIMM_LEVELS,
                ),
            )
            for name in weights
        ),
        weights=tuple(weights.values()),
        distinct=policy.operation_set in ("weights", "3aw"),
        draws=(policy.operations, policy.operations),
    )


def _is_plain(policy: RandAugment) -> bool:
    return policy.operation_set == "all" and not policy.increasing


def _trivial_augment(policy: TrivialAugmentWide) -> Table:
    return Table(rows=tuple((Entry(rule, 1.0, 1.0, bins=policy.bins),) for rule in WIDE_RULES.values()))


def _aug_mix(policy: AugMix) -> Table:
    level, spread = policy.severity / TIMM_LEVELS, _spread(policy.magnitude_std)
    return Table(
        rows=tuple((Entry(_mild_shifts(TIMM_RULES[name]), 1.0, level, spread),) for name in AUG_MIX_NAMES),
        draws=(1, 3) if policy.depth is None else (policy.depth, policy.depth),
        width=policy.width,
        alpha=policy.alpha,
    )


def _mild_shifts(rule: Rule) -> Rule:
    """AugMix shifts by up to 0.3 of a side in timm, other policies by 0.45."""
    return rule._replace(span=0.3) if rule.operation in ("translate_x", "translate_y") else rule


def _three_augment(policy: ThreeAugment) -> Table:
    low, high = policy.blur_radius
    always = [
        Entry(Rule("color"), 1.0, 0.0),
        Entry(Rule("solarize", float(policy.solarize_threshold)), 1.0, 0.0),
        Entry(Rule("blur", low, high - low), 1.0, 1.0, spread=np.inf),
    ]
    jitter = [
        Entry(Rule(name, 1.0, policy.color_jitter, signed=True), 1.0, 1.0, spread=np.inf)
        for name in ("brightness", "contrast", "color")
        if policy.color_jitter
    ]
    return Table(rows=tuple((one, *order) for one in always for order in itertools.permutations(jitter)))


def _spread(magnitude_std: float | None) -> float:
    return np.inf if magnitude_std is None else magnitude_std / TIMM_LEVELS


def _arrays_of(table: Table, shape: tuple[int, int]) -> Repertoire:
    """The arrays of a policy, filled up with rows that are never drawn and operations that never happen."""
    row_count, length = shape
    filler = NOTHING.rows[0][0]
    rows = [row + (filler,) * (length - len(row)) for row in table.rows]
    rows += [(filler,) * length] * (row_count - len(rows))
    weights = (1.0,) * len(table.rows) if table.weights is None else table.weights
    return Repertoire(
        weights=np.array([*weights, *(0.0,) * (row_count - len(weights))], np.float32),
        entries=_entries_of(rows),
        distinct=np.array(table.distinct),
        least_draws=np.array(table.draws[0], np.int32),
        most_draws=np.array(table.draws[1], np.int32),
        width=np.array(table.width, np.int32),
        alpha=np.array(table.alpha, np.float32),
    )


def _entries_of(rows: Sequence[Sequence[Entry]]) -> Entries:
    def column(read: Any, kind: Any) -> np.ndarray:
        return np.array([[read(entry) for entry in row] for row in rows], kind)

    rules = RuleArrays(
        operation=column(lambda entry: OPERATIONS.index(entry.rule.operation), np.int32),
        offset=column(lambda entry: entry.rule.offset, np.float32),
        span=column(lambda entry: entry.rule.span, np.float32),
        signed=column(lambda entry: entry.rule.signed, bool),
        rounding=column(lambda entry: ROUNDINGS.index(entry.rule.rounding), np.int32),
        lowest=column(lambda entry: entry.rule.lowest, np.float32),
        highest=column(lambda entry: entry.rule.highest, np.float32),
    )
    return Entries(
        rules=rules,
        probability=column(lambda entry: entry.probability, np.float32),
        level=column(lambda entry: entry.level, np.float32),
        spread=column(lambda entry: entry.spread, np.float32),
        highest=column(lambda entry: entry.highest, np.float32),
        bins=column(lambda entry: entry.bins, np.int32),
    )
