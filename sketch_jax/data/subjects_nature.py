"""Doodles of things in nature: for each class a function lays out strokes, with the liberties people take.

The numbers are places in the frame of `strokes`, found by looking at the drawings.
"""

import numpy as np

from sketch_jax.data.strokes import (
    Number,
    Stroke,
    arc,
    coin,
    curve,
    directions,
    ellipse,
    line,
    loop,
    polygon,
    spokes,
)


def apple(rng: np.random.Generator) -> list[Stroke]:
    """A notched body with a stalk; perhaps a leaf, perhaps a highlight."""
    wide, deep = rng.uniform(0.7, 0.95), rng.uniform(0.08, 0.25)
    body = loop(
        (0, -0.5 + deep), (-0.5 * wide, -0.6), (-wide, -0.1), (-0.55 * wide, 0.75), (0, 0.72),
        (0.55 * wide, 0.75), (wide, -0.1), (0.5 * wide, -0.6),
    )  # fmt: skip
    lean = rng.uniform(-0.25, 0.25)
    strokes = [body, curve((0, -0.5 + deep), (0.4 * lean, -0.75), (lean, -0.98))]
    if coin(rng, 0.6):
        strokes.append(loop((0.5 * lean, -0.75), (0.5 * lean + 0.25, -0.95), (0.5 * lean + 0.5, -0.85)))
    if coin(rng, 0.3):
        strokes.append(arc(0.1, 0.1, 0.6, 0.5, -50, 20))
    return strokes


def butterfly(rng: np.random.Generator) -> list[Stroke]:
    """Two pairs of wings about a thin body, with feelers; perhaps eyespots."""
    upper, lower = rng.uniform(0.75, 1.0), rng.uniform(0.5, 0.75)
    wing = loop((0.05, -0.1), (0.35, -0.75), (upper, -0.8), (upper, -0.2))
    hind = loop((0.05, 0.0), (lower, 0.05), (lower, 0.6), (0.3, 0.7))
    flip = np.array([-1.0, 1.0])
    strokes = [wing, hind, wing * flip, hind * flip, ellipse(0, 0, 0.07, rng.uniform(0.4, 0.6))]
    reach = rng.uniform(0.15, 0.35)
    strokes += [
        curve((0, -0.45), (0.08, -0.75), (reach, -0.95)),
        curve((0, -0.45), (-0.08, -0.75), (-reach, -0.95)),
    ]
    if coin(rng, 0.4):
        strokes += [ellipse(0.55, -0.5, 0.14), ellipse(-0.55, -0.5, 0.14)]
    return strokes


def cactus(rng: np.random.Generator) -> list[Stroke]:
    """A rounded column with two bent arms, in a pot or on the ground; some spines."""
    wide, arm = rng.uniform(0.2, 0.28), rng.uniform(0.16, 0.2)
    left, right = rng.uniform(-0.1, 0.3, size=2)
    body = curve((-wide, 0.9), (-wide, 0), (-wide, -0.7), (0, -1), (wide, -0.7), (wide, 0), (wide, 0.9))

    def limb(side: Number, y: Number) -> Stroke:
        inner, outer = side * wide, side * (wide + 0.45)
        inside, outside = outer - side * arm, outer + side * arm
        elbow = [(inner, y + 0.15), (outer, y + 0.15), (outside, y - 0.1)]
        hand = [(outer + side * arm / 2, y - 0.55), (outer - side * arm / 2, y - 0.5)]
        return curve(*elbow, *hand, (inside, y - 0.15), (inner, y - 0.12))

    strokes = [body, limb(-1, left), limb(1, right)]
    if coin(rng, 0.5):
        strokes.append(polygon((-0.5, 0.8), (0.5, 0.8), (0.38, 1.3), (-0.38, 1.3)))
    else:
        strokes.append(line((-0.9, 0.9), (0.9, 0.9)))
    spines = rng.uniform((-0.15, -0.7), (0.15, 0.7), size=(int(rng.integers(0, 6)), 2))
    return strokes + [line((x, y), (x + 0.07, y - 0.1)) for x, y in spines.tolist()]


def cat(rng: np.random.Generator) -> list[Stroke]:
    """A round head with ears, whiskers, nose and mouth."""
    ear, eye = rng.uniform(0.4, 0.55), rng.uniform(0.04, 0.1)
    strokes = [ellipse(0, 0.1, 0.75, rng.uniform(0.6, 0.75))]
    for side in (-1.0, 1.0):
        strokes.append(line((side * 0.68, -0.2), (side * 0.68, -0.3 - ear), (side * 0.2, -0.5)))
        strokes.append(ellipse(side * 0.28, 0, eye, 1.5 * eye))
        for y in np.linspace(0.2, 0.4, int(rng.integers(2, 4))).tolist():
            strokes.append(line((side * 0.3, y), (side * 1.1, y + 1.5 * (y - 0.3))))
    strokes.append(polygon((-0.08, 0.2), (0.08, 0.2), (0, 0.3)))
    strokes.append(curve((-0.2, 0.42), (-0.1, 0.5), (0, 0.3), (0.1, 0.5), (0.2, 0.42)))
    return strokes


def cloud(rng: np.random.Generator) -> list[Stroke]:
    """A ring of puffs; perhaps flat beneath."""
    bumps = int(rng.integers(5, 9))
    angles = np.linspace(0, 2 * np.pi, bumps, endpoint=False) + rng.uniform(0, 1)
    centres = np.stack([0.75 * np.cos(angles), 0.38 * np.sin(angles)], axis=1)
    radius = rng.uniform(0.28, 0.38, size=bumps)
    turn = np.degrees(angles)
    puffs = [
        arc(x, y, r, r, way - 88, way + 88)
        for (x, y), r, way in zip(centres.tolist(), radius.tolist(), turn.tolist(), strict=True)
    ]
    if coin(rng, 0.3):
        puffs = [part for part in puffs if part[:, 1].mean() < 0.3] + [line((-0.95, 0.45), (0.95, 0.45))]
    return puffs


def face(rng: np.random.Generator) -> list[Stroke]:
    """An oval with eyes and a mouth of any mood; perhaps a nose, brows, hair."""
    eye, apart = rng.uniform(0.03, 0.12), rng.uniform(0.25, 0.4)
    smile = rng.choice([-0.2, 0.25, 0.3, 0.0])
    strokes = [
        ellipse(0, 0, rng.uniform(0.7, 0.95), 0.95),
        ellipse(-apart, -0.25, eye),
        ellipse(apart, -0.25, eye),
    ]
    strokes.append(curve((-0.4, 0.4), (0, 0.4 + smile), (0.4, 0.4)))
    if coin(rng, 0.6):
        strokes.append(line((0, -0.1), (rng.uniform(-0.15, -0.05), 0.15), (0.05, 0.15)))
    if coin(rng, 0.3):
        strokes += [
            line((-apart - 0.12, -0.45), (-apart + 0.12, -0.5)),
            line((apart - 0.12, -0.5), (apart + 0.12, -0.45)),
        ]
    if coin(rng, 0.35):
        strokes += [
            curve((x, -0.9), (1.3 * x, -1.1), (1.1 * x + 0.05, -1.25)) for x in (-0.4, -0.1, 0.2, 0.45)
        ]
    return strokes


def fish(rng: np.random.Generator) -> list[Stroke]:
    """A body whose outline crosses over into the tail, with an eye; perhaps a gill and a fin."""
    plump, tail = rng.uniform(0.35, 0.55), rng.uniform(0.3, 0.5)
    strokes = [
        curve((0.95, -tail), (0.4, 0.1), (-0.3, plump), (-0.95, 0), (-0.3, -plump), (0.4, -0.1), (0.95, tail))
    ]
    strokes.append(line((0.95, -tail), (rng.uniform(0.7, 0.9), 0), (0.95, tail)))
    strokes.append(ellipse(-0.6, -0.1, rng.uniform(0.03, 0.09)))
    if coin(rng, 0.4):
        strokes.append(arc(-0.55, 0, 0.25, 0.35, -60, 60))
    if coin(rng, 0.4):
        strokes.append(curve((-0.3, -plump), (-0.05, -plump - 0.25), (0.2, -0.6 * plump)))
    return strokes


def flower(rng: np.random.Generator) -> list[Stroke]:
    """Five to seven round petals about a heart, on a stem with up to two leaves."""
    count, reach, heart = int(rng.integers(5, 8)), rng.uniform(0.2, 0.27), rng.uniform(0.14, 0.22)
    strokes = [ellipse(0, -0.4, heart), curve((0, -0.4 + heart), (rng.uniform(-0.15, 0.15), 0.4), (0, 1))]
    for angle in directions(rng, count):
        x, y = (heart + reach) * np.cos(angle), (heart + reach) * np.sin(angle)
        strokes.append(ellipse(x, y - 0.4, reach))
    for side in (-1, 1):
        if coin(rng, 0.6):
            strokes.append(loop((0, 0.65), (side * 0.3, 0.35), (side * 0.55, 0.35), (side * 0.3, 0.6)))
    return strokes


def lightning(rng: np.random.Generator) -> list[Stroke]:
    """An outlined bolt, or a bare zigzag."""
    a, b, c = rng.uniform(-0.12, 0.12, size=3)
    if coin(rng, 0.25):
        return [line((0.3, -1), (-0.3 + a, -0.1), (0.25 + b, -0.05), (-0.35 + c, 1))]
    return [
        polygon(
            (0.15 + a, -1),
            (-0.5, 0.1 + b),
            (-0.05 + c, 0.1 + b),
            (-0.35, 1),
            (0.5, -0.25 + a),
            (0.08 + c, -0.25 + a),
            (0.6, -1),
        )
    ]


def mushroom(rng: np.random.Generator) -> list[Stroke]:
    """A domed cap on a stem; perhaps spotted."""
    rim, stem = rng.uniform(0.0, 0.2), rng.uniform(0.18, 0.35)
    strokes = [arc(0, rim, 0.95, rng.uniform(0.75, 1.05), 180, 360)]
    strokes.append(
        line((-0.95, rim), (0.95, rim)) if coin(rng) else curve((-0.95, rim), (0, rim + 0.2), (0.95, rim))
    )
    strokes.append(
        curve(
            (-stem, rim + 0.1),
            (-stem, 0.6),
            (-1.3 * stem, 0.95),
            (1.3 * stem, 0.95),
            (stem, 0.6),
            (stem, rim + 0.1),
        )
    )
    if coin(rng, 0.7):
        spots = zip(
            (-0.5, 0.05, 0.5), (-0.25, -0.55, -0.2), rng.uniform(0.08, 0.17, size=3).tolist(), strict=True
        )
        strokes += [ellipse(x, y + rim, radius) for x, y, radius in spots]
    return strokes


def snowman(rng: np.random.Generator) -> list[Stroke]:
    """Two balls and a carrot; perhaps buttons, arms, a hat."""
    head, belly = rng.uniform(0.26, 0.34), rng.uniform(0.42, 0.52)
    strokes = [ellipse(0, 0.5, belly), ellipse(0, 0.5 - belly - head, head)]
    y = 0.5 - belly - head
    strokes += [
        ellipse(-0.1, y - 0.06, 0.03),
        ellipse(0.1, y - 0.06, 0.03),
        line((0, y), (0.2, y + 0.05), (0, y + 0.08)),
    ]
    strokes += [
        ellipse(0, 0.5 + dy, 0.035) for dy in np.linspace(-0.2, 0.2, int(rng.integers(0, 4))).tolist()
    ]
    if coin(rng, 0.6):
        strokes += [
            line((side * 0.9 * belly, 0.35), (side * 0.95, rng.uniform(-0.2, 0.3))) for side in (-1, 1)
        ]
    if coin(rng, 0.5):
        top = y - head
        strokes += [
            line((-0.35, top + 0.05), (0.35, top + 0.05)),
            line((-0.2, top + 0.05), (-0.2, top - 0.3), (0.2, top - 0.3), (0.2, top + 0.05)),
        ]
    return strokes


def star(rng: np.random.Generator) -> list[Stroke]:
    """Five points, as an outline or drawn in one go through the middle."""
    angles = (
        (np.arange(5) * 4 * np.pi / 5 - np.pi / 2)
        if coin(rng, 0.4)
        else np.arange(10) * np.pi / 5 - np.pi / 2
    )
    radius = (
        np.where(np.arange(len(angles)) % 2, rng.uniform(0.38, 0.52), 1.0)
        if len(angles) == 10
        else np.ones(5)
    )
    return [polygon(*np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1).tolist())]


def sun(rng: np.random.Generator) -> list[Stroke]:
    """A disk with rays that touch it or not."""
    disk, count = rng.uniform(0.38, 0.55), int(rng.integers(7, 14))
    gap, reach = rng.uniform(0.0, 0.12), rng.uniform(0.85, 1.05)
    return [ellipse(0, 0, disk), *spokes(0, 0, disk + gap, reach, directions(rng, count, 0.08))]


def tree(rng: np.random.Generator) -> list[Stroke]:
    """A trunk under a ragged crown, or under one to three fir tiers."""
    trunk = rng.uniform(0.1, 0.2)
    stem = [line((-trunk, 0.95), (-0.8 * trunk, 0.3)), line((trunk, 0.95), (0.8 * trunk, 0.3))]
    if coin(rng, 0.4):
        tiers = int(rng.integers(1, 4))
        tops = np.linspace(-1, -0.45, tiers) if tiers > 1 else [-1.0]
        bottoms = np.linspace(-0.3, 0.4, tiers) if tiers > 1 else [0.4]
        widths = np.linspace(0.4, 0.7, tiers) if tiers > 1 else [0.6]
        return stem + [
            polygon((-w, b), (0, t), (w, b)) for t, b, w in zip(tops, bottoms, widths, strict=True)
        ]
    bumps = int(rng.integers(7, 11))
    angles = np.arange(bumps) * 2 * np.pi / bumps
    radius = rng.uniform(0.52, 0.78, size=bumps)
    crown = loop(*np.stack([radius * np.cos(angles), radius * np.sin(angles) - 0.3], axis=1).tolist())
    return [crown, *stem]


SUBJECTS = (
    apple, butterfly, cactus, cat, cloud, face, fish, flower, lightning, mushroom, snowman, star, sun, tree,
)  # fmt: skip
"""The classes of this file."""
