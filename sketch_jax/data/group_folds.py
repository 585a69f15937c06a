"""Dividing groups of rows into parts of given shares, with every class spread in the same shares."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

MAX_SWEEPS = 50
"""Bound on the passes of one attempt; most settle within ten."""
MAX_ATTEMPTS = 8
ROUNDING = 1e-9
"""Costs as near as this count as equal: rounding differs between machines, and must not decide."""
GROUPS_TRIED = 4000
"""Attempts times groups, about; with many groups one attempt is as good as several."""


class GroupContent(NamedTuple):
    """What a group holds."""

    classes: Int[np.ndarray, " present"]
    """Its classes; the last stands for all rows."""
    weights: Float[np.ndarray, " present"]
    """Share of each of these classes that it holds."""


def divide_groups(
    labels: Int[np.ndarray, " rows"],
    groups: np.ndarray,
    shares: Float[np.ndarray, " parts"],
    seed: int,
) -> Int[np.ndarray, " rows"]:
    """Part of each row; rows of a group share a part.

    Lowers the sum over classes c and parts p of (h_pc - s_p)² / s_p: h_pc is the share of class c in part p,
    s_p the share wanted, and all rows together count as one more class. Each attempt places the groups one
    after another, then moves them one at a time until no move helps; the best attempt counts.

    Args:
        labels: class of each row, from 0.
        groups: name of each row's group.
        shares: of the parts, each above 0, 1 in all.
        seed: decides the orders in which groups are placed.
    """
    _, group_of = np.unique(groups, return_inverse=True)
    contents = _contents(labels, group_of)
    rng = np.random.default_rng(seed)
    orders = [_largest_first(np.bincount(group_of), rng)]
    for _ in range(1, min(MAX_ATTEMPTS, GROUPS_TRIED // len(contents))):
        orders.append(rng.permutation(len(contents)))
    attempts = [_place_groups(contents, shares, int(labels.max()) + 2, order) for order in orders]
    least = min(unevenness for unevenness, _ in attempts)
    first = next(part_of for unevenness, part_of in attempts if unevenness <= least + ROUNDING)
    return first[group_of]


def _place_groups(
    contents: list[GroupContent],
    shares: Float[np.ndarray, " parts"],
    class_count: int,
    order: Int[np.ndarray, " groups"],
) -> tuple[float, Int[np.ndarray, " groups"]]:
    """The sum that is lowered, and the part of each group."""
    held = np.zeros((len(shares), class_count))
    part_of = [-1] * len(contents)
    for _ in range(MAX_SWEEPS):
        before = part_of.copy()
        for group in order.tolist():
            part_of[group] = place_group(held, shares, contents[group], part_of[group])
        if before == part_of:
            break
    unevenness = np.sum((held - shares[:, None]) ** 2 / shares[:, None])
    return float(unevenness), np.array(part_of, np.int32)


def place_group(
    held: Float[np.ndarray, "parts classes"],
    shares: Float[np.ndarray, " parts"],
    content: GroupContent,
    part: int,
) -> int:
    """Moves a group to its best part, updating `held`; it stays where it is when none is better.

    Args:
        held: share of each class in each part.
        shares: wanted of each part.
        content: of the group.
        part: where the group is; -1 at first.
    """
    classes, weights = content
    if part >= 0:
        held[part, classes] -= weights
    cost = (2.0 * (held[:, classes] - shares[:, None]) + weights) @ weights / shares
    least = cost <= cost.min() + ROUNDING
    best = part if part >= 0 and least[part] else int(np.argmax(least))
    held[best, classes] += weights
    return best


def _contents(labels: Int[np.ndarray, " rows"], group_of: Int[np.ndarray, " rows"]) -> list[GroupContent]:
    """What each group holds."""
    totals = np.bincount(labels)
    rows_of = np.split(np.argsort(group_of, kind="stable"), np.cumsum(np.bincount(group_of))[:-1])
    contents = []
    for rows in rows_of:
        classes, counts = np.unique(labels[rows], return_counts=True)
        weights = np.append(counts / totals[classes], len(rows) / len(labels))
        contents.append(GroupContent(classes=np.append(classes, len(totals)), weights=weights))
    return contents


def _largest_first(sizes: Int[np.ndarray, " groups"], rng: np.random.Generator) -> Int[np.ndarray, " groups"]:
    shuffled = rng.permutation(len(sizes))
    return shuffled[np.argsort(-sizes[shuffled], kind="stable")]
