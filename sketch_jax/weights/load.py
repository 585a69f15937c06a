"""Fitting pretrained weights to a model: every tensor is accounted for, or the run stops."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sketch_jax.errors import SHOWN_FAULTS, InputError
from sketch_jax.trees import Tree, flatten, lies_under, unflatten
from sketch_jax.weights.channels import fit_to_images, is_of_other_channels
from sketch_jax.weights.head_rows import Rows, choose_rows
from sketch_jax.weights.names import timm_axes, timm_name, timm_statistic_name, to_flax
from sketch_jax.weights.sources import Weights
from sketch_jax.weights.timm_config import architecture_from, image_channels

Shape = tuple[int, ...]

SHOWN_NAMES = 4
"""Of a list of names of an older layout, in a summary."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What became of every tensor, by timm's names."""

    origin: str
    loaded: tuple[str, ...]
    """Taken from the weights."""
    resampled: tuple[str, ...]
    """Those of `loaded` whose shape was changed to fit, such as position embeddings at another image size."""
    of_other_channels: tuple[str, ...]
    """Those of `loaded` that were of images of another number of channels: the first convolution."""
    of_older_layout: tuple[str, ...]
    """Names in the weights that are not timm's current ones: renamed, or left out as no parameter."""
    new: tuple[str, ...]
    """Newly made, because the weights have none: classifiers of other classes, and what `adapt` adds."""
    dropped: tuple[str, ...]
    """In the weights and not used: the classifier of other classes, or parts that the model does not have."""
    loaded_values: int
    """Numbers in all loaded tensors."""
    rows: tuple[int, int] | None = None
    """Classes that start from rows of the weights' classifier, and all classes; None: not asked for."""


class Fitted(NamedTuple):
    """A model's values from pretrained weights."""

    params: Tree
    statistics: Tree
    report: LoadReport


def fit(
    weights: Weights,
    template: tuple[Tree, Tree],
    *,
    architecture: str,
    classifier: str,
    further_classifiers: Sequence[str] = (),
    fresh: Tree,
    rows: Rows | None = None,
    filter_checkpoint: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda tensors: tensors,
    adapt: Callable[[Tree], Tree] = lambda tree: tree,
    place: Callable[[np.ndarray], Any] = np.ascontiguousarray,
) -> Fitted:
    """The parameters and statistics of a model from pretrained weights.

    Memory: the model and one tensor more, also when `place` copies; a tensor is let go once it is placed.

    Args:
        weights: read once, a tensor at a time.
        template: shapes and types of (params, statistics), as from `jax.eval_shape(model.init, key)`.
        architecture: of the model, for messages.
        classifier: path of the model's classifier; its tensors alone may be newly made or left out.
        further_classifiers: paths of others, such as the one that distillation has; the model may lack them.
        fresh: newly made parameters, at least those of the classifiers; taken where the weights' do not fit.
        rows: of the weights' classifiers that the model's start from; None: the classifiers as they are.
        filter_checkpoint: gives tensors of older layouts their current names (`Model.filter_checkpoint`).
        adapt: fits other parameters before they are checked (`Model.adapt`).
        place: makes the value of a leaf from a float32 array on the host, such as `jax.device_put`.

    Raises:
        InputError: tensors are missing, left over or of another shape; all of them are listed.
    """
    expected = _Leaves(*map(flatten, template))
    found, original = _read(weights, expected, filter_checkpoint, adapt)
    dropped = [path for path in original.shapes if path not in found.params]
    new: list[str] = []
    made = flatten(fresh)
    keep = rows is None or any(row is not None for row in rows)
    for path in (classifier, *further_classifiers):
        if rows is not None and keep and _within(expected.params, path):
            chosen = choose_rows(_within(found.params, path), _within(made, path), rows, weights.origin)
            found.params.update(chosen)
            original.shapes.update({path: leaf.shape for path, leaf in chosen.items()})
        new += _exchange_classifier(found.params, expected.params, path, dropped, keep=keep)
    _refuse_misfits(weights, architecture, found, expected, frozenset(new))
    report = _report(weights.origin, found, original, new, dropped)
    if rows is not None:
        report = dataclasses.replace(report, rows=(len(rows) - rows.count(None), len(rows)))
    values = _Leaves(
        _place(found.params, place, timm_name, weights.origin),
        _place(found.statistics, place, timm_statistic_name, weights.origin),
    )
    values.params.update({path: place(np.asarray(made[path], np.float32)) for path in new})
    params, statistics = (
        unflatten({path: leaves[path] for path in wanted})
        for leaves, wanted in zip(values, expected, strict=True)
    )
    return Fitted(params, statistics, report)


def summary(report: LoadReport) -> list[str]:
    """Lines that tell the user what was loaded, newly made and left out."""
    lines = [f"{len(report.loaded)} tensors ({report.loaded_values:,} values) loaded from {report.origin}"]
    parts = {
        "of an older layout, renamed or left out": first_few(report.of_older_layout),
        "fitted to images of 3 channels": report.of_other_channels,
        "resampled to this image size": report.resampled,
        "newly made": report.new,
        "in the weights but not used": report.dropped,
    }
    if report.rows is not None:
        lines.append("{} of {} classes start from rows of the weights' classifier".format(*report.rows))
    return lines + [f"{what}: {', '.join(names)}" for what, names in parts.items() if names]


def first_few(names: Sequence[str]) -> Sequence[str]:
    """The names, or where there are many the first and the count of the others."""
    hidden = len(names) - SHOWN_NAMES
    return names if hidden <= 0 else [*names[:SHOWN_NAMES], f"… and {hidden} more"]


class _Leaves(NamedTuple):
    params: dict[str, Any]
    statistics: dict[str, Any]


class _Original(NamedTuple):
    """What the weights were before they were fitted to the model."""

    shapes: dict[str, Shape]
    of_other_channels: list[str]
    of_older_layout: list[str]


def _read(
    weights: Weights,
    expected: _Leaves,
    filter_checkpoint: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    adapt: Callable[[Tree], Tree],
) -> tuple[_Leaves, _Original]:
    tensors = filter_checkpoint(weights.tensors)
    params, statistics = map(flatten, to_flax(tensors))
    stated = image_channels(weights.config)
    of_other_channels = [
        path for path in _of_other_channels(params, expected) if params[path].shape[2] == stated
    ]
    params |= {path: fit_to_images(params[path]) for path in of_other_channels}
    original = _Original(
        shapes={path: leaf.shape for path, leaf in params.items()},
        of_other_channels=of_other_channels,
        of_older_layout=[name for name in weights.tensors if name not in tensors],
    )
    return _Leaves(flatten(adapt(unflatten(params))), flatten(statistics)), original


def _of_other_channels(params: Mapping[str, Any], expected: _Leaves) -> list[str]:
    wanted = expected.params
    return [path for path in params if path in wanted and is_of_other_channels(params[path], wanted[path])]


def _exchange_classifier(
    found: dict[str, Any], expected: Mapping[str, Any], classifier: str, dropped: list[str], *, keep: bool
) -> list[str]:
    """Moves a classifier that does not fit, or is not to be kept, to `dropped`; returns what is to be new."""
    wanted, present = list(_within(expected, classifier)), list(_within(found, classifier))
    fits = keep and all(path in found and found[path].shape == expected[path].shape for path in wanted)
    for path in present:
        if not (fits and path in wanted):
            del found[path]
            dropped.append(path)
    return [] if fits else wanted


def _within(leaves: Mapping[str, Any], place: str) -> dict[str, Any]:
    return {path: leaf for path, leaf in leaves.items() if lies_under(path, (place,))}


def _refuse_misfits(
    weights: Weights, architecture: str, found: _Leaves, expected: _Leaves, new: frozenset[str]
) -> None:
    faults = [
        *_misfits(found.params, expected.params, new, timm_name),
        *_misfits(found.statistics, expected.statistics, frozenset(), timm_statistic_name),
    ]
    if faults:
        heading = f"{weights.origin}: the weights do not fit {architecture}: {len(faults)} tensors differ"
        more = [f"  … and {len(faults) - SHOWN_FAULTS} more"] if len(faults) > SHOWN_FAULTS else []
        remedies = [*_channel_remedies(found, expected), _remedy(weights, architecture)]
        raise InputError("\n".join([heading, *faults[:SHOWN_FAULTS], *more, *remedies]))


def _misfits(
    found: Mapping[str, Any],
    expected: Mapping[str, Any],
    new: frozenset[str],
    name_of: Callable[[str], str],
) -> list[str]:
    def shape(path: str, leaf: Any) -> str:
        axes = timm_axes(path, len(leaf.shape))
        return str([leaf.shape[axis] for axis in axes])

    missing = [
        f"  {name_of(path)}: not in the weights; the model wants {shape(path, leaf)}"
        for path, leaf in expected.items()
        if path not in found and path not in new
    ]
    extra = [
        f"  {name_of(path)}: {shape(path, leaf)} in the weights; the model has none"
        for path, leaf in found.items()
        if path not in expected
    ]
    misshapen = [
        f"  {name_of(path)}: {shape(path, found[path])} in the weights; the model wants {shape(path, leaf)}"
        for path, leaf in expected.items()
        if path in found and found[path].shape != leaf.shape
    ]
    return missing + extra + misshapen


def _channel_remedies(found: _Leaves, expected: _Leaves) -> list[str]:
    """What to do about a first convolution of images of other channels than the config states."""
    counts = {
        timm_name(path): found.params[path].shape[2] for path in _of_other_channels(found.params, expected)
    }
    return [
        f"{name} is of images of {count} channels, which the weights' config.json does not state: "
        f'with "input_size": [{count}, height, width] in its pretrained_cfg it is fitted to 3'
        for name, count in counts.items()
    ]


def _remedy(weights: Weights, architecture: str) -> str:
    named, arguments = architecture_from(weights.config)
    if named is None:
        return "the file does not say what it is of: set --model.name to the architecture it was made for"
    if named != architecture:
        return f"its config.json says it is of {named}: set --model.name {named}, or name other weights"
    return f"its config.json says it is of {named} with arguments {arguments}: does the model have them, too?"


def _report(
    origin: str,
    found: _Leaves,
    original: _Original,
    new: Sequence[str],
    dropped: Sequence[str],
) -> LoadReport:
    loaded = {path: leaf for path, leaf in found.params.items() if path in original.shapes}
    added = [path for path in found.params if path not in original.shapes]
    leaves = [*loaded.values(), *found.statistics.values()]
    return LoadReport(
        origin=origin,
        loaded=(*map(timm_name, loaded), *map(timm_statistic_name, found.statistics)),
        resampled=tuple(
            timm_name(path) for path, leaf in loaded.items() if leaf.shape != original.shapes[path]
        ),
        of_other_channels=tuple(map(timm_name, original.of_other_channels)),
        of_older_layout=tuple(original.of_older_layout),
        new=tuple(map(timm_name, [*added, *new])),
        dropped=tuple(map(timm_name, dropped)),
        loaded_values=sum(int(np.prod(leaf.shape)) for leaf in leaves),
    )


def _place(
    found: dict[str, Any], place: Callable[[np.ndarray], Any], name_of: Callable[[str], str], origin: str
) -> dict[str, Any]:
    """Places leaf after leaf, taking each out of `found` so that its memory is free for the next.

    Raises:
        InputError: a leaf holds what is no number; training would show it much later, as something else.
    """
    placed = {}
    for path in list(found):
        leaf = np.asarray(found.pop(path), np.float32)
        if not np.isfinite(leaf).all():
            count = leaf.size - int(np.isfinite(leaf).sum())
            raise InputError(
                f"{origin}: {name_of(path)} holds {count:,} values that are not finite; download or copy the "
                "weights again, or take others"
            )
        placed[path] = place(leaf)
    return placed
