"""Mixup and cutmix: the partner of an image is the one at the same place from the batch's other end.

References:
    Zhang et al., mixup: Beyond Empirical Risk Minimization (2018); Yun et al., CutMix (2019);
    timm/data/mixup.py.
"""

from typing import NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from sketch_jax.arrays import Ink, Mask, Targets
from sketch_jax.augment.options import MixMode
from sketch_jax.augment.strengths import Strengths


class Box(NamedTuple):
    """What cutmix pastes: pixels from `top` to below `bottom`, from `left` to below `right`."""

    top: Int[Array, " batch"]
    bottom: Int[Array, " batch"]
    left: Int[Array, " batch"]
    right: Int[Array, " batch"]


class Draws(NamedTuple):
    """What is random about mixing, for each image."""

    share: Float[Array, " batch"]
    """Of the image itself, before a border clips the box; 1 is unmixed."""
    cut: Bool[Array, " batch"]
    """Cutmix rather than mixup."""
    row: Int[Array, " batch"]
    """Centre of the box."""
    column: Int[Array, " batch"]


def mix(
    key: Key[Array, ""], strengths: Strengths, mode: MixMode, ink: Ink, targets: Targets, mask: Mask
) -> tuple[Ink, Targets]:
    """Each image and its target, mixed with its partner's; rows that do not count mix with none.

    Args:
        key: of this batch.
        strengths: `mixup_alpha`, `cutmix_alpha` or both, `mix_probability` and `mix_switch_probability`.
        mode: who shares the draws.
        ink: images.
        targets: soft labels.
        mask: False where a row does not count.
    """
    height, width = ink.shape[1:3]
    draws = draw_mixing(key, strengths, mode, len(ink), height, width)
    share = jnp.where(mask & mask[::-1], draws.share, 1.0)
    box = cut_box(share, draws.row, draws.column, height, width)
    area = (box.bottom - box.top) * (box.right - box.left)
    kept_share = jnp.where(draws.cut, 1.0 - area / (height * width), share)
    cut, share = (values.reshape(-1, 1, 1) for values in (draws.cut, share))
    kept = jnp.where(cut, ~inside(box, height, width), share)
    return _blend(ink, kept[..., None]), _blend(targets, kept_share.reshape(-1, 1))


def draw_mixing(
    key: Key[Array, ""], strengths: Strengths, mode: MixMode, count: int, height: int, width: int
) -> Draws:
    """The draws of each image of a batch."""
    sharers = groups(mode, count)
    drawn = int(sharers.max()) + 1
    share_key, uniform_key = jax.random.split(key)
    happen, switch, row, column = jax.random.uniform(uniform_key, (4, drawn))
    alpha, cut = _alpha_and_kind(strengths, switch)
    share = jax.random.beta(share_key, alpha, alpha)
    draws = Draws(
        share=jnp.where(happen < strengths["mix_probability"], share, 1.0),
        cut=cut,
        row=(row * height).astype(jnp.int32),
        column=(column * width).astype(jnp.int32),
    )
    return Draws(*(values[sharers] for values in draws))


def groups(mode: MixMode, count: int) -> Int[np.ndarray, " batch"]:
    """Which draw each image of a batch takes.

    >>> groups("pair", 5)
    array([0, 1, 2, 1, 0])
    """
    places = np.arange(count)
    return {"batch": 0 * places, "pair": np.minimum(places, places[::-1]), "element": places}[mode]


def cut_box(
    share: Float[Array, " batch"],
    row: Int[Array, " batch"],
    column: Int[Array, " batch"],
    height: int,
    width: int,
) -> Box:
    """The box about a centre that covers one minus the share of the image, clipped at the borders."""
    side = jnp.sqrt(1.0 - share)

    def span(centre: Int[Array, " batch"], size: int) -> tuple[Array, Array]:
        length = (size * side).astype(jnp.int32)
        return jnp.clip(centre - length // 2, 0, size), jnp.clip(centre + (length + 1) // 2, 0, size)

    return Box(*span(row, height), *span(column, width))


def inside(box: Box, height: int, width: int) -> Bool[Array, "batch height width"]:
    """Whether a pixel lies in the box."""
    top, bottom, left, right = (edge.reshape(-1, 1, 1) for edge in box)
    rows = jnp.arange(height).reshape(1, -1, 1)
    columns = jnp.arange(width).reshape(1, 1, -1)
    return (top <= rows) & (rows < bottom) & (left <= columns) & (columns < right)


def _alpha_and_kind(
    strengths: Strengths, switch: Float[Array, " draws"]
) -> tuple[Float[Array, " draws"], Bool[Array, " draws"]]:
    """Alpha of the share, and whether it is for cutmix; where both are on, a number of 0 to 1 decides."""
    if "cutmix_alpha" not in strengths:
        return jnp.full_like(switch, strengths["mixup_alpha"]), switch < 0.0
    if "mixup_alpha" not in strengths:
        return jnp.full_like(switch, strengths["cutmix_alpha"]), switch >= 0.0
    cut = switch < strengths["mix_switch_probability"]
    return jnp.where(cut, strengths["cutmix_alpha"], strengths["mixup_alpha"]), cut


def _blend(values: Array, kept: Array) -> Array:
    """Values and their partners', weighted by the share that is kept."""
    return kept * values + (1.0 - kept) * values[::-1]
