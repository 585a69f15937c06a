"""Source: a prepared data set of TensorFlow Datasets, read by random access without TensorFlow."""

import dataclasses
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sketch_jax.data.classes import check_classes
from sketch_jax.data.files import list_folders
from sketch_jax.data.records import Dataset, Examples
from sketch_jax.data.verify import OnBadImage
from sketch_jax.errors import InputError, suggestion

_PREPARE = (
    "prepare it once, where TensorFlow is installed: "
    "tfds.builder({name!r}, data_dir={data_dir!r}, file_format='array_record').download_and_prepare()"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tfds:
    """A data set of TensorFlow Datasets, prepared in a format with random access (`array_record`)."""

    name: str
    """Name, with configuration and version where there are several, such as `imagenet_sketch:1.0.0`."""
    data_dir: str | None = None
    """Folder of prepared data sets; None: `~/tensorflow_datasets`."""
    train_split: str = "train"
    """Split to train on; slices such as `train[:80%]` too."""
    test_split: str | None = None
    """Split to predict; None: there is no test set."""
    image_feature: str = "image"
    """Name of the feature that holds the image."""
    label_feature: str = "label"
    """Name of the feature that holds the class."""
    group_feature: str | None = None
    """Feature of what must not be torn apart by a split, such as a person; None: every image for itself."""
    on_bad_image: OnBadImage = "error"
    """What to do about images that cannot be decoded. `error`: check all images first, list the bad ones;
    `skip`: check, leave bad training images out, read bad test images as blank paper; `trust`: no check."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordReader:
    """Encoded images of a split."""

    records: Sequence[Any]
    """A `data_source` that leaves images encoded; pickled without its open files."""
    image_feature: str

    def __call__(self, row: int) -> bytes:
        """The encoded image of a row."""
        return self.records[row][self.image_feature]


def load_tfds(source: Tfds) -> Dataset:
    """The examples of the splits, images not decoded yet; all records are read once for their labels.

    Raises:
        InputError: the package, the data set, a split or a feature is missing; the data set is prepared in
            another format; a class is empty or the only one.
    """
    builder = _builder(source)
    train = _examples(source, builder, source.train_split, source.group_feature)
    check_classes(train, f"{source.name} {source.train_split}")
    test = None if source.test_split is None else _examples(source, builder, source.test_split, None)
    return Dataset(train=train, test=test)


def _import_tfds() -> Any:
    try:
        return importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise InputError(
            "--source.kind Tfds: needs the package tensorflow-datasets, which is not installed; "
            "in a clone of the project run python3 -m pip install -c constraints.txt -e '.[tfds]'"
        ) from error


def _builder(source: Tfds) -> Any:
    """The data set, prepared and with the features that are asked for."""
    tfds = _import_tfds()
    try:
        builder = tfds.builder(source.name, data_dir=source.data_dir)
    except ValueError as error:
        folder = Path(source.data_dir or "~/tensorflow_datasets").expanduser()
        prepared = list_folders(folder) if folder.is_dir() else []
        known = tfds.list_builders(with_community_datasets=False)
        near = suggestion(source.name, [*prepared, *known])
        raise InputError(
            f"--source.name {source.name}: there is no such data set in {folder} or "
            f"among those of the package{near}"
        ) from error
    if not builder.info.splits:
        remedy = _PREPARE.format(name=source.name, data_dir=source.data_dir)
        raise InputError(f"--source.name {source.name}: is not prepared in {builder.data_dir}; {remedy}")
    features = dict(builder.info.features.items())
    _check_feature(source, features, source.image_feature, tfds.features.Image)
    _check_feature(source, features, source.label_feature, tfds.features.ClassLabel)
    return builder


def _check_feature(source: Tfds, features: dict[str, Any], name: str, kind: type) -> None:
    if not isinstance(features.get(name), kind):
        there = ", ".join(f"{key} ({type(value).__name__})" for key, value in features.items())
        raise InputError(f"{source.name}: has no feature {name!r} of type {kind.__name__}; it has {there}")


def _examples(source: Tfds, builder: Any, split: str, group_feature: str | None) -> Examples:
    records = _records(source, builder, split)
    rows = [(record[source.label_feature], _group(record, group_feature)) for record in records]
    return Examples(
        ids=tuple(f"{split}/{row}" for row in range(len(rows))),
        labels=np.array([label for label, _ in rows], np.int32),
        class_names=tuple(builder.info.features[source.label_feature].names),
        groups=None if group_feature is None else tuple(group for _, group in rows),
        read=RecordReader(records=records, image_feature=source.image_feature),
    )


def _records(source: Tfds, builder: Any, split: str) -> Sequence[Any]:
    decoders = {source.image_feature: _import_tfds().decode.SkipDecoding()}
    try:
        return builder.as_data_source(split, decoders=decoders)
    except NotImplementedError as error:
        remedy = _PREPARE.format(name=source.name, data_dir=source.data_dir)
        raise InputError(
            f"--source.name {source.name}: is prepared in {builder.data_dir} in a format without random "
            f"access; {remedy} in another folder"
        ) from error
    except ValueError as error:
        there = ", ".join(builder.info.splits)
        raise InputError(f"{source.name}: has no split {split!r}; its splits are {there}") from error


def _group(record: dict[str, Any], group_feature: str | None) -> str:
    """The group of a record as text; empty where groups are not asked for."""
    if group_feature is None:
        return ""
    if group_feature not in record:
        there = ", ".join(record)
        raise InputError(f"--source.group-feature {group_feature}: no such feature; there are {there}")
    value = record[group_feature]
    return value.decode() if isinstance(value, bytes) else str(value)
