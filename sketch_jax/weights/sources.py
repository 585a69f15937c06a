"""Where pretrained weights come from: the hub, a directory in its timm layout, or a safetensors file."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sketch_jax.errors import InputError
from sketch_jax.weights.hub import hub_file
from sketch_jax.weights.tensors import PICKLE_SUFFIXES, StoredTensors, read_stored, refuse_pickle

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
OUR_WEIGHTS_FILE = "flax_model.safetensors"
WEIGHTS_FILES = (WEIGHTS_FILE, INDEX_FILE, OUR_WEIGHTS_FILE)

HUB_PREFIX = "hf-hub:"
DIRECTORY_PREFIX = "local-dir:"
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w./-]+)?")
_HUB_ADDRESS = re.compile(
    r"(?:https?://(?:www\.)?(?:huggingface\.co|hf\.co)/|hf_hub:|hf://)([\w.-]+/[\w.-]+)"
    r"(?:(?:@|/tree/|/blob/|/resolve/)([\w.-]+))?.*"
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """Pretrained weights that are opened, not read."""

    tensors: Mapping[str, np.ndarray]
    """By timm's names, in timm's layout; each is read when asked for; floating types arrive as float32."""
    config: Mapping[str, Any]
    """timm's `config.json` (`architecture`, `num_classes`, `model_args`, `pretrained_cfg`), or empty."""
    fingerprint: str
    """SHA-256 over the content of the tensor files; it does not depend on where they lie."""
    origin: str
    """For people: where the weights come from; for the hub with the commit."""


def open_weights(source: str, cache_directory: Path | None = None) -> Weights:
    """Opens pretrained weights; pickled files are refused, never read.

    Args:
        source: `timm/NAME` or `hf-hub:OWNER/NAME`, each with `@revision` if wanted; `local-dir:PATH` or the
            path of a directory, with `config.json` and `model.safetensors` (or shards and their index), or
            made by `python -m convert to-flax`; the path of a `.safetensors` file.
        cache_directory: of the hub's files; None: huggingface_hub's own (`HF_HOME`).

    Raises:
        InputError: there are no such weights, they are pickled, truncated, damaged or out of reach.
    """
    if source in ("", DIRECTORY_PREFIX, HUB_PREFIX):
        raise InputError(f"{source!r} names no weights; write a name or a path, or None for no weights")
    address = _HUB_ADDRESS.fullmatch(source)
    if address is not None:
        revision = f"@{address[2]}" if address[2] else ""
        raise InputError(f"{source!r} is no name of weights here; write {address[1]}{revision}")
    path = Path(source.removeprefix(DIRECTORY_PREFIX)).expanduser()
    if source.startswith(DIRECTORY_PREFIX) or path.is_dir():
        return _open_directory(path)
    if source.startswith(HUB_PREFIX):
        return _open_hub(source.removeprefix(HUB_PREFIX), cache_directory)
    if path.is_file() or path.suffix == ".safetensors" or is_pickle_path(source):
        return _open_file(path)
    if _HUB_NAME.fullmatch(source):
        return _open_hub(source, cache_directory)
    raise InputError(
        f"{source!r} names no weights: write a hub name (timm/resnet18.a1_in1k), local-dir:DIRECTORY "
        "(with config.json and model.safetensors), the path of a .safetensors file, or None for no weights"
    )


def is_pickle_path(source: str) -> bool:
    """Whether a source is the path of a pickled checkpoint; timm has tags that end like one.

    >>> is_pickle_path("checkpoint.pt"), is_pickle_path("timm/beit3_base_patch16_224.pt")
    (True, False)
    """
    path = Path(source)
    on_hub = source.startswith((HUB_PREFIX, "timm/")) and not path.is_file()
    return path.suffix in PICKLE_SUFFIXES and not on_hub


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        InputError: it cannot be read, or is not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable JSON file ({error}); download or copy it again") from error
    if not isinstance(value, dict):
        raise InputError(
            f"{path}: must hold a JSON object, not {type(value).__name__}; download or copy it again"
        )
    return value


def _open_directory(directory: Path) -> Weights:
    if not directory.is_dir():
        raise InputError(
            f"{directory}: no such directory; local-dir: wants one with config.json and model.safetensors"
        )
    first = next((directory / name for name in WEIGHTS_FILES if (directory / name).is_file()), None)
    if first is None:
        raise _without_weights(directory)
    files = _shards(first, lambda name: directory / name) if first.name == INDEX_FILE else [first]
    for file in files:
        if not file.is_file():
            raise InputError(f"{file}: no such file, and {first} names it; copy it into that directory")
    weights = _weights(files, _config_beside(first), f"{DIRECTORY_PREFIX}{directory}")
    if not (directory / CONFIG_FILE).is_file():
        raise InputError(
            f"{directory}: has no {CONFIG_FILE}, which says the architecture and how images are prepared; "
            f"copy it from where the weights are from, or go without: name {first} itself, and --model.name"
        )
    return weights


def _without_weights(directory: Path) -> InputError:
    pickled = sorted(path for path in directory.iterdir() if path.suffix in PICKLE_SUFFIXES)
    if pickled:
        return refuse_pickle(pickled[0])
    if any((directory / name).exists() for name in ("run.json", "checkpoints")):
        exported = f"{directory}-timm"
        return InputError(
            f"{directory}: is a run; export its model by `python -m convert to-timm {directory} --output "
            f"{exported}` and name local-dir:{exported}"
        )
    return InputError(f"{directory}: has no {WEIGHTS_FILE}; local-dir: wants the hub's layout of timm")


def _open_file(path: Path) -> Weights:
    config = _config_beside(path) if path.name in WEIGHTS_FILES else {}
    return _weights([path], config, str(path))


def _open_hub(name: str, cache_directory: Path | None) -> Weights:
    first = hub_file(name, WEIGHTS_FILES, cache_directory)
    if first is None:
        pickled = hub_file(name, ("pytorch_model.bin", "open_clip_pytorch_model.bin"), cache_directory)
        raise (
            refuse_pickle(pickled) if pickled else InputError(f"{name}: the repository has no {WEIGHTS_FILE}")
        )
    commit = first.parent.name
    name = name.partition("@")[0]
    config = hub_file(f"{name}@{commit}", (CONFIG_FILE,), cache_directory)

    def shard(filename: str) -> Path:
        path = hub_file(f"{name}@{commit}", (filename,), cache_directory)
        if path is None:
            raise InputError(f"{name}: the repository lacks {filename}, which its {INDEX_FILE} names")
        return path

    files = _shards(first, shard) if first.name == INDEX_FILE else [first]
    return _weights(files, read_json(config) if config else {}, f"{name}@{commit}")


def _shards(index: Path, locate: Any) -> list[Path]:
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise InputError(f"{index}: has no weight_map that names the shards; download or copy it again")
    return [locate(name) for name in sorted(set(shards.values()))]


def _config_beside(path: Path) -> dict[str, Any]:
    config = path.parent / CONFIG_FILE
    return read_json(config) if config.is_file() else {}


def _weights(files: Sequence[Path], config: Mapping[str, Any], origin: str) -> Weights:
    stored = {name: tensor for file in files for name, tensor in read_stored(file).items()}
    if not stored:
        raise InputError(f"{origin}: holds no tensors; download or copy it again")
    return Weights(
        tensors=StoredTensors(stored), config=config, fingerprint=_fingerprint(files), origin=origin
    )


def _fingerprint(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
