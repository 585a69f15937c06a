"""A policy applied to a batch: its geometric operations as maps, the others on bytes, image by image.

References:
    timm/data/auto_augment.py: `NAME_TO_OP`.
"""

import functools
from collections.abc import Callable

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

from sketch_jax.arrays import Images, Ink
from sketch_jax.augment.colour import adjust_colour
from sketch_jax.augment.filters import gaussian_blur, sharpen
from sketch_jax.augment.policies.draws import Drawn, draw_policy
from sketch_jax.augment.policies.levels import OPERATIONS
from sketch_jax.augment.policies.repertoire import Layout, Repertoire
from sketch_jax.augment.tables import TABLES, Tables, apply_tables, histograms

Matrices = Float[Array, "batch 3 3"]
Operation = Callable[[Images, Float[Array, " batch"]], Images]

NEIGHBOURS: dict[str, Operation] = {"color": adjust_colour, "sharpness": sharpen, "blur": gaussian_blur}
"""Operations that no table of bytes can be, by name."""

COUNTED = ("contrast", "equalize", "auto_contrast")
"""Tables that depend on the image."""


def apply_policy(
    key: Key[Array, ""],
    repertoire: Repertoire,
    layout: Layout,
    count: int,
    shape: tuple[int, int],
    read: Callable[[Matrices | None], Images],
) -> Ink:
    """Each image after the operations that are drawn for it.

    Args:
        key: of this batch.
        repertoire: of one policy; may be traced.
        layout: that the repertoire was made for.
        count: images.
        shape: height and width in pixels.
        read: gives the images, as bytes of which 255 is paper, through maps from the output's centred
            coordinates to those of the images that the policy is for; None: without a map.
    """
    drawn = draw_policy(key, repertoire, layout, count)
    chains = [_run_chain(drawn, chain, layout, shape, read) for chain in range(layout.chains)]
    if not layout.blends:
        return 1.0 - jnp.asarray(chains[0], jnp.float32) / 255.0
    shares = drawn.shares.reshape(count, -1, 1, 1, 1)
    blend = (1.0 - shares.sum(1)) * jnp.asarray(read(None), jnp.float32)
    for chain, pixels in enumerate(chains):
        blend += shares[:, chain] * jnp.asarray(pixels, jnp.float32)
    return 1.0 - blend / 255.0


def _run_chain(
    drawn: Drawn,
    chain: int,
    layout: Layout,
    shape: tuple[int, int],
    read: Callable[[Matrices | None], Images],
) -> Images:
    operations, arguments = drawn.operations[:, chain], drawn.arguments[:, chain]
    pixels = read(compose_maps(operations, arguments, shape) if layout.moves else None)
    return change_values(pixels, operations, arguments, layout)


def compose_maps(
    operations: Int[Array, "batch step"], arguments: Float[Array, "batch step"], shape: tuple[int, int]
) -> Matrices:
    """The map of each image's geometric operations, one after another."""
    total = jnp.eye(3).reshape(1, 3, 3)
    for step in range(operations.shape[1]):
        maps = jax.vmap(functools.partial(map_of, shape=shape))
        matrices = maps(operations[:, step], arguments[:, step])
        total = jnp.matmul(total, matrices, precision="highest")
    return total


def map_of(
    operation: Int[Array, ""], argument: Float[Array, ""], shape: tuple[int, int]
) -> Float[Array, "3 3"]:
    """The map of an operation, Pillow's: shears keep the first row or column of pixels where it is."""

    def given(name: str) -> Float[Array, ""]:
        return jnp.where(operation == OPERATIONS.index(name), argument, 0.0)

    height, width = shape
    angle = jnp.deg2rad(given("rotate"))
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    by_row, by_column = given("shear_x"), given("shear_y")
    down = by_column * width / 2 + given("translate_y") * height + given("translate_y_pixels")
    right = by_row * height / 2 + given("translate_x") * width + given("translate_x_pixels")
    return jnp.array([[cosine, sine + by_column, down], [by_row - sine, cosine, right], [0.0, 0.0, 1.0]])


def change_values(
    pixels: Images,
    operations: Int[Array, "batch step"],
    arguments: Float[Array, "batch step"],
    layout: Layout,
) -> Images:
    """Each image after its operations on values.

    On a CPU an image goes through what is drawn for it and nothing else, one image after another; a GPU would
    wait for the host between two images, and takes all operations on all images in less time.
    """
    steps = make_steps(layout)
    if steps is None:
        return pixels
    return jax.lax.platform_dependent(
        pixels,
        operations,
        arguments,
        cpu=lambda *batch: jax.lax.map(lambda image: steps(*image), batch),
        default=jax.vmap(steps),
    )


def make_steps(layout: Layout) -> Callable[[Array, Array, Array], Array] | None:
    """Builds (image, operations, arguments) -> image of what can happen; None where no value can change."""
    tabled = [name for name in TABLES if name in layout.operations]
    others = [name for name in NEIGHBOURS if name in layout.operations]
    if not tabled and not others:
        return None
    branches: list[Callable[..., Images]] = [lambda pixels, operation, argument: pixels]
    branch_of = jnp.zeros(len(OPERATIONS), jnp.int32)
    if tabled:
        branch_of = branch_of.at[_places(tabled)].set(len(branches))
        branches.append(_make_through_tables(tabled))
    for name in others:
        branch_of = branch_of.at[_places([name])].set(len(branches))
        branches.append(lambda pixels, _, argument, change=NEIGHBOURS[name]: change(pixels, argument))

    def step(
        pixels: UInt8[Array, "1 height width 3"], drawn: tuple[Int[Array, ""], Float[Array, ""]]
    ) -> tuple[Array, None]:
        operation, argument = drawn
        changed = jax.lax.switch(branch_of[operation], branches, pixels, operation, argument.reshape(1))
        return changed, None

    def steps(image: Array, operations: Array, arguments: Array) -> Array:
        return jax.lax.scan(step, image[None], (operations, arguments))[0][0]

    return steps


def _make_through_tables(names: list[str]) -> Callable[..., Images]:
    """Builds (pixels, operation, argument) -> pixels: a table is chosen, then read through once."""
    choice_of = jnp.zeros(len(OPERATIONS), jnp.int32).at[_places(names)].set(jnp.arange(len(names)))
    counted = jnp.isin(jnp.arange(len(OPERATIONS)), _places(COUNTED))

    def through_tables(pixels: Images, operation: Int[Array, ""], argument: Float[Array, "1"]) -> Images:
        counts = jax.lax.cond(
            counted[operation], histograms, lambda pixels: jnp.zeros((1, 3, 256), jnp.int32), pixels
        )
        builders: list[Callable[..., Tables]] = [TABLES[name] for name in names]
        tables = jax.lax.switch(choice_of[operation], builders, argument, counts)
        return apply_tables(pixels, tables)

    return through_tables


def _places(names: list[str] | tuple[str, ...]) -> Int[Array, " name"]:
    return jnp.array([OPERATIONS.index(name) for name in names])
