"""What a user sets about views of test images (imports no jax, so that `--help` starts fast)."""

import dataclasses
import itertools
import math
from typing import Any, Literal, NamedTuple, get_args

from sketch_jax.errors import refuse_faults

ViewKind = Literal[
    "identity",
    "horizontal_flip",
    "vertical_flip",
    "d4",
    "five_crop",
    "ten_crop",
    "scales",
    "rotations",
    "color_jitter",
    "auto_augment",
]
VIEW_KINDS: tuple[ViewKind, ...] = get_args(ViewKind)

Matrix = tuple[tuple[float, float, float], ...]
"""(row, column, 1) of the view to that of the image, in half sides from the centre."""

IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
HORIZONTAL: Matrix = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0))
VERTICAL: Matrix = ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
QUARTER_TURN: Matrix = ((0.0, 1.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Views:
    """Ways to look at each image; every distinct one is predicted once."""

    kinds: tuple[ViewKind, ...] = ("identity", "horizontal_flip")
    """Which; `d4` are the eight flips and quarter turns, `ten_crop` the crops of `five_crop` and their mirror
    images."""
    scales: tuple[float, ...] = (0.9, 1.1)
    """Magnifications of `scales`, above 0, at most 4."""
    degrees: tuple[float, ...] = (-15.0, 15.0)
    """Angles of `rotations`, counter-clockwise."""
    crop: float = 0.875
    """Sides of the crops, as a share of the image's; above 0, below 1."""
    passes: int = 4
    """Random views of `color_jitter` and of `auto_augment`, each."""

    def __post_init__(self):
        """Refuses what makes no view."""
        faults = [f"kinds {kind!r}: is no kind" for kind in self.kinds if kind not in VIEW_KINDS]
        faults += [
            f"scales {scale:g}: must be above 0, at most 4" for scale in self.scales if not 0 < scale <= 4
        ]
        faults += [
            f"degrees {angle:g}: must be a number" for angle in self.degrees if not math.isfinite(angle)
        ]
        if not self.kinds:
            faults.append("kinds is empty: must name a view at least")
        if not 0.0 < self.crop < 1.0:
            faults.append(f"crop {self.crop:g}: must be above 0 and below 1")
        if self.passes < 1:
            faults.append(f"passes {self.passes}: must be at least 1")
        refuse_faults("--views: these make no views", faults, "set them in these ranges")


class View(NamedTuple):
    """One way to look at images."""

    name: str
    matrix: Matrix
    random: str = ""
    """Name of the random changes that follow the matrix, and the seed; empty: none."""
    seed: int = 0


def list_views(views: Views) -> list[View]:
    """All distinct views, in the order in which they are first named.

    >>> [view.name for view in list_views(Views(kinds=("horizontal_flip", "identity", "d4")))][:4]
    ['horizontal_flip', 'identity', 'turned_90', 'mirrored_turned_90']
    >>> len(list_views(Views(kinds=("d4", "vertical_flip", "ten_crop", "five_crop"))))
    18
    """
    found: dict[tuple[Any, str, int], View] = {}
    for view in itertools.chain.from_iterable(_expand(kind, views) for kind in views.kinds):
        rounded = tuple(tuple(round(value, 9) + 0.0 for value in row) for row in view.matrix)
        found.setdefault((rounded, view.random, view.seed), view)
    return list(found.values())


def _expand(kind: ViewKind, views: Views) -> list[View]:
    affine = {
        "identity": [View("identity", IDENTITY)],
        "horizontal_flip": [View("horizontal_flip", HORIZONTAL)],
        "vertical_flip": [View("vertical_flip", VERTICAL)],
        "d4": _eight_views(),
        "five_crop": _crops(views.crop),
        "ten_crop": [side for crop in _crops(views.crop) for side in (crop, _mirrored(crop))],
        "scales": [View(f"scale_{scale:g}", _scaled(1.0 / scale)) for scale in views.scales],
        "rotations": [View(f"rotated_{angle:g}", _rotated(angle)) for angle in views.degrees],
    }
    random = [View(f"{kind}_{number}", IDENTITY, kind, number) for number in range(views.passes)]
    return affine.get(kind, random)


def _eight_views() -> list[View]:
    turned, views = IDENTITY, []
    for degrees in (0, 90, 180, 270):
        name = f"turned_{degrees}" if degrees else "identity"
        views += [View(name, turned), _mirrored(View(name, turned))]
        turned = _product(QUARTER_TURN, turned)
    return views


def _mirrored(view: View) -> View:
    name = "horizontal_flip" if view.name == "identity" else f"mirrored_{view.name}"
    return View(name, _product(view.matrix, HORIZONTAL))


def _crops(share: float) -> list[View]:
    """The middle and the four corners; of a view from -1 to 1 a crop shows so much of the image."""
    places = {"centre": (0, 0), "top_left": (-1, -1), "top_right": (-1, 1)}
    places |= {"bottom_left": (1, -1), "bottom_right": (1, 1)}
    margin = 1.0 - share
    return [
        View(f"{name}_crop", ((share, 0.0, row * margin), (0.0, share, column * margin), (0.0, 0.0, 1.0)))
        for name, (row, column) in places.items()
    ]


def _scaled(factor: float) -> Matrix:
    return ((factor, 0.0, 0.0), (0.0, factor, 0.0), (0.0, 0.0, 1.0))


def _rotated(degrees: float) -> Matrix:
    """The image turned counter-clockwise: the view reads it at places turned the other way."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return ((cosine, sine, 0.0), (-sine, cosine, 0.0), (0.0, 0.0, 1.0))


def _product(left: Matrix, right: Matrix) -> Matrix:
    columns = list(zip(*right, strict=True))
    return tuple(
        (
            sum(a * b for a, b in zip(row, columns[0], strict=True)),
            sum(a * b for a, b in zip(row, columns[1], strict=True)),
            sum(a * b for a, b in zip(row, columns[2], strict=True)),
        )
        for row in left
    )
