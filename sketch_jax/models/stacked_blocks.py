"""Blocks one after another; those whose parameters are stacked run as one loop, compiled as one block."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from sketch_jax.models.attention import KeptTokens, Tokens
from sketch_jax.trees import STACKED, stack

COLLECTION = "stacked"
"""The collection of variables that has the stacked parameters."""


def run_blocks(
    blocks: Sequence[Any],
    tokens: Tokens,
    train: bool,
    *,
    given: Sequence[tuple[Any, ...]],
    stacked: Mapping[str, Any] | None,
    kept: int | None = None,
) -> KeptTokens:
    """The tokens after all blocks.

    Args:
        blocks: modules with the field `drop_path`, called as `block(tokens, *given, train, kept)`.
        tokens: that enter the first.
        train: for dropout and drop path.
        given: further arguments of each block; where they are the same objects, all blocks share them.
        stacked: parameters of all blocks along a new first axis, of blocks that are alike; None: each block
            has its own.
        kept: how many tokens are wanted, from the first; None: all. The last block answers for these alone,
            though not in a loop, whose blocks do the same.
    """
    if stacked is not None:
        return _scan(blocks, tokens, train, given, stacked)[:, :kept]
    for block, arguments in zip(blocks, given, strict=True):
        tokens = block(tokens, *arguments, train, kept if block is blocks[-1] else None)
    return tokens


def split_variables(params: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Collections of variables from parameters of which those of blocks may be stacked."""
    if STACKED not in params:
        return {"params": params}
    rest = {name: value for name, value in params.items() if name != STACKED}
    return {"params": rest, COLLECTION: {STACKED: params[STACKED]}}


def _scan(
    blocks: Sequence[Any],
    tokens: Tokens,
    train: bool,
    given: Sequence[tuple[Any, ...]],
    stacked: Mapping[str, Any],
) -> Tokens:
    template = blocks[0].clone(parent=None, name=None)
    alike = all(arguments is given[0] for arguments in given)
    rates = np.array([block.drop_path for block in blocks], np.float32)
    of_blocks = {
        "params": stacked,
        "rate": jnp.asarray(rates) if train and rates.any() else None,
        "key": jax.random.split(blocks[0].make_rng("dropout"), len(blocks)) if train else None,
        "given": None if alike else stack(given),
    }

    def body(tokens: Tokens, of_block: dict[str, Any]) -> tuple[Tokens, None]:
        rate = 0.0 if of_block["rate"] is None else of_block["rate"]
        arguments = given[0] if alike else of_block["given"]
        rngs = {"dropout": of_block["key"]} if train else {}
        block = template.clone(drop_path=rate)
        return block.apply({"params": of_block["params"]}, tokens, *arguments, train, None, rngs=rngs), None

    return lax.scan(body, tokens, of_blocks)[0]
