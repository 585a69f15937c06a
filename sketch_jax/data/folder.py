"""Source: a folder with a folder of images for each class."""

import dataclasses
from pathlib import Path, PurePath

import numpy as np

from sketch_jax.data.classes import check_classes
from sketch_jax.data.files import FileReader, list_folders, list_images, path_faults, require_folder
from sketch_jax.data.records import UNKNOWN_LABEL, Dataset, Examples
from sketch_jax.data.verify import OnBadImage
from sketch_jax.errors import InputError, refuse_faults, suggestion


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folder:
    """`ROOT/CLASS/**/IMAGE`, or `ROOT/train/CLASS/**/IMAGE` beside `ROOT/test/`; classes sorted by name."""

    root: str
    """Folder of the data set. Hidden files (macOS' `._*` too) and files that are not images are left out."""
    train_folder: str | None = None
    """Folder of the class folders, relative to the root; None: `train` if there is one that holds folders,
    else the root itself."""
    test_folder: str | None = None
    """Folder of the images to predict, relative to the root: class folders, or images of unknown class. None:
    `test` beside `train` if there is one, else there is no test set."""
    on_bad_image: OnBadImage = "error"
    """What to do about images that cannot be decoded. `error`: check all images first, list the bad ones;
    `skip`: check, leave bad training images out, read bad test images as blank paper; `trust`: no check."""
    allow_outside: bool = False
    """Whether links may lead out of the root."""


def load_folder(folder: Folder) -> Dataset:
    """The images of a folder, not decoded yet.

    Images beside the class folders belong to no class; they are left out and stand in `Dataset.skipped`.

    Raises:
        InputError: a folder is missing, a class is empty, there are fewer than two classes, a test folder is
            no class, or a link leads out of the root.
    """
    root = Path(folder.root)
    require_folder(root, "--source.root")
    train_folder, test_folder = _layout(folder, root)
    require_folder(root / train_folder, "--source.train-folder")
    if not list_folders(root / train_folder):
        lying = len(list_images(root / train_folder, nested=False))
        raise InputError(
            f"{root / train_folder}: has no class folders ({lying} images lie directly in it); put the "
            f"images of each class into a folder of its own: {root / train_folder / 'CLASS' / 'IMAGE'}"
        )
    train = _train_examples(folder, train_folder)
    check_classes(train, str(root / train_folder))
    loose = list_images(root / train_folder, nested=False)
    return Dataset(
        train=train,
        test=None if test_folder is None else _test_examples(folder, test_folder, train.class_names),
        skipped={_joined(train_folder, path): "lies in no class folder" for path in loose},
    )


def _layout(folder: Folder, root: Path) -> tuple[str, str | None]:
    """The train folder and the test folder."""
    split = (root / "train").is_dir() and bool(list_folders(root / "train"))
    train_folder = folder.train_folder or ("train" if split else ".")
    beside = "test" if train_folder == "train" and (root / "test").is_dir() else None
    return train_folder, folder.test_folder or beside


def _train_examples(folder: Folder, train_folder: str) -> Examples:
    top = Path(folder.root, train_folder)
    class_names = list_folders(top)
    paths = [f"{name}/{path}" for name in class_names for path in list_images(top / name, nested=True)]
    return _examples(folder, train_folder, paths, tuple(class_names))


def _test_examples(folder: Folder, test_folder: str, class_names: tuple[str, ...]) -> Examples:
    top = Path(folder.root, test_folder)
    require_folder(top, "--source.test-folder")
    names = list_folders(top)
    unknown = [name for name in names if name not in class_names]
    if len(unknown) < len(names):
        refuse_faults(
            f"{top}: folders of test images must bear names of the {len(class_names)} training classes",
            [f"{name!r} is not a class{suggestion(name, class_names)}" for name in unknown],
            "rename these folders, or put all test images into one folder to leave their classes unknown",
        )
    paths = list_images(top, nested=True)
    if not paths:
        raise InputError(f"{top}: holds no images; add images to predict, or remove the folder")
    return _examples(folder, test_folder, paths, class_names)


def _examples(folder: Folder, top: str, paths: list[str], class_names: tuple[str, ...]) -> Examples:
    """Rows labelled by the first folder of their path; unknown where that is no class."""
    ids = tuple(_joined(top, path) for path in paths)
    refuse_faults(
        f"{folder.root}: images must lie inside the folder",
        path_faults(Path(folder.root), ids, allow_outside=folder.allow_outside),
        "copy the files there, or allow this with --source.allow-outside True",
    )
    labels = {name: label for label, name in enumerate(class_names)}
    return Examples(
        ids=ids,
        labels=np.array([labels.get(path.partition("/")[0], UNKNOWN_LABEL) for path in paths], np.int32),
        class_names=class_names,
        read=FileReader(root=folder.root, paths=ids),
    )


def _joined(folder: str, path: str) -> str:
    return PurePath(folder, path).as_posix()
