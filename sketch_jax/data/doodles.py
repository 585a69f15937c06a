"""Source: procedural sketches of everyday things, drawn on demand in a shaky hand, black on white."""

import dataclasses
import zlib
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from sketch_jax.data import subjects_nature, subjects_objects
from sketch_jax.data.records import Dataset, Examples, Pixels
from sketch_jax.data.strokes import Stroke, ink, pose, retrace, wobble
from sketch_jax.errors import refuse_faults, suggestion

Subject = Callable[[np.random.Generator], list[Stroke]]

SUBJECTS: Mapping[str, Subject] = {
    subject.__name__: subject
    for subject in sorted(
        (*subjects_nature.SUBJECTS, *subjects_objects.SUBJECTS), key=lambda subject: subject.__name__
    )
}
"""Every class that can be drawn, by name, in alphabetical order."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doodles:
    """Generated sketches that look drawn by hand: no files needed; a seed always gives the same drawings."""

    train_per_class: int = 100
    """Training drawings of each class; at least 1."""
    test_per_class: int = 25
    """Test drawings of each class; 0 for no test set."""
    canvas_size: int = 64
    """Height and width of the drawings in pixels; 16 to 1024."""
    classes: tuple[str, ...] | None = None
    """Names of the classes to draw, at least 2; None draws all."""
    seed: int = 0
    """Seed of the drawings, at least 0; apart from the seed of the run, so that runs can share a data set."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawer:
    """Draws row `index` of one part of the data set; classes take turns."""

    classes: tuple[str, ...]
    part: str
    canvas_size: int
    seed: int

    def __call__(self, index: int) -> Pixels:
        """The drawing of a row, RGB."""
        number, label = divmod(index, len(self.classes))
        return draw(self.classes[label], (self.part, number), canvas_size=self.canvas_size, seed=self.seed)


def load_doodles(doodles: Doodles) -> Dataset:
    """The data set that a record describes; nothing is drawn before it is read.

    A drawing depends on its seed, part, class and number alone: asking for more drawings or other classes
    leaves it as it was.

    Raises:
        InputError: when a field is out of range; lists all that are.
    """
    refuse_faults("source doodles: fields out of range", _faults(doodles), "change these --source fields")
    return Dataset(
        train=_examples(doodles, "train", doodles.train_per_class),
        test=_examples(doodles, "test", doodles.test_per_class) if doodles.test_per_class else None,
    )


def draw(name: str, stream: tuple[str, int], *, canvas_size: int, seed: int) -> Pixels:
    """One drawing.

    Args:
        name: its class, a key of `SUBJECTS`.
        stream: part of the data set, and number within the class.
        canvas_size: height and width in pixels.
        seed: seed of the data set.
    """
    part, number = stream
    rng = np.random.default_rng([seed, zlib.crc32(part.encode()), zlib.crc32(name.encode()), number])
    strokes = pose(wobble(retrace(SUBJECTS[name](rng), rng), rng), rng)
    return ink(strokes, canvas_size, pen=rng.uniform(0.015, 0.05), tone=int(rng.integers(0, 70)))


def _examples(doodles: Doodles, part: str, per_class: int) -> Examples:
    classes = doodles.classes or tuple(SUBJECTS)
    return Examples(
        ids=tuple(f"{part}/{name}/{number}" for number in range(per_class) for name in classes),
        labels=np.tile(np.arange(len(classes)), per_class),
        class_names=classes,
        read=Drawer(classes=classes, part=part, canvas_size=doodles.canvas_size, seed=doodles.seed),
    )


def _faults(doodles: Doodles) -> list[str]:
    classes = tuple(SUBJECTS) if doodles.classes is None else doodles.classes
    ranges = (
        (doodles.train_per_class < 1, f"train_per_class is {doodles.train_per_class}, not at least 1"),
        (doodles.test_per_class < 0, f"test_per_class is {doodles.test_per_class}, not at least 0"),
        (not 16 <= doodles.canvas_size <= 1024, f"canvas_size is {doodles.canvas_size}, not 16 to 1024"),
        (doodles.seed < 0, f"seed is {doodles.seed}, not at least 0"),
        (len(classes) < 2, f"classes has {len(classes)} names, not at least 2"),
    )
    unknown = [name for name in classes if name not in SUBJECTS]
    repeated = [name for name, count in Counter(classes).items() if count > 1]
    return [
        *(fault for broken, fault in ranges if broken),
        *(
            f"classes: {name!r} is not among the {len(SUBJECTS)} doodles{suggestion(name, SUBJECTS)}"
            for name in unknown
        ),
        *(f"classes: {name!r} is listed twice" for name in repeated),
    ]
