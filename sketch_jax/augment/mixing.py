"""Mixup and cutmix of a batch.

References:
    Zhang et al., mixup: Beyond Empirical Risk Minimization (2018); Yun et al., CutMix (2019);
    timm/data/mixup.py.
"""

from typing import NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from sketch_jax.arrays import Ink, Labels, Mask, Targets
from sketch_jax.augment.mixing_options import MixMode
from sketch_jax.augment.mixing_strengths import MODES, MixingLayout, MixingStrengths

Share = Float[Array, " batch"]


class Box(NamedTuple):
    """What cutmix pastes: pixels from `top` to below `bottom`, from `left` to below `right`."""

    top: Int[Array, " batch"]
    bottom: Int[Array, " batch"]
    left: Int[Array, " batch"]
    right: Int[Array, " batch"]


class Draws(NamedTuple):
    """What is random about mixing, for each image."""

    happens: Bool[Array, " batch"]
    cut: Bool[Array, " batch"]
    """Cutmix rather than mixup."""
    share: Share
    """Of the image itself, from a Beta distribution."""
    row: Share
    """Where the box is and how large, each uniform from 0 to 1."""
    column: Share
    height: Share
    width: Share


class Partners(NamedTuple):
    """With which image of the batch each is mixed."""

    rows: Int[Array, " batch"]
    found: Bool[Array, " batch"]
    """False: with none."""


def mixing_due(strengths: MixingStrengths, step: int | Int[Array, ""]) -> MixingStrengths:
    """The strengths at a step: only every so manieth batch is mixed, and none from the last step on."""
    due = ((step + 1) % strengths.every == 0) & (step < strengths.until_step)
    return strengths._replace(probability=jnp.where(due, strengths.probability, 0.0))


def mix(
    key: Key[Array, ""],
    strengths: MixingStrengths,
    layout: MixingLayout,
    ink: Ink,
    labels: Labels,
    targets: Targets,
    mask: Mask,
    chosen: Mask,
) -> tuple[Ink, Targets]:
    """Each image and its target, mixed with its partner's; rows that do not count mix with none.

    Args:
        key: of this batch.
        strengths: of one stage; may be traced.
        layout: that the strengths were made for.
        ink: images.
        labels: class indices.
        targets: soft labels.
        mask: False where a row does not count.
        chosen: False where an image stays as it is; it may be another's partner.
    """
    draw_key, partner_key = jax.random.split(key)
    draws = draw_mixing(draw_key, strengths, layout, len(ink))
    partners = choose_partners(partner_key, strengths, layout, jnp.asarray(labels), jnp.asarray(mask))
    draws = draws._replace(happens=draws.happens & partners.found & mask & chosen)
    return mix_as_drawn(draws, partners, strengths, layout, ink, targets)


def mix_as_drawn(
    draws: Draws,
    partners: Partners,
    strengths: MixingStrengths,
    layout: MixingLayout,
    ink: Ink,
    targets: Targets,
) -> tuple[Ink, Targets]:
    """Mixing without chance: see `mix`."""
    share = jnp.where(draws.happens, draws.share, 1.0)
    kept = share.reshape(-1, 1, 1)
    if layout.cutmix:
        height, width = ink.shape[1:3]
        box, cut = draw_box(strengths, draws, height, width), draws.happens & draws.cut
        kept = jnp.where(cut.reshape(-1, 1, 1), ~inside(box, height, width), kept)
        area = (box.bottom - box.top) * (box.right - box.left)
        share = jnp.where(cut, 1.0 - area / (height * width), share)

    def others(values: Array) -> Array:
        return values[partners.rows] if layout.chosen_partners else values[::-1]

    ink = _blend(ink, others(ink), kept[..., None])
    return ink, _blend(targets, others(targets), share.reshape(-1, 1))


def draw_mixing(key: Key[Array, ""], strengths: MixingStrengths, layout: MixingLayout, count: int) -> Draws:
    """The draws of each image of a batch."""
    share_key, uniform_key = jax.random.split(key)
    happen, switch, *places = jax.random.uniform(uniform_key, (6, count))
    cut = switch < strengths.cut_probability
    alpha = jnp.where(cut, strengths.box_alpha, strengths.mixup_alpha)
    draws = Draws(
        happens=happen < strengths.probability,
        cut=cut,
        share=jax.random.beta(share_key, alpha, alpha),
        row=places[0],
        column=places[1],
        height=places[2],
        width=places[3],
    )
    sharers = jnp.asarray(np.stack([groups(mode, count) for mode in MODES]))[strengths.mode]
    return Draws(*(values[sharers] for values in draws))


def groups(mode: MixMode, count: int) -> Int[np.ndarray, " batch"]:
    """Which draw each image of a batch takes.

    >>> groups("pair", 5)
    array([0, 1, 2, 1, 0])
    """
    places = np.arange(count)
    return {"batch": 0 * places, "pair": np.minimum(places, places[::-1]), "element": places}[mode]


def choose_partners(
    key: Key[Array, ""],
    strengths: MixingStrengths,
    layout: MixingLayout,
    labels: Int[Array, " batch"],
    mask: Bool[Array, " batch"],
) -> Partners:
    """Each image's partner: the opposite one, or one drawn from those that are allowed."""
    count = len(labels)
    opposite = Partners(jnp.arange(count)[::-1], mask[::-1])
    if not layout.chosen_partners:
        return opposite
    same = labels[:, None] == labels[None, :]
    wanted = (jnp.asarray(strengths.partner_classes)[labels] & (labels >= 0))[None, :]
    allowed = jnp.where(strengths.partner == 1, same, wanted) & mask[None, :] & ~jnp.eye(count, dtype=bool)
    scores = jnp.where(allowed, jax.random.uniform(key, (count, count)), -1.0)
    chosen = Partners(jnp.argmax(scores, axis=-1), allowed.any(-1))
    return jax.tree.map(lambda *pair: jnp.where(strengths.partner == 0, *pair), opposite, chosen)


def draw_box(strengths: MixingStrengths, draws: Draws, height: int, width: int) -> Box:
    """The box of each image, of the kind that the strengths say."""
    centre = (draws.row * height).astype(jnp.int32), (draws.column * width).astype(jnp.int32)
    kinds = (
        cut_box(draws.share, *centre, height, width),
        _sized_box(strengths, draws, height, width),
        _half_box(strengths, draws, height, width),
        _region_box(strengths, len(draws.share), height, width),
    )
    return jax.tree.map(lambda *edges: jnp.stack(edges)[strengths.box], *kinds)


def cut_box(
    share: Share, row: Int[Array, " batch"], column: Int[Array, " batch"], height: int, width: int
) -> Box:
    """The box about a centre that covers one minus the share of the image, clipped at the borders."""
    side = jnp.sqrt(1.0 - share)

    def span(centre: Int[Array, " batch"], size: int) -> tuple[Array, Array]:
        length = (size * side).astype(jnp.int32)
        return jnp.clip(centre - length // 2, 0, size), jnp.clip(centre + (length + 1) // 2, 0, size)

    return Box(*span(row, height), *span(column, width))


def _sized_box(strengths: MixingStrengths, draws: Draws, height: int, width: int) -> Box:
    """A box inside the image; its longest side is one pixel less than the limit, as in timm."""

    def span(length_share: Share, place_share: Share, size: int) -> tuple[Array, Array]:
        shortest, limit = (size * jnp.asarray(strengths.sizes)).astype(jnp.int32)
        choices = jnp.maximum(limit - shortest, 1).astype(jnp.float32)
        length = shortest + (length_share * choices).astype(jnp.int32)
        start = (place_share * (size - length + 1).astype(jnp.float32)).astype(jnp.int32)
        return start, start + length

    return Box(*span(draws.height, draws.row, height), *span(draws.width, draws.column, width))


def _half_box(strengths: MixingStrengths, draws: Draws, height: int, width: int) -> Box:
    first, count = jnp.asarray(strengths.halves)
    half = first + (draws.row * count.astype(jnp.float32)).astype(jnp.int32)
    middle = height // 2, width // 2
    edges = jnp.array(
        [
            [0, height, 0, middle[1]],
            [0, height, middle[1], width],
            [0, middle[0], 0, width],
            [middle[0], height, 0, width],
        ],
        jnp.int32,
    )
    return Box(*edges[half].T)


def _region_box(strengths: MixingStrengths, count: int, height: int, width: int) -> Box:
    sides = jnp.array([height, height, width, width], jnp.float32)
    edges = jnp.round(jnp.asarray(strengths.region) * sides).astype(jnp.int32)
    return Box(*jnp.broadcast_to(edges[:, None], (4, count)))


def inside(box: Box, height: int, width: int) -> Bool[Array, "batch height width"]:
    """Whether a pixel lies in the box."""
    top, bottom, left, right = (edge.reshape(-1, 1, 1) for edge in box)
    rows = jnp.arange(height).reshape(1, -1, 1)
    columns = jnp.arange(width).reshape(1, 1, -1)
    return (top <= rows) & (rows < bottom) & (left <= columns) & (columns < right)


def _blend(values: Array, others: Array, kept: Array) -> Array:
    """Values and their partners', weighted by the share that is kept."""
    return kept * values + (1.0 - kept) * others
