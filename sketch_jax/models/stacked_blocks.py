"""Blocks one after another; equal ones may run as one loop, which compiles a single block in place of all."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax import lax
from jax import numpy as jnp

from sketch_jax.errors import InputError
from sketch_jax.models.attention import Tokens


def run_blocks(
    blocks: Sequence[Any], tokens: Tokens, train: bool, *, given: Sequence[tuple[Any, ...]], scan: bool
) -> Tokens:
    """The tokens after all blocks.

    Args:
        blocks: bound modules with the field `drop_path`, called as `block(tokens, *given, train)`.
        tokens: that enter the first.
        train: for dropout and drop path.
        given: further arguments of each block.
        scan: whether the blocks run as one loop. Their parameters stay those of single blocks; they are
            stacked where the loop begins, which takes a copy of them in memory.
    """
    if scan and not blocks[0].is_initializing():
        return _scan(blocks, tokens, train, given)
    for block, arguments in zip(blocks, given, strict=True):
        tokens = block(tokens, *arguments, train)
    return tokens


def refuse_unlike_blocks(name: str, model: nn.Module, image_size: int, *, know_depth: bool = False) -> None:
    """Refuses a loop over blocks that are not alike.

    Args:
        name: of the architecture, for the message.
        model: with the blocks `blocks_0`, `blocks_1`, ….
        image_size: in pixels.
        know_depth: whether what a block computes depends on its place among the others.

    Raises:
        InputError: the blocks differ.
    """
    images = jnp.zeros((1, image_size, image_size, 3))
    variables: Any = jax.eval_shape(lambda: model.init(jax.random.key(0), images, False))
    params = variables["params"]
    shapes = [
        jax.tree.map(lambda leaf: leaf.shape, params[block])
        for block in params
        if block.startswith("blocks_")
    ]
    if know_depth or any(shape != shapes[0] for shape in shapes):
        raise InputError(
            f"--model.scan-blocks True: the blocks of {name} are not alike, so no loop can run them; leave "
            "the option out"
        )


def _scan(blocks: Sequence[Any], tokens: Tokens, train: bool, given: Sequence[tuple[Any, ...]]) -> Tokens:
    template, count = blocks[0].clone(parent=None, name=None), len(blocks)
    alike = all(arguments is given[0] for arguments in given)
    rates = np.array([block.drop_path for block in blocks], np.float32)
    keys = jax.random.split(blocks[0].make_rng("dropout"), count) if train else None
    stacked = {
        "params": _stack([block.variables["params"] for block in blocks]),
        "rate": jnp.asarray(rates) if train and rates.any() else None,
        "key": keys,
        "arguments": None if alike else _stack(given),
    }

    def body(tokens: Tokens, of_block: dict[str, Any]) -> tuple[Tokens, None]:
        rate = 0.0 if of_block["rate"] is None else of_block["rate"]
        arguments = given[0] if alike else of_block["arguments"]
        rngs = {"dropout": of_block["key"]} if train else {}
        block = template.clone(drop_path=rate)
        return block.apply({"params": of_block["params"]}, tokens, *arguments, train, rngs=rngs), None

    return lax.scan(body, tokens, stacked)[0]


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
