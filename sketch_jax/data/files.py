"""Image files below a folder: listing them, and refusing paths that are not there or lead out of it."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath

from sketch_jax.errors import SHOWN_FAULTS, InputError, suggestion

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileReader:
    """The files of some rows, as paths; what `Examples.read` is for every source made of files."""

    root: str
    paths: tuple[str, ...]
    """Relative to the root."""

    def __call__(self, row: int) -> Path:
        """Path of a row's file."""
        return Path(self.root, self.paths[row])


def require_folder(path: Path, field: str) -> None:
    """Refuses a folder that is not there, and names the nearest that is.

    Args:
        path: the folder.
        field: the option that holds it, such as `--source.root`.

    Raises:
        InputError: there is no such folder.
    """
    if path.is_dir():
        return
    if path.exists():
        raise InputError(f"{field} {path}: is a file, not a folder; give the folder that holds the images")
    parent = next(folder for folder in path.absolute().parents if folder.is_dir())
    missing = path.absolute().relative_to(parent).parts[0]
    folders = [entry.name for entry in os.scandir(parent) if entry.is_dir()]
    near = suggestion(missing, folders) or "; check the spelling, or make the folder"
    raise InputError(f"{field} {path}: there is no such folder: {parent} has no {missing!r}{near}")


def list_folders(folder: Path) -> list[str]:
    """Names of the folders inside a folder, sorted, without hidden ones."""
    return sorted(entry.name for entry in _visible(folder) if entry.is_dir())


def list_images(folder: Path, *, nested: bool) -> list[str]:
    """Paths of the images below a folder, relative to it and sorted, without hidden files and other types.

    Args:
        folder: where to look.
        nested: whether images in folders of the folder belong to it.
    """
    return sorted(_walk(folder, "", nested, frozenset()))


def path_faults(root: Path, paths: Iterable[str], *, allow_outside: bool) -> list[str]:
    """What is wrong with paths below a folder: not there, or leading out of it. One text for each that is.

    Args:
        root: the folder.
        paths: relative to the root.
        allow_outside: whether absolute paths, `..` and links may lead out of the root.
    """
    real_path = functools.cache(_real_path)
    names_in = functools.cache(_names_in)
    faults: list[str] = []
    for path in paths:
        file, outside = root / path, not allow_outside and _leads_out(root, path, real_path)
        if not os.path.isfile(file):
            shown = len(faults) < SHOWN_FAULTS and not outside
            near = suggestion(file.name, names_in(file.parent)) if shown else ""
            faults.append(f"{path}: there is no such file{near}")
        elif outside:
            faults.append(f"{path}: leads out of {root}")
    return faults


def _visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Entries of a folder, without hidden ones and what macOS leaves behind (`._*`, `__MACOSX`).

    Raises:
        InputError: the folder cannot be listed.
    """
    try:
        entries = os.scandir(folder)
    except OSError as error:
        raise unreadable(folder, error) from error
    return (entry for entry in entries if not entry.name.startswith((".", "__MACOSX")))


def unreadable(path: Path, error: OSError) -> InputError:
    """The error for a folder or a file that the system does not let be read."""
    return InputError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk")


def _walk(folder: Path, prefix: str, nested: bool, parents: frozenset[str]) -> Iterator[str]:
    """`parents`: real paths of the folders above, so that a link to one of them is not followed for ever."""
    real = os.path.realpath(folder)
    if real in parents:
        return
    for entry in _visible(folder):
        path = f"{prefix}{entry.name}"
        if entry.is_file() and PurePath(entry.name).suffix.lower() in IMAGE_SUFFIXES:
            yield path
        elif nested and entry.is_dir():
            yield from _walk(folder / entry.name, f"{path}/", nested, parents | {real})


def _leads_out(root: Path, path: str, real_path: Callable[[Path], str]) -> bool:
    pure = PurePath(path)
    if pure.is_absolute() or ".." in pure.parts:
        return True
    file = root / pure
    real = os.path.realpath(file) if file.is_symlink() else real_path(file.parent)
    return not PurePath(real).is_relative_to(real_path(root))


def _real_path(folder: Path) -> str:
    return os.path.realpath(folder)


def _names_in(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []
