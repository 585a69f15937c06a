"""Pen strokes as arrays of points: parts to build with, a shaky hand that redraws them, and ink on paper.

A stroke is a polyline, float [points, 2], columns x and y. Shapes live in a frame of about -1 to 1, x to the
right and y down.
"""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from sketch_jax.data.records import Pixels

Stroke = Float[np.ndarray, "_ 2"]
Number = int | float
Point = Sequence[Number]
"""x and y."""

POINTS_PER_SEGMENT = 8
POINTS_PER_TURN = 28
MARGIN = 0.05
"""White border, over the side of the paper; wider than half of the widest pen."""


@functools.cache
def linear_basis(segments: int) -> np.ndarray:
    """Weights of the corners at each point of a polyline of straight segments, [points, corners]."""
    position = np.linspace(0, segments, segments * POINTS_PER_SEGMENT + 1)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(segments + 1)))


@functools.cache
def smooth_basis(segments: int, closed: bool) -> np.ndarray:
    """Weights of the control points at each point of the Catmull-Rom spline, [points, controls]."""
    controls = segments if closed else segments + 1
    basis = np.zeros((segments * POINTS_PER_SEGMENT + 1, controls))
    for row, position in enumerate(np.linspace(0, segments, len(basis))):
        segment = min(int(position), segments - 1)
        t = position - segment
        weights = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
        for offset, weight in enumerate(weights, start=-1):
            control = segment + offset
            basis[row, control % controls if closed else np.clip(control, 0, segments)] += weight / 2
    return basis


def line(*points: Point) -> Stroke:
    """Straight segments through the points."""
    return linear_basis(len(points) - 1) @ np.array(points)


def polygon(*points: Point) -> Stroke:
    """Straight segments through the points and back to the first."""
    return line(*points, points[0])


def box(left: Number, top: Number, right: Number, bottom: Number) -> Stroke:
    """An upright rectangle."""
    return polygon((left, top), (right, top), (right, bottom), (left, bottom))


def curve(*points: Point) -> Stroke:
    """A smooth open curve through the points."""
    return smooth_basis(len(points) - 1, False) @ np.array(points)


def loop(*points: Point) -> Stroke:
    """A smooth closed curve through the points."""
    return smooth_basis(len(points), True) @ np.array(points)


def arc(x: Number, y: Number, width: Number, height: Number, start: Number, stop: Number) -> Stroke:
    """Part of an ellipse; angles in degrees, 0 to the right and 90 down; width and height are radii."""
    count = max(6, round(abs(stop - start) / 360 * POINTS_PER_TURN) + 1)
    angles = np.radians(np.linspace(start, stop, count))
    return np.stack([x + width * np.cos(angles), y + height * np.sin(angles)], axis=1)


def ellipse(x: Number, y: Number, width: Number, height: Number | None = None) -> Stroke:
    """A closed ellipse given by its radii; a circle without `height`."""
    return arc(x, y, width, width if height is None else height, -90, 270)


def coin(rng: np.random.Generator, chance: float = 0.5) -> bool:
    """True with this probability."""
    return bool(rng.random() < chance)


def directions(rng: np.random.Generator, count: int, spread: float = 0.12) -> list[float]:
    """Angles all around, about evenly spaced, in radians; `spread` is the standard deviation of each."""
    angles = np.arange(count) * 2 * np.pi / count + rng.uniform(0, 2 * np.pi)
    return (angles + spread * rng.normal(size=count)).tolist()


def spokes(x: Number, y: Number, inner: Number, outer: Number, angles: Sequence[Number]) -> list[Stroke]:
    """Straight lines away from a centre, from radius `inner` to `outer`; angles in radians."""
    ways = [(float(np.cos(angle)), float(np.sin(angle))) for angle in angles]
    return [line((x + inner * c, y + inner * s), (x + outer * c, y + outer * s)) for c, s in ways]


def retrace(strokes: Sequence[Stroke], rng: np.random.Generator) -> list[Stroke]:
    """The strokes as a person sets them down: loops rarely meet, one may be forgotten or drawn twice."""
    drawn = [_reopen(stroke, rng) if np.array_equal(stroke[0], stroke[-1]) else stroke for stroke in strokes]
    if coin(rng, 0.15) and len(drawn) > 3:
        extents = [np.ptp(stroke, axis=0).max() for stroke in drawn]
        forgotten = int(rng.integers(len(drawn)))
        if extents[forgotten] < 0.5 * max(extents):
            del drawn[forgotten]
    if coin(rng, 0.3):
        drawn.append(drawn[int(rng.integers(len(drawn)))])
    return drawn


def _reopen(stroke: Stroke, rng: np.random.Generator) -> Stroke:
    """A closed stroke begun at another point, its end falling short of the start or running past it."""
    points = len(stroke) - 1
    start = int(rng.integers(points))
    reach = points + 1 + int(rng.integers(-2, 4))
    return stroke[:-1].take(np.arange(start, start + reach), axis=0, mode="wrap")


def wobble(strokes: Sequence[Stroke], rng: np.random.Generator) -> list[Stroke]:
    """Each stroke a little off its place, size and direction, and unsteady along its way.

    One draw of care scales it all: some people draw neatly. Short strokes waver less than long ones.
    """
    care = rng.uniform(0.35, 1.5)
    lengths = np.array([len(stroke) for stroke in strokes])
    starts = np.cumsum(lengths) - lengths
    points = np.concatenate(strokes)
    extents = np.maximum.reduceat(points, starts) - np.minimum.reduceat(points, starts)
    centres = np.add.reduceat(points, starts) / lengths[:, None]
    steadiness = np.clip(extents.max(axis=1), 0.25, 1)

    def spread(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, lengths, axis=0)

    def waver() -> np.ndarray:
        return spread(care * steadiness[:, None] * rng.normal(size=(len(strokes), 2)))

    progress = (np.arange(len(points)) - spread(starts))[:, None] / (spread(lengths)[:, None] - 1)
    growth, turn, phase = spread(rng.normal(size=(len(strokes), 3)))[:, :, None].swapaxes(0, 1)
    arms = points - spread(centres)
    turned = arms[:, ::-1] * np.array([-1.0, 1.0])
    points = spread(centres) + arms * (1 + 0.05 * care * growth) + turned * (0.05 * care * turn)
    points += 0.03 * waver() + 0.03 * waver() * (progress - 0.5)
    points += 0.018 * waver() * np.sin(2 * np.pi * 1.3 * progress + 3 * phase)
    points += 0.010 * waver() * np.sin(2 * np.pi * 3.1 * progress + 5 * phase)
    points += 0.006 * care * spread(steadiness)[:, None] * rng.normal(size=points.shape)
    return np.split(points, starts[1:])


def pose(strokes: Sequence[Stroke], rng: np.random.Generator, turn_degrees: float = 9.0) -> list[Stroke]:
    """The drawing mirrored, turned, stretched, slanted, bent and seen at an angle, somewhere on the paper.

    Args:
        strokes: the drawing, in any frame.
        rng: chooses all of it.
        turn_degrees: standard deviation of the turn.

    Returns:
        Strokes in the frame of the paper, 0 to 1.
    """
    ends = np.cumsum([len(stroke) for stroke in strokes])
    points = np.concatenate(strokes)
    angle, slant, squeeze, lean_x, lean_y, phase = rng.normal(size=6)
    angle = np.radians(turn_degrees * angle)
    mirror = 1.0 if rng.random() < 0.5 else -1.0
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    shape = np.array([[mirror * np.exp(0.12 * squeeze), 0.0], [0.10 * slant, np.exp(-0.12 * squeeze)]])
    points = points @ shape @ rotation
    points += 0.04 * np.sin(2.2 * points[:, ::-1] + 3 * phase)
    points /= 1 + np.clip(points @ np.array([0.09 * lean_x, 0.09 * lean_y]), -0.4, 0.4)[:, None]

    low, high = points.min(axis=0), points.max(axis=0)
    scale = rng.uniform(0.55, 1 - 2 * MARGIN) / (high - low).max()
    room = 1 - 2 * MARGIN - scale * (high - low)
    corner = MARGIN + np.clip(0.5 + 0.28 * rng.normal(size=2), 0, 1) * room
    return np.split(corner + scale * (points - low), ends[:-1])


def thicken(paper: UInt8[np.ndarray, "height width"], width: int) -> UInt8[np.ndarray, "height width"]:
    """Lines one pixel wide redrawn with a round pen (an octagon) of `width` pixels."""
    for step in range((width - 1) // 2):
        paper = _widen(_widen(paper).T).T if step % 2 else np.minimum(_widen(paper), _widen(paper.T).T)
    if width % 2 == 0:
        paper = paper.copy()
        paper[1:] = np.minimum(paper[1:], paper[:-1])
        paper[:, 1:] = np.minimum(paper[:, 1:], paper[:, :-1])
    return paper


def _widen(paper: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
    """The darkest of each pixel and its neighbours above and below."""
    wide = np.copy(paper, order="K")
    np.minimum(wide[1:], paper[:-1], out=wide[1:])
    np.minimum(wide[:-1], paper[1:], out=wide[:-1])
    return wide


def ink(strokes: Sequence[Stroke], size: int, pen: float, tone: int) -> Pixels:
    """Draws strokes on white paper.

    Args:
        strokes: in the frame of the paper, 0 to 1.
        size: height and width of the image in pixels.
        pen: width of the lines over the width of the paper.
        tone: grey of the ink, 0 black to 255 white.
    """
    fine = 3 if size <= 128 else 2
    paper = Image.new("L", (size * fine, size * fine), 255)
    draw = ImageDraw.Draw(paper)
    for stroke in strokes:
        draw.line((stroke * (size * fine)).ravel().tolist(), fill=tone)
    thick = thicken(np.asarray(paper), max(1, round(pen * size * fine)))
    grey = np.asarray(Image.fromarray(thick).reduce(fine))
    return np.repeat(grey[:, :, None], 3, axis=2)
