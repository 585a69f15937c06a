"""The draws of a policy: which operations each image goes through, with which arguments."""

from typing import NamedTuple

import jax
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from sketch_jax.augment.policies.levels import OPERATIONS, arguments_of
from sketch_jax.augment.policies.repertoire import Entries, Layout, Repertoire

IDENTITY = OPERATIONS.index("identity")


class Drawn(NamedTuple):
    """What happens to each image of a batch."""

    operations: Int[Array, "batch chain step"]
    """Places in `OPERATIONS`."""
    arguments: Float[Array, "batch chain step"]
    shares: Float[Array, "batch chain"]
    """Of each chain in the blend; what is missing to 1 is the share of the image itself."""


def draw_policy(key: Key[Array, ""], repertoire: Repertoire, layout: Layout, count: int) -> Drawn:
    """The draws of each image of a batch.

    Args:
        key: of this batch.
        repertoire: of one policy; may be traced.
        layout: that the repertoire was made for.
        count: images.
    """
    chain_key, share_key = jax.random.split(key)
    draw_chains = jax.vmap(jax.vmap(lambda one_key: _draw_chain(one_key, repertoire, layout)))
    operations, arguments = draw_chains(jax.random.split(chain_key, (count, layout.chains)))
    return Drawn(operations, arguments, _draw_shares(share_key, repertoire, layout, count))


def _draw_chain(
    key: Key[Array, ""], repertoire: Repertoire, layout: Layout
) -> tuple[Int[Array, " step"], Float[Array, " step"]]:
    row_key, depth_key, level_key = jax.random.split(key, 3)
    rows = _draw_rows(row_key, repertoire, layout.draws)
    entries: Entries = jax.tree.map(lambda values: jnp.asarray(values)[rows], repertoire.entries)
    depth = jax.random.randint(depth_key, (), repertoire.least_draws, repertoire.most_draws + 1)
    open_yet = (jnp.arange(layout.draws) < depth).reshape(-1, 1)
    happens, arguments = _draw_arguments(level_key, entries)
    operations = jnp.where(happens & open_yet, entries.rules.operation, IDENTITY)
    return operations.reshape(-1), arguments.reshape(-1)


def _draw_rows(key: Key[Array, ""], repertoire: Repertoire, draws: int) -> Int[Array, " draw"]:
    """Rows by their weights: the largest of noisy scores each, or (distinct) the largest ones of one set.

    References:
        Kool et al., Stochastic Beams and Where to Find Them (2019), section 2.3.
    """
    rows = repertoire.weights.shape[-1]
    scores = jnp.log(repertoire.weights).reshape(1, -1) + jax.random.gumbel(key, (draws, rows))
    several = jnp.argsort(-scores[0])[jnp.minimum(jnp.arange(draws), rows - 1)]
    return jnp.where(repertoire.distinct, several, jnp.argmax(scores, axis=-1))


def _draw_arguments(
    key: Key[Array, ""], entries: Entries
) -> tuple[Bool[Array, "draw place"], Float[Array, "draw place"]]:
    """Whether each operation takes place, and its argument."""
    uniform_key, normal_key = jax.random.split(key)
    happen, coin, share = jax.random.uniform(uniform_key, (3, *entries.level.shape))
    noise = jax.random.normal(normal_key, entries.level.shape)
    spread = jnp.where(jnp.isinf(entries.spread), 0.0, entries.spread)
    levels = jnp.where(jnp.isinf(entries.spread), share * entries.level, entries.level + spread * noise)
    binned = jnp.floor(share * entries.bins) / jnp.maximum(entries.bins - 1, 1)
    levels = jnp.where(entries.bins > 0, binned * entries.level, levels)
    arguments = arguments_of(entries.rules, jnp.clip(levels, 0.0, entries.highest), coin < 0.5)
    return happen < entries.probability, arguments


def _draw_shares(
    key: Key[Array, ""], repertoire: Repertoire, layout: Layout, count: int
) -> Float[Array, "batch chain"]:
    """The share of each chain: Dirichlet times Beta where chains are blended, else the first has all.

    Both are ratios of Gamma variables, in logarithms lest a small alpha give 0 / 0.
    """
    chains = jnp.arange(layout.chains).reshape(1, -1)
    alone = jnp.broadcast_to(jnp.where(chains == 0, 1.0, 0.0), (count, layout.chains))
    if not layout.blends:
        return alone
    alpha = jnp.where(repertoire.alpha > 0.0, repertoire.alpha, 1.0)
    gammas = jax.random.loggamma(key, alpha, (count, layout.chains + 2))
    parts = jnp.where(chains < repertoire.width, gammas[:, 2:], -jnp.inf)
    blended = jax.nn.softmax(gammas[:, :2])[:, :1] * jax.nn.softmax(parts)
    return jnp.where(repertoire.alpha > 0.0, blended, alone)
