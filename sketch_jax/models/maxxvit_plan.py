"""Where each block of a MaxxViT stands, and which image sizes its windows fit.

References:
    timm/models/maxxvit.py.
"""

import dataclasses

from sketch_jax.errors import InputError, refuse_faults
from sketch_jax.models.maxxvit_record import Kind, MaxxVit, Pair

STEM_STRIDE = 2
STAGE_STRIDE = 2

REMEDY = "change them, or leave them out"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """What a block needs to know of its place."""

    kind: Kind
    in_channels: int
    out_channels: int
    stride: int
    size: Pair
    """Height and width of the map that leaves it, in cells."""
    window: Pair
    """Height and width of a window, in cells."""
    grid: Pair
    """Rows and columns of a grid."""
    drop_path: float
    """Probability, 0 to below 1."""


def stem_widths(architecture: MaxxVit) -> Pair:
    """Channels of the stem's two convolutions."""
    width = architecture.stem_width
    return (width, width) if isinstance(width, int) else width


def block_kinds(architecture: MaxxVit, stage: int) -> tuple[Kind, ...]:
    """The kind of each block of a stage."""
    stated, depth = architecture.block_type[stage], architecture.depths[stage]
    kinds = (stated,) if isinstance(stated, str) else stated
    return (kinds + kinds[-1:] * depth)[:depth]


def partition(architecture: MaxxVit, image_size: int) -> tuple[Pair, Pair]:
    """Height and width of a window, and rows and columns of a grid, in cells."""
    side = image_size // architecture.transformer_partition_ratio
    window = architecture.transformer_window_size
    if window is None:
        return (side, side), (side, side)
    return window, architecture.transformer_grid_size or window


def stage_sides(architecture: MaxxVit, image_size: int) -> list[int]:
    """Height and width of the map that leaves each stage, in cells."""
    return [
        image_size // (STEM_STRIDE * STAGE_STRIDE ** (stage + 1))
        for stage in range(len(architecture.embed_dim))
    ]


def plan_stages(architecture: MaxxVit, image_size: int, drop_path: float) -> list[list[Place]]:
    """The blocks of each stage, with drop path growing from 0 at the first block to its rate at the last."""
    stages: list[list[Place]] = []
    in_channels, (window, grid) = stem_widths(architecture)[1], partition(architecture, image_size)
    depths, sides = architecture.depths, stage_sides(architecture, image_size)
    last = max(sum(depths) - 1, 1)
    for stage, out_channels in enumerate(architecture.embed_dim):
        stages.append([])
        for index, kind in enumerate(block_kinds(architecture, stage)):
            place = Place(
                kind=kind,
                in_channels=in_channels,
                out_channels=out_channels,
                stride=1 if index else STAGE_STRIDE,
                size=(sides[stage], sides[stage]),
                window=window,
                grid=grid,
                drop_path=drop_path * (sum(depths[:stage]) + index) / last,
            )
            stages[-1].append(place)
            in_channels = out_channels
    return stages


def attention_width(architecture: MaxxVit, place: Place) -> int:
    """Channels of the queries in a block: a `T` may widen the map after its attention."""
    widens = place.kind != "T" or architecture.transformer_expand_first
    return place.out_channels if widens else place.in_channels


def check_arguments(name: str, architecture: MaxxVit) -> None:
    """Refuses model arguments that do not go together.

    Raises:
        InputError: lists them.
    """
    lengths = {len(architecture.embed_dim), len(architecture.depths), len(architecture.block_type)}
    refuse_faults(
        f"model arguments do not fit {name}",
        ["embed_dim, depths and block_type differ in their number of stages"] if len(lengths) > 1 else [],
        REMEDY,
    )
    places = [place for stage in plan_stages(architecture, 0, 0.0) for place in stage]
    widths = [attention_width(architecture, place) for place in places if place.kind != "C"]
    uneven = sorted({width for width in widths if width % architecture.transformer_dim_head})
    (window, grid), kinds = partition(architecture, 0), {place.kind for place in places}
    hidden_head = architecture.head_hidden_size is not None
    pools = {architecture.conv_pool_type, architecture.conv_downsample_pool_type}
    faults = {
        f"attention over {uneven} channels has no heads of transformer_dim_head "
        f"{architecture.transformer_dim_head}": bool(uneven),
        f"blocks 'PM' have one partition, not windows of {window} and grids of {grid}": "PM" in kinds
        and window != grid,
        "head_hidden_size goes with transformer_norm_layer 'layernorm2d' alone": hidden_head
        and architecture.transformer_norm_layer == "batchnorm2d",
        "head_hidden_size does not go with global_pool 'catavgmax'": hidden_head
        and architecture.global_pool == "catavgmax",
        "conv_padding 'same' goes with pools 'avg2' and 'max2' alone": architecture.conv_padding == "same"
        and bool(pools & {"avg", "max"}),
    }
    refuse_faults(
        f"model arguments do not fit {name}", [fault for fault, there in faults.items() if there], REMEDY
    )


def check_image_size(name: str, architecture: MaxxVit, image_size: int) -> None:
    """Refuses images whose maps cannot be halved in each stage, or are not filled by windows and grids.

    Raises:
        InputError: says which sizes fit, or which part does not.
    """
    unit = STEM_STRIDE * STAGE_STRIDE ** len(architecture.embed_dim)
    if image_size <= 0 or image_size % unit:
        below = max(image_size, 0) // unit * unit
        sizes = " or ".join(str(size) for size in (below, below + unit) if size > 0)
        raise InputError(
            f"image size {image_size} is not a multiple of {unit}, by which {name} reduces images; "
            f"take {sizes}"
        )
    window, grid = partition(architecture, image_size)
    places = [place for stage in plan_stages(architecture, image_size, 0.0) for place in stage]
    for place in places:
        parts = (window, grid) if place.kind in ("M", "PM") else ()
        for part in parts:
            if not all(cells and side % cells == 0 for side, cells in zip(place.size, part, strict=True)):
                raise InputError(
                    f"image size {image_size}: windows or grids of {part} cells do not fill a map of "
                    f"{place.size} in {name}; take another size, or another transformer_window_size"
                )
