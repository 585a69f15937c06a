"""Predictions: the record that all that follows training reads."""

import dataclasses
import io
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int

from sketch_jax.errors import InputError
from sketch_jax.files import write_atomically

FIELDS = ("ids", "logits", "labels", "class_names")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Logits of a model over some examples."""

    ids: tuple[str, ...]
    """Unique names of the examples."""
    logits: Float32[np.ndarray, "rows classes"]
    labels: Int[np.ndarray, " rows"]
    """Class indices; -1 where unknown."""
    class_names: tuple[str, ...]

    def __post_init__(self):
        """Refuses parts of different lengths."""
        rows, classes = self.logits.shape
        if not len(self.ids) == len(self.labels) == rows or len(self.class_names) != classes:
            raise ValueError(
                f"predictions do not fit together: {len(self.ids)} ids, {len(self.labels)} labels, "
                f"{len(self.class_names)} class names and logits of shape {self.logits.shape}"
            )


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Writes predictions as a compressed npz without pickled parts; the file appears whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        ids=np.array(predictions.ids, dtype=str),
        logits=predictions.logits,
        labels=predictions.labels.astype(np.int32),
        class_names=np.array(predictions.class_names, dtype=str),
    )
    write_atomically(path, buffer.getvalue())


def load_predictions(path: Path) -> Predictions:
    """Reads what `save_predictions` wrote.

    Raises:
        InputError: there is no such file, it is not an npz of predictions, or it holds pickled parts.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            ids, logits, labels, class_names = (arrays[field] for field in FIELDS)
    except FileNotFoundError:
        raise InputError(f"{path}: no such predictions file; a run writes predictions/*.npz") from None
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: not a predictions file ({error}); it must hold {', '.join(FIELDS)} without pickles"
        ) from error
    names = tuple(ids.tolist())
    fault = _fault(names, logits, labels, class_names)
    if fault is not None:
        raise InputError(f"{path}: {fault}; write it anew, as a run writes predictions/*.npz")
    return Predictions(ids=names, logits=logits, labels=labels, class_names=tuple(class_names.tolist()))


def _fault(
    ids: tuple[str, ...], logits: np.ndarray, labels: np.ndarray, class_names: np.ndarray
) -> str | None:
    """Why arrays are no predictions; None where they are."""
    shapes = f"ids {len(ids)}, logits {logits.shape}, labels {labels.shape}, class_names {class_names.shape}"
    if logits.shape != (len(ids), len(class_names)) or labels.shape != (len(ids),):
        return f"its parts do not fit together: {shapes}"
    if len(set(ids)) != len(ids):
        return f"{len(ids) - len(set(ids))} ids are there twice"
    if len(labels) and not -1 <= labels.min() <= labels.max() < len(class_names):
        return f"labels are from {labels.min()} to {labels.max()}, and there are {len(class_names)} classes"
    if not np.isfinite(logits).all():
        return f"{int((~np.isfinite(logits)).any(axis=1).sum())} rows hold logits that are not finite"
    return None
