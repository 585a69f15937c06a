"""The draws of a policy: which operations each image goes through, with which arguments."""

from typing import NamedTuple

import jax
import numpy as np
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
    number_key, noise_key, share_key = jax.random.split(key, 3)
    rows, length = repertoire.entries.level.shape
    places = layout.draws, length
    # All numbers in one call: each further one costs a fifth of a second of compilation.
    sizes = layout.draws * rows, 3 * layout.draws * length, 1
    numbers = jax.random.uniform(number_key, (count, layout.chains, sum(sizes)))
    noise = jax.random.normal(noise_key, (count, layout.chains, *places))

    def draw(numbers: Float[Array, " number"], noise: Array) -> tuple[Array, Array]:
        for_rows, for_entries, for_depth = jnp.split(numbers, np.cumsum(sizes)[:-1])
        drawn = _draw_rows(for_rows.reshape(-1, rows), repertoire)
        entries: Entries = jax.tree.map(lambda values: jnp.asarray(values)[drawn], repertoire.entries)
        happens, arguments = _draw_arguments(for_entries.reshape(3, *places), noise, entries)
        happens = happens & _is_open(for_depth[0], repertoire, layout).reshape(-1, 1)
        operations = jnp.where(happens, entries.rules.operation, IDENTITY)
        return operations.reshape(-1), arguments.reshape(-1)

    operations, arguments = jax.vmap(jax.vmap(draw))(numbers, noise)
    return Drawn(operations, arguments, _draw_shares(share_key, repertoire, layout, count))


def _draw_rows(numbers: Float[Array, "draw row"], repertoire: Repertoire) -> Int[Array, " draw"]:
    """Rows by their weights: the largest of noisy scores each, or (distinct) the largest ones of one set.

    References:
        Kool et al., Stochastic Beams and Where to Find Them (2019), section 2.3.
    """
    draws, rows = numbers.shape
    scores = jnp.log(repertoire.weights).reshape(1, -1) - jnp.log(-jnp.log(numbers))
    several = jnp.argsort(-scores[0])[jnp.minimum(jnp.arange(draws), rows - 1)]
    return jnp.where(repertoire.distinct, several, jnp.argmax(scores, axis=-1))


def _is_open(number: Float[Array, ""], repertoire: Repertoire, layout: Layout) -> Bool[Array, " draw"]:
    """Whether a chain goes on to each of its draws."""
    choices = (repertoire.most_draws - repertoire.least_draws + 1).astype(np.float32)
    depth = repertoire.least_draws + jnp.floor(number * choices).astype(jnp.int32)
    return jnp.arange(layout.draws) < depth


def _draw_arguments(
    numbers: Float[Array, "3 draw place"], noise: Float[Array, "draw place"], entries: Entries
) -> tuple[Bool[Array, "draw place"], Float[Array, "draw place"]]:
    """Whether each operation takes place, and its argument."""
    happen, coin, share = numbers
    spread = jnp.where(jnp.isinf(entries.spread), 0.0, entries.spread)
    levels = jnp.where(jnp.isinf(entries.spread), share * entries.level, entries.level + spread * noise)
    binned = jnp.floor(share * entries.bins) / jnp.maximum(entries.bins - 1, 1)
    levels = jnp.where(entries.bins > 0, binned * entries.level, levels)
    arguments = arguments_of(entries.rules, jnp.clip(levels, 0.0, entries.highest), coin < 0.5)
    return happen < jnp.asarray(entries.probability), arguments


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
