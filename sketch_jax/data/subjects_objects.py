"""Doodles of man-made things: for each class a function lays out strokes, with the liberties people take.

The numbers are places in the frame of `strokes`, found by looking at the drawings.
"""

import itertools

import numpy as np

from sketch_jax.data.strokes import (
    Number,
    Stroke,
    arc,
    box,
    coin,
    curve,
    directions,
    ellipse,
    line,
    loop,
    polygon,
    spokes,
)


def arrow(rng: np.random.Generator) -> list[Stroke]:
    """A block arrow, or a straight or bent shaft with an open head."""
    head, width = rng.uniform(0.3, 0.6), rng.uniform(0.25, 0.55)
    if coin(rng, 0.35):
        half = width * rng.uniform(0.35, 0.6)
        neck = 1 - head
        return [
            polygon(
                (-1, -half), (neck, -half), (neck, -width), (1, 0), (neck, width), (neck, half), (-1, half)
            )
        ]
    bend = rng.normal() * 0.2
    shaft = curve((-1, 0), (-0.2, bend), (1, 0)) if coin(rng) else line((-1, 0), (1, 0))
    if coin(rng):
        return [shaft, line((1 - head, -width), (1, 0), (1 - head, width))]
    return [shaft, line((1, 0), (1 - head, -width)), line((1, 0), (1 - head, width))]


def balloon(rng: np.random.Generator) -> list[Stroke]:
    """An oval with a knot and a swaying string."""
    wide, tall = rng.uniform(0.42, 0.58), rng.uniform(0.5, 0.62)
    end = -0.4 + tall
    strokes = [ellipse(0, -0.4, wide, tall), polygon((0, end), (-0.1, end + 0.12), (0.1, end + 0.12))]
    sway = rng.uniform(0.05, 0.25, size=3)
    strokes.append(curve((0, end + 0.12), (sway[0], 0.4), (-sway[1], 0.7), (sway[2], 1)))
    if coin(rng, 0.4):
        strokes.append(arc(0, -0.4, 0.65 * wide, 0.65 * tall, 200, 260))
    return strokes


def bicycle(rng: np.random.Generator) -> list[Stroke]:
    """Two wheels, frame, saddle and handlebar of one of two kinds; perhaps spokes."""
    wheel, apart = rng.uniform(0.34, 0.44), rng.uniform(0.58, 0.68)
    seat, bars = (-0.25, -0.42), (0.42, -0.5)
    strokes = [ellipse(-apart, 0.35, wheel), ellipse(apart, 0.35, wheel)]
    strokes += [
        line((-apart, 0.35), (-0.2, -0.2), (0.45, -0.25), (apart, 0.35)),
        line(seat, (0, 0.35), (0.45, -0.25)),
    ]
    strokes += [line((-apart, 0.35), (0, 0.35)), line((seat[0] - 0.15, -0.42), (seat[0] + 0.15, -0.42))]
    strokes.append(
        line((0.46, -0.2), bars, (0.2, -0.62)) if coin(rng) else line((0.46, -0.2), bars, (0.62, -0.42))
    )
    if coin(rng, 0.25):
        for hub in (-apart, apart):
            strokes += spokes(hub, 0.35, 0, wheel, directions(rng, 6))
    return strokes


def boat(rng: np.random.Generator) -> list[Stroke]:
    """A hull with a mast and one or two sails; perhaps waves."""
    deck, keel = rng.uniform(0.25, 0.4), rng.uniform(0.5, 0.7)
    hull = polygon((-1, deck), (1, deck), (keel, 0.9), (-keel, 0.9))
    if coin(rng, 0.3):
        hull = loop((-1, deck), (0, deck + 0.03), (1, deck), (0.5, 0.85), (-0.5, 0.85))
    mast = rng.uniform(-0.25, 0.1)
    strokes = [
        hull,
        line((mast, deck), (mast, -1)),
        polygon((mast + 0.05, -0.95), (mast + 0.05, 0.1), (0.85, 0.1)),
    ]
    if coin(rng, 0.6):
        strokes.append(polygon((mast - 0.05, -0.7), (mast - 0.05, 0.1), (-0.75, 0.1)))
    if coin(rng, 0.4):
        strokes.append(curve((-1.2, 1), (-0.8, 0.9), (-0.4, 1), (0, 0.9), (0.4, 1), (0.8, 0.9), (1.2, 1)))
    return strokes


def book(rng: np.random.Generator) -> list[Stroke]:
    """An open book, its pages flat or curled, with up to three lines of writing a page."""
    rise, tall = rng.uniform(0.1, 0.3), rng.uniform(1.0, 1.4)
    top, bottom = -tall / 2, tall / 2
    left = line((0, top + rise), (0, bottom + rise), (-1, bottom), (-1, top), (0, top + rise))
    right = line((0, top + rise), (1, top), (1, bottom), (0, bottom + rise))
    if coin(rng):
        curl = 0.15
        upper = curve((0, top + rise), (-0.5, top - curl + rise), (-1, top))
        lower = curve((-1, bottom), (-0.5, bottom - curl + rise), (0, bottom + rise))
        left = np.concatenate([upper, line((-1, top), (-1, bottom)), lower])
        right = left * np.array([-1.0, 1.0])
    lines = int(rng.integers(0, 4))
    rows = np.linspace(top + 0.3, bottom - 0.3, lines) if lines else []
    text = [line((-0.85, y), (-0.15, y + 0.8 * rise)) for y in rows]
    text += [line((0.15, y + 0.8 * rise), (0.85, y)) for y in rows]
    return [left, right, line((0, top + rise), (0, bottom + rise)), *text]


def _flame(x: Number, y: Number, size: Number) -> Stroke:
    return loop((x, y), (x - 0.6 * size, y - 0.7 * size), (x, y - 2 * size), (x + 0.6 * size, y - 0.7 * size))


def candle(rng: np.random.Generator) -> list[Stroke]:
    """A stick or a cylinder with a flame; perhaps a dish, perhaps dripping wax."""
    wide, top, flame = rng.uniform(0.18, 0.32), rng.uniform(-0.4, -0.1), rng.uniform(0.16, 0.24)
    strokes = [line((-wide, 0.9), (-wide, top), (wide, top), (wide, 0.9), (-wide, 0.9))]
    if coin(rng, 0.4):
        strokes = [
            line((-wide, 0.9), (-wide, top)),
            line((wide, top), (wide, 0.9)),
            ellipse(0, top, wide, 0.09),
        ]
        strokes.append(arc(0, 0.9, wide, 0.1, 0, 180))
    strokes += [line((0, top), (0, top - 0.15)), _flame(0, top - 0.12, flame)]
    if coin(rng, 0.4):
        strokes.append(arc(0, 0.9, 0.6, 0.15, 0, 360))
    if coin(rng, 0.3):
        strokes.append(
            curve(
                (-wide, top + 0.1),
                (-wide / 2, top + 0.35),
                (0, top + 0.12),
                (wide / 2, top + 0.25),
                (wide, top),
            )
        )
    return strokes


def car(rng: np.random.Generator) -> list[Stroke]:
    """A side view, angular or rounded; perhaps windows and hubs."""
    wheel, hood = rng.uniform(0.17, 0.24), rng.uniform(-0.02, 0.1)
    roof, front, back = rng.uniform(-0.5, -0.35), rng.uniform(0.3, 0.5), rng.uniform(-0.6, -0.4)
    cabin = [(back - 0.15, hood), (back, roof), (front - 0.1, roof), (front + 0.1, hood)]
    outline = polygon((-1, 0.5), (-1, hood), *cabin, (1, hood + 0.08), (1, 0.5))
    if coin(rng, 0.4):
        cabin = [(back, roof), (front, roof), (front + 0.25, hood)]
        outline = loop((-1, 0.5), (-1, hood + 0.05), *cabin, (1, hood + 0.1), (1, 0.5))
    strokes = [outline, ellipse(-0.52, 0.5, wheel), ellipse(0.52, 0.5, wheel)]
    if coin(rng, 0.7):
        strokes.append(box(back + 0.08, roof + 0.1, front - 0.12, hood - 0.02))
        strokes.append(line(((back + front) / 2, roof + 0.1), ((back + front) / 2, hood)))
    if coin(rng, 0.3):
        strokes += [ellipse(-0.52, 0.5, 0.08), ellipse(0.52, 0.5, 0.08)]
    return strokes


def chair(rng: np.random.Generator) -> list[Stroke]:
    """Seen from the front with up to three slats, or as a bare side view."""
    seat, deep, high = rng.uniform(0.05, 0.2), rng.uniform(0.25, 0.4), rng.uniform(-1.0, -0.8)
    wide = rng.uniform(0.5, 0.65)
    strokes = [
        polygon((-wide, seat), (wide - 0.2, seat), (wide, seat + deep), (-wide + 0.2, seat + deep)),
        line((-wide, 0.75), (-wide, high), (wide - 0.2, high), (wide - 0.2, 0.75)),
        line((-wide + 0.2, seat + deep), (-wide + 0.2, 1)),
        line((wide, seat + deep), (wide, 1)),
    ]
    for bar in np.linspace(high, seat, int(rng.integers(2, 5)))[1:-1].tolist():
        strokes.append(line((-wide, bar), (wide - 0.2, bar)))
    if coin(rng, 0.4):
        side = [line((-0.5, -1), (-0.45, 1)), line((-0.48, 0.1), (0.5, 0.1)), line((0.5, 0.1), (0.52, 1))]
        return [*side, line((-0.4, 0.55), (0.5, 0.55))] if coin(rng) else side
    return strokes


def clock(rng: np.random.Generator) -> list[Stroke]:
    """A dial with two hands; perhaps marks, a rim, bells."""
    hour, minute = rng.uniform(0, 6.3, size=2)
    strokes = [ellipse(0, 0, 0.9), *spokes(0, 0, 0, 0.45, [hour]), *spokes(0, 0, 0, 0.72, [minute])]
    if coin(rng, 0.75):
        strokes += spokes(0, 0, 0.75, 0.88, (np.arange(0, 12, rng.choice([1, 3])) * np.pi / 6).tolist())
    if coin(rng, 0.3):
        strokes.append(ellipse(0, 0, 1.02))
    if coin(rng, 0.25):
        strokes += [arc(-0.6, -0.95, 0.25, 0.25, 150, 330), arc(0.6, -0.95, 0.25, 0.25, 210, 390)]
    return strokes


def cup(rng: np.random.Generator) -> list[Stroke]:
    """A tapered cup with a handle; up to three wisps of steam."""
    wide, foot, tall = rng.uniform(0.5, 0.65), rng.uniform(0.35, 0.55), rng.uniform(0.5, 0.75)
    strokes = [ellipse(-0.15, -tall, wide, rng.uniform(0.1, 0.2))]
    strokes.append(
        curve(
            (-0.15 - wide, -tall),
            (-0.15 - foot, tall),
            (-0.15, tall + 0.1),
            (-0.15 + foot, tall),
            (wide - 0.15, -tall),
        )
    )
    ear = rng.uniform(0.3, 0.5)
    strokes.append(arc(wide - 0.22, -0.1, ear, 0.8 * ear, -80, 95))
    if coin(rng):
        strokes.append(arc(wide - 0.22, -0.1, 0.6 * ear, 0.5 * ear, -80, 95))
    for x in np.linspace(-0.4, 0.1, int(rng.integers(0, 4))).tolist():
        strokes.append(
            curve(
                (x, -tall - 0.25), (x + 0.1, -tall - 0.4), (x - 0.05, -tall - 0.55), (x + 0.05, -tall - 0.7)
            )
        )
    return strokes


def envelope(rng: np.random.Generator) -> list[Stroke]:
    """A rectangle with a flap; perhaps side folds, perhaps a stamp."""
    tall, tip = rng.uniform(0.5, 0.7), rng.uniform(-0.1, 0.2)
    strokes = [box(-1, -tall, 1, tall), line((-1, -tall), (0, tip), (1, -tall))]
    if coin(rng):
        strokes += [line((-1, tall), (-0.25, tip - 0.15)), line((1, tall), (0.25, tip - 0.15))]
    if coin(rng, 0.25):
        strokes.append(box(0.6, -tall + 0.1, 0.85, -tall + 0.35))
    return strokes


def glasses(rng: np.random.Generator) -> list[Stroke]:
    """Two round or square lenses, a bridge and temples."""
    wide, tall, apart = rng.uniform(0.34, 0.42), rng.uniform(0.26, 0.4), rng.uniform(0.48, 0.55)
    if coin(rng, 0.65):
        strokes = [ellipse(-apart, 0, wide, tall), ellipse(apart, 0, wide, tall)]
    else:
        strokes = [
            box(-apart - wide, -tall, -apart + wide, tall),
            box(apart - wide, -tall, apart + wide, tall),
        ]
    strokes.append(curve((wide - apart, -0.05), (0, -0.18), (apart - wide, -0.05)))
    lift = rng.uniform(-0.5, 0.1)
    return strokes + [line((side * (apart + wide), 0), (side * 1.15, lift)) for side in (-1, 1)]


def house(rng: np.random.Generator) -> list[Stroke]:
    """Walls, roof and door; perhaps a window, perhaps a chimney."""
    wide, eaves, door = rng.uniform(0.6, 0.8), rng.uniform(-0.25, 0.05), rng.uniform(-0.45, 0.2)
    over = wide + rng.uniform(0, 0.2)
    strokes = [box(-wide, eaves, wide, 0.9), line((-over, eaves), (0, -0.95), (over, eaves))]
    strokes.append(line((door, 0.9), (door, 0.35), (door + 0.28, 0.35), (door + 0.28, 0.9)))
    if coin(rng, 0.6):
        x, y = (0.3, 0.2) if door < -0.1 else (-0.5, 0.2)
        strokes += [
            box(x, y, x + 0.3, y + 0.3),
            line((x + 0.15, y), (x + 0.15, y + 0.3)),
            line((x, y + 0.15), (x + 0.3, y + 0.15)),
        ]
    if coin(rng, 0.4):
        strokes.append(line((0.35, -0.6), (0.35, -1), (0.55, -1), (0.55, -0.42)))
    return strokes


def ice_cream(rng: np.random.Generator) -> list[Stroke]:
    """One to three scoops on a cone; perhaps a waffle pattern, perhaps a cherry."""
    wide, scoops = rng.uniform(0.4, 0.5), int(rng.integers(1, 4))
    strokes = [polygon((-wide, -0.1), (wide, -0.1), (rng.uniform(-0.1, 0.1), 1))]
    strokes += [arc(0, -0.15 - 0.42 * scoop, wide, 0.45, 175, 365) for scoop in range(scoops)]
    for offset in np.linspace(-0.25, 0.25, int(rng.integers(0, 4))).tolist():
        strokes += [
            line((offset, -0.1), (offset * 0.4 + 0.2, 0.4)),
            line((-offset, -0.1), (-offset * 0.4 - 0.2, 0.4)),
        ]
    if coin(rng, 0.3):
        strokes.append(ellipse(0, -0.65 - 0.42 * (scoops - 1), 0.1))
    return strokes


def key(rng: np.random.Generator) -> list[Stroke]:
    """A ring with a hole, a single or double shaft and some bits."""
    bow, hole = rng.uniform(0.28, 0.38), rng.uniform(0.08, 0.2)
    strokes = [ellipse(-0.65, 0, bow, bow * rng.uniform(0.8, 1.1)), ellipse(-0.7, 0, hole)]
    if coin(rng):
        strokes.append(line((bow - 0.66, 0), (1, 0)))
    else:
        strokes += [line((bow - 0.67, -0.07), (1, -0.07)), line((bow - 0.67, 0.07), (1, 0.07), (1, -0.07))]
    bits = np.linspace(0.55, 0.95, int(rng.integers(2, 4))) + rng.normal(size=1) * 0.03
    depth = rng.uniform(0.2, 0.35, size=len(bits))
    if coin(rng):
        return strokes + [line((x, 0), (x, d)) for x, d in zip(bits.tolist(), depth.tolist(), strict=True)]
    return strokes + [
        line((x - 0.07, 0), (x - 0.07, d), (x + 0.07, d), (x + 0.07, 0))
        for x, d in zip(bits.tolist(), depth.tolist(), strict=True)
    ]


def ladder(rng: np.random.Generator) -> list[Stroke]:
    """Two rails that may draw together, four to eight rungs."""
    low, high = rng.uniform(0.3, 0.45), rng.uniform(0.2, 0.4)
    rungs = np.linspace(-0.8, 0.8, int(rng.integers(4, 9)))
    strokes = [line((-low, 1), (-high, -1)), line((low, 1), (high, -1))]
    halves = (low + high) / 2 + (low - high) / 2 * rungs
    return strokes + [
        line((-half, y), (half, y)) for half, y in zip(halves.tolist(), rungs.tolist(), strict=True)
    ]


def umbrella(rng: np.random.Generator) -> list[Stroke]:
    """A dome with a scalloped edge and a hooked handle; perhaps ribs."""
    rim, tall, ribs = rng.uniform(-0.1, 0.1), rng.uniform(0.75, 0.95), int(rng.integers(2, 5))
    edges = np.linspace(-0.95, 0.95, ribs + 1).tolist()
    strokes = [arc(0, rim, 0.95, tall, 180, 360)]
    strokes += [arc((a + b) / 2, rim, (b - a) / 2, 0.12, 180, 360) for a, b in itertools.pairwise(edges)]
    hook = rng.uniform(0.12, 0.22)
    strokes.append(np.concatenate([line((0, rim), (0, 0.85)), arc(-hook, 0.85, hook, hook, 0, 180)]))
    if coin(rng):
        strokes += [curve((0, rim - tall), (0.6 * x, rim - 0.6 * tall), (x, rim)) for x in edges[1:-1]]
    return strokes


SUBJECTS = (
    arrow, balloon, bicycle, boat, book, candle, car, chair, clock, cup, envelope, glasses, house, ice_cream,
    key, ladder, umbrella,
)  # fmt: skip
"""The classes of this file."""
