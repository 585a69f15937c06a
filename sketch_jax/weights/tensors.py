"""Safetensors files, a tensor at a time: reading and writing need the memory of the model once."""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from sketch_jax.errors import InputError
from sketch_jax.weights.names import timm_axes, timm_name, timm_statistic_name

DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
FLOATING = frozenset(dtype for name, dtype in DTYPES.items() if name.startswith(("F", "BF")))

OUR_FORMAT = "sketch_jax"
"""The file's `format` note where its tensors have our paths and layouts instead of timm's."""

PICKLE_SUFFIXES = frozenset({".pth", ".pt", ".bin", ".pkl", ".pickle", ".ckpt", ".tar"})
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """Where a tensor lies on the disk, and how it becomes timm's."""

    file: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    """As stored."""
    offset: int
    """First byte, from the start of the file."""
    axes: tuple[int, ...]
    """Order of the stored axes in timm's layout."""

    def read(self) -> np.ndarray:
        """The tensor in timm's layout; floating types become float32, others stay.

        Raises:
            InputError: the file is gone or changed.
        """
        size = int(np.prod(self.shape)) * self.dtype.itemsize
        try:
            stored = np.fromfile(self.file, np.uint8, size, offset=self.offset).view(self.dtype)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.file}: cannot be read any more ({error}); it was whole when the run began: was it "
                "removed or changed?"
            ) from error
        wanted = np.dtype(np.float32) if self.dtype in FLOATING else self.dtype
        return np.transpose(stored.reshape(self.shape).astype(wanted, copy=False), self.axes)


class StoredTensors(Mapping[str, np.ndarray]):
    """Tensors by timm's names; each is read from the disk when it is asked for, and not kept."""

    def __init__(self, stored: Mapping[str, StoredTensor]):
        self.stored = dict(stored)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes in timm's layout."""
        return {
            name: tuple(tensor.shape[axis] for axis in tensor.axes) for name, tensor in self.stored.items()
        }

    @property
    def float32_bytes(self) -> int:
        """Bytes of all tensors as float32."""
        return sum(4 * int(np.prod(tensor.shape)) for tensor in self.stored.values())

    @property
    def are_ours(self) -> bool:
        """Whether any lies on the disk in our layout instead of timm's."""
        return any(tensor.axes != tuple(range(len(tensor.shape))) for tensor in self.stored.values())

    def __getitem__(self, name: str) -> np.ndarray:
        return self.stored[name].read()

    def __contains__(self, name: object) -> bool:
        return name in self.stored

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


def refuse_pickle(path: Path | str) -> InputError:
    """What the user is told instead of unpickling a file."""
    return InputError(
        f"{path}: a run reads safetensors only: a pickled checkpoint can execute any code when it is read; "
        "convert it once with `python -m convert to-flax FILE --output DIR` (needs the extra: "
        "python3 -m pip install -c constraints.txt -e '.[timm]' in a clone of the project) "
        "and name local-dir:DIR instead"
    )


def read_stored(path: Path) -> dict[str, StoredTensor]:
    """Where the tensors of a safetensors file lie, by timm's names.

    Raises:
        InputError: no such file, a pickle, truncated, damaged, or of a number type that numpy lacks.
    """
    header, start = _read_header(path)
    ours = header.pop("__metadata__", {}).get("format") == OUR_FORMAT
    unknown = sorted({entry["dtype"] for entry in header.values()} - DTYPES.keys())
    if unknown:
        raise InputError(f"{path}: tensors of type {', '.join(unknown)} are not supported; save them as F32")
    return dict(_stored_tensor(path, start, name, entry, ours) for name, entry in header.items())


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], file_format: str) -> None:
    """Writes a safetensors file; beside the tensors themselves it needs room for a copy of one of them.

    Args:
        path: the file; is written in place and is on the disk when this returns.
        tensors: arrays of any layout in memory.
        file_format: the file's `format` note: `pt` for timm's names and layouts, `OUR_FORMAT` for ours.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": file_format}}
    end = 0
    for name in names:
        start, end = end, end + tensors[name].nbytes
        dtype, shape = DTYPE_NAMES[tensors[name].dtype], list(tensors[name].shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    with open(path, "wb") as file:
        _write_header(file, header)
        for name in names:
            file.write(np.ascontiguousarray(tensors[name]).reshape(-1).view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())


def _write_header(file: BinaryIO, header: Mapping[str, Any]) -> None:
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers start at a multiple of 8 bytes
    file.write(len(text).to_bytes(8, "little") + text)


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    if path.suffix in PICKLE_SUFFIXES:
        raise refuse_pickle(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a .safetensors file that exists")
    try:
        with safe_open(path, framework="np"):
            pass
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            return json.loads(file.read(size)), 8 + size
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    try:
        with open(path, "rb") as file:
            if file.read(4).startswith(_PICKLE_STARTS):
                return refuse_pickle(path)
    except OSError as cause:
        return InputError(f"{path}: cannot be read ({cause.strerror}); check its permissions and the disk")
    return InputError(
        f"{path}: not a whole safetensors file ({error}; {path.stat().st_size:,} bytes): it is truncated, "
        "damaged or of another format; download or copy it again"
    )


def _stored_tensor(
    path: Path, start: int, name: str, entry: Mapping[str, Any], ours: bool
) -> tuple[str, StoredTensor]:
    shape = tuple(entry["shape"])
    axes = tuple(range(len(shape)))
    if ours:
        tree, _, leaf_path = name.partition("/")
        name = timm_name(leaf_path) if tree == "params" else timm_statistic_name(leaf_path)
        axes = timm_axes(leaf_path, len(shape)) if tree == "params" else axes
    offset = start + entry["data_offsets"][0]
    stored = StoredTensor(file=path, dtype=DTYPES[entry["dtype"]], shape=shape, offset=offset, axes=axes)
    return name, stored
