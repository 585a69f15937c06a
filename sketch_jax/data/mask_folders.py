"""Source: the mask contest's folders, one a person, with the mask's state, gender and age as 18 classes."""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from sketch_jax.data.classes import check_classes
from sketch_jax.data.files import FileReader, list_folders, list_images, path_faults, require_folder
from sketch_jax.data.records import UNKNOWN_LABEL, Dataset, Examples, SubmissionLayout
from sketch_jax.data.submission import read_layout
from sketch_jax.data.tables import Table, column, read_table, refuse_repeated
from sketch_jax.data.verify import OnBadImage
from sketch_jax.errors import InputError, refuse_faults, suggestion
from sketch_jax.tasks import cross_product, joined_labels, joined_names

MASK_OF_PHOTO: Mapping[str, int] = {
    **{f"mask{number}": 0 for number in range(1, 6)},
    "incorrect_mask": 1,
    "normal": 2,
}
"""State of the mask in each photo of a person, by the file's name without its ending."""

GENDERS = ("male", "female")
AGE_MIDDLE = 30
TASKS = cross_product(
    {"mask": ("worn", "wrong", "none"), "gender": GENDERS, "age": ("young", "middle", "old")}
)
"""class = mask * 6 + gender * 3 + age."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskFolders:
    """People in folders `ID_GENDER_RACE_AGE` of seven photos each; a person stays on one side of a split."""

    root: str
    """Folder of the data set."""
    train_table: str = "train/train.csv"
    """Table of the people with columns `id`, `gender`, `age` and `path`, relative to the root."""
    train_folder: str = "train/images"
    """Folder of the people's folders, relative to the root."""
    test_table: str | None = "eval/info.csv"
    """Table of the images to predict with columns `ImageID` and `ans`, relative to the root, in whose layout
    answers are written; None: there is no test set."""
    test_folder: str = "eval/images"
    """Folder of the images to predict, relative to the root."""
    age_threshold_old: int = 60
    """Age in years from which a person counts as old, above 30; 58 takes in people near the border."""
    corrections: str | None = None
    """Table of mended labels, relative to the root: `id`, and `gender`, `age` or both, where an empty field
    changes nothing; None: labels are as they stand."""
    on_bad_image: OnBadImage = "error"
    """What to do about images that cannot be decoded. `error`: check all images first, list the bad ones;
    `skip`: check, leave bad training images out, read bad test images as blank paper; `trust`: no check."""
    allow_outside: bool = False
    """Whether links may lead out of the root."""

    def __post_init__(self):
        """Refuses an age that is no border of the oldest class."""
        if self.age_threshold_old <= AGE_MIDDLE:
            raise InputError(
                f"--source.age-threshold-old {self.age_threshold_old}: must be above {AGE_MIDDLE}, where the "
                "middle class begins"
            )


class Person(NamedTuple):
    """A row of the train table."""

    line: int
    name: str
    """Its `id`."""
    gender: str
    age: str
    folder: str


def load_mask_folders(source: MaskFolders) -> Dataset:
    """The photos of the people, not decoded yet; files of other names stand in `Dataset.skipped`.

    Raises:
        InputError: a folder, table, column or photo is missing, a label is none or is not that of the
            folder's name, a task's class is empty, a link leads out of the root, or a correction of nobody.
    """
    root = Path(source.root)
    require_folder(root, "--source.root")
    require_folder(root / source.train_folder, "--source.train-folder")
    table = read_table(root / source.train_table, option="--source.train-table", required=True)
    people = _read_people(table)
    _check_folders(source, table, people)
    people = _correct(source, people)
    _check_labels(table, people)
    train, skipped = _train_examples(source, people)
    check_classes(train, str(table.path), TASKS)
    test, submission = _test_examples(source)
    return Dataset(train=train, test=test, submission=submission, tasks=TASKS, skipped=skipped)


def age_class(age: int, threshold_old: int) -> int:
    """Index of an age's class.

    >>> [age_class(age, 60) for age in (29, 30, 59, 60)]
    [0, 1, 1, 2]
    """
    return int(age >= AGE_MIDDLE) + int(age >= threshold_old)


def _read_people(table: Table) -> list[Person]:
    cells = [column(table, name, option="--source.train-table") for name in ("id", "gender", "age", "path")]
    refuse_repeated(table, cells[-1], "path")
    return [Person(line, *row) for line, *row in zip(table.lines, *cells, strict=True)]


def _check_folders(source: MaskFolders, table: Table, people: Sequence[Person]) -> None:
    """Refuses folders that are missing, or whose names tell other labels than the table."""
    there = set(list_folders(Path(source.root, source.train_folder)))
    faults = []
    for person in people:
        parts = person.folder.split("_")
        named = (parts[0], parts[1], parts[-1]) if len(parts) == 4 else None
        if person.folder not in there:
            faults.append(f"line {person.line}: there is no folder {person.folder!r}")
        elif named != (person.name, person.gender, person.age):
            faults.append(
                f"line {person.line}: folder {person.folder!r} is not ID_GENDER_RACE_AGE of "
                f"{person.name!r}, {person.gender!r}, {person.age!r}"
            )
    refuse_faults(
        f"{table.path}: every person needs a folder in {Path(source.root, source.train_folder)} that bears "
        "the same labels",
        faults,
        "add the folders or correct the table; mend wrong labels by --source.corrections",
    )


def _correct(source: MaskFolders, people: Sequence[Person]) -> Sequence[Person]:
    """The people with the labels of the table of corrections."""
    if source.corrections is None:
        return people
    option = "--source.corrections"
    table = read_table(Path(source.root, source.corrections), option=option)
    names = column(table, "id", option=option)
    refuse_repeated(table, names, "id")
    fields = [name for name in ("gender", "age") if name in table.columns]
    if not fields:
        raise InputError(f"{option}: {table.path} has neither a column 'gender' nor 'age'; add one of them")
    known = {person.name for person in people}
    refuse_faults(
        f"{table.path}: corrections must be of people in the train table",
        [
            f"line {line}: there is no id {name!r}{suggestion(name, known)}"
            for line, name in zip(table.lines, names, strict=True)
            if name not in known
        ],
        "correct or remove these rows",
    )
    changes: dict[str, dict[str, str]] = defaultdict(dict)
    for field in fields:
        for name, value in zip(names, column(table, field, option=option), strict=True):
            if value.strip():
                changes[name][field] = value
    return [person._replace(**changes[person.name]) for person in people]


def _check_labels(table: Table, people: Sequence[Person]) -> None:
    faults = [
        f"line {person.line}: gender {person.gender!r} is not{suggestion(person.gender, GENDERS)}"
        for person in people
        if person.gender not in GENDERS
    ] + [
        f"line {person.line}: age {person.age!r} is not"
        for person in people
        if not (person.age.isdecimal() and person.age.isascii())
    ]
    refuse_faults(
        f"{table.path}: genders must be 'male' or 'female', ages whole years",
        faults,
        "correct these rows, or the table of --source.corrections",
    )


def _train_examples(source: MaskFolders, people: Sequence[Person]) -> tuple[Examples, Mapping[str, str]]:
    """A row for each photo, in the order of the table, with the age in years, and files that are no photo."""
    folder = Path(source.root, source.train_folder)
    paths: list[str] = []
    parts: list[tuple[int, int, int]] = []
    groups: list[str] = []
    ages: list[int] = []
    faults: list[str] = []
    skipped: dict[str, str] = {}
    for person in people:
        files = list_images(folder / person.folder, nested=False)
        faults += _photo_faults(person, files)
        gender = GENDERS.index(person.gender)
        age = age_class(int(person.age), source.age_threshold_old)
        for file in files:
            path = f"{person.folder}/{file}"
            mask = MASK_OF_PHOTO.get(PurePath(file).stem)
            if mask is None:
                skipped[path] = f"is none of a person's photos {', '.join(MASK_OF_PHOTO)}"
                continue
            paths.append(path)
            parts.append((mask, gender, age))
            groups.append(person.folder)
            ages.append(int(person.age))
    refuse_faults(
        f"{folder}: every person needs one photo each of {', '.join(MASK_OF_PHOTO)}",
        faults,
        "add or remove these photos",
    )
    examples = Examples(
        ids=tuple(paths),
        labels=joined_labels(TASKS, np.array(parts).T),
        class_names=joined_names(TASKS),
        groups=tuple(groups),
        numbers=np.array(ages, np.float32),
        read=_reader(source, source.train_folder, paths, source.train_table),
    )
    return examples, skipped


def _photo_faults(person: Person, files: Sequence[str]) -> list[str]:
    """What a person's photos lack or have twice."""
    stems = [PurePath(file).stem for file in files]
    return [
        f"{person.folder}: {'no photo' if not stems.count(name) else 'more than one photo'} {name!r}"
        for name in MASK_OF_PHOTO
        if stems.count(name) != 1
    ]


def _test_examples(source: MaskFolders) -> tuple[Examples | None, SubmissionLayout | None]:
    if source.test_table is None:
        return None, None
    table = read_table(Path(source.root, source.test_table), option="--source.test-table")
    ids = column(table, "ImageID", option="--source.test-table")
    refuse_repeated(table, ids, "ImageID")
    names = joined_names(TASKS)
    examples = Examples(
        ids=ids,
        labels=np.full(len(ids), UNKNOWN_LABEL, np.int32),
        class_names=names,
        read=_reader(source, source.test_folder, ids, source.test_table),
    )
    targets = tuple(str(label) for label in range(len(names)))
    return examples, read_layout(table, ids, targets, id_column="ImageID", target_column="ans")


def _reader(source: MaskFolders, folder: str, paths: Sequence[str], table: str) -> FileReader:
    below_root = [str(Path(folder, path)) for path in paths]
    refuse_faults(
        f"{Path(source.root, table)}: images must lie in {Path(source.root, folder)}",
        path_faults(Path(source.root), below_root, allow_outside=source.allow_outside),
        "correct the table or add the images; --source.allow-outside True permits links out of the root",
    )
    return FileReader(root=source.root, paths=tuple(below_root))
