"""The start of a run: the model, its preprocessing, and its parameters, pretrained or new."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Key

from sketch_jax.errors import InputError
from sketch_jax.keys import stream
from sketch_jax.models.architectures import (
    bare_name,
    create_model,
    default_image_size,
    family_name,
    refuse_unknown_hub_name,
)
from sketch_jax.models.heads import ONE_TASK, replace_head, replaces_head
from sketch_jax.models.model import Model
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.preprocessing import Preprocessing, PreprocessingChanges, change_preprocessing
from sketch_jax.trees import Tree, count_elements, flatten, lies_under, stack_blocks, unflatten
from sketch_jax.weights.converted import open_converted
from sketch_jax.weights.head_rows import Rows, read_rows, rows_by_name
from sketch_jax.weights.load import first_few, fit, summary
from sketch_jax.weights.sources import Weights
from sketch_jax.weights.timm_config import architecture_from, preprocessing_from


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """What training begins with."""

    model: Model
    arguments: Mapping[str, Any]
    """timm's model arguments, as the weights' config states them."""
    preprocessing: Preprocessing
    compute_dtype: Any
    """Type of the computation."""
    params: Tree
    """In the layout of training: those of blocks may be stacked."""
    statistics: Tree
    weights: Sequence[str]
    """Lines that say what was loaded, newly made and not used."""
    fingerprint: str | None
    """Of the pretrained weights; None: everything is newly made."""


def compute_dtype(precision: str) -> Any:
    """The type of the computation; `auto` is bfloat16 where the device is made for it, float32 on a CPU."""
    if precision == "auto":
        precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(precision)


def create_start(
    options: ModelOptions,
    changes: PreprocessingChanges,
    image_size: int | None,
    class_names: Sequence[str],
    key: Key[Array, ""],
    place: Callable[[Any], Any],
    heads: Mapping[str, int] = ONE_TASK,
    ordinal_heads: Sequence[str] = (),
) -> Start:
    """Builds the model and its parameters.

    Args:
        options: architecture and start weights.
        changes: to the preprocessing that the weights ask for.
        image_size: in pixels; None: what the weights or the architecture ask for.
        class_names: classes of the new head.
        key: of new parameters.
        place: puts an array on the devices.
        heads: logits of each named head; empty: the model's own head with a logit for each class.
        ordinal_heads: names of those whose logits are one score plus a bias each.

    Raises:
        InputError: unknown architecture, or weights that cannot be read or do not fit.
    """
    weights = _open_weights(options)
    config = {} if weights is None else weights.config
    named, arguments = architecture_from(config)
    name = options.name or named
    if name is None:
        known = "there are no weights that would say it" if weights is None else "the weights do not say it"
        raise InputError(f"--model.name is missing, and {known}; name an architecture, such as resnet18")
    if weights is None or not config:
        preprocessing = Preprocessing(image_size=image_size or default_image_size(name))
    else:
        preprocessing = preprocessing_from(config, image_size)
    preprocessing = change_preprocessing(preprocessing, changes)
    with _told_of_another_architecture(options, name, named):
        bare = _create_model(options, name, arguments, len(class_names), preprocessing.image_size)
    model = _with_heads(bare, options, heads, ordinal_heads)
    rows = None if replaces_head(options.head, heads) else rows_by_name(config, class_names)
    other_names: Sequence[str] = ()
    if options.head.rows is not None:
        rows, other_names = read_rows(Path(options.head.rows), class_names)
    with _told_of_another_architecture(options, name, named):
        params, statistics, lines = _values(model, bare.further_classifiers, weights, rows, key, place)
    if options.scan_blocks:
        params = jax.tree.map(place, stack_blocks(params))
    return Start(
        model=model,
        arguments=arguments,
        preprocessing=preprocessing,
        compute_dtype=compute_dtype(options.precision),
        params=params,
        statistics=statistics,
        weights=[*lines, *_rows_text(rows, class_names, other_names), *_unstated(weights)],
        fingerprint=None if weights is None else weights.fingerprint,
    )


def _open_weights(options: ModelOptions) -> Weights | None:
    """The start weights, opened; misspelt names are refused before."""
    if options.name is not None:
        family_name(options.name)
    if options.pretrained is None:
        return None
    refuse_unknown_hub_name(options.pretrained)
    return open_converted(options.pretrained)


def _unstated(weights: Weights | None) -> Sequence[str]:
    """A line that says what weights leave open; none where they have a config, or there are none."""
    if weights is None or weights.config:
        return []
    return [
        "no config.json says how they want their images: prepared by this project's defaults, which "
        "the options --preprocessing.mean, --preprocessing.std and their like change"
    ]


def model_at_size(
    options: ModelOptions,
    start: Start,
    image_size: int,
    class_count: int,
    heads: Mapping[str, int] = ONE_TASK,
    ordinal_heads: Sequence[str] = (),
) -> Model:
    """The model of a start for images of another size; `Model.adapt` fits the start's parameters to it.

    Args:
        options: architecture and start weights.
        start: what training begins with.
        image_size: in pixels.
        class_count: classes of the data.
        heads: as for `create_start`.
        ordinal_heads: as for `create_start`.

    Raises:
        InputError: the architecture takes no images of this size.
    """
    model = _create_model(options, start.model.name, start.arguments, class_count, image_size)
    return _with_heads(model, options, heads, ordinal_heads)


@contextmanager
def _told_of_another_architecture(options: ModelOptions, name: str, named: str | None) -> Iterator[None]:
    """Adds to an error that the weights are of another architecture than the options ask for, if so."""
    try:
        yield
    except InputError as error:
        if named is None or bare_name(named) == bare_name(name):
            raise
        raise InputError(
            f"--model.name {name}: the weights of --model.pretrained {options.pretrained} are of {named}; "
            f"leave the choice to them by --model.name None, or take weights of {name}\n  {error}"
        ) from None


def _create_model(
    options: ModelOptions, name: str, arguments: Mapping[str, Any], class_count: int, image_size: int
) -> Model:
    model = create_model(
        name,
        arguments=arguments,
        class_count=class_count,
        image_size=image_size,
        dropout=options.dropout,
        drop_path=options.drop_path,
        dtype=compute_dtype(options.precision),
        remat=options.remat,
    )
    if options.scan_blocks and not model.has_equal_blocks:
        raise InputError(
            f"--model.scan-blocks True: the blocks of {name} are not alike, so no loop can run them; "
            "leave the option out"
        )
    return model


def _with_heads(
    model: Model, options: ModelOptions, heads: Mapping[str, int], ordinal_heads: Sequence[str]
) -> Model:
    """The model with the head that the options and the loss ask for."""
    if heads and options.head.rows is not None:
        raise InputError(
            "--model.head.rows: rows of a classifier fit one head with a logit for each class, and the loss "
            f"asks for the heads {', '.join(heads)}; leave the option out, or choose another loss"
        )
    if not replaces_head(options.head, heads):
        return model
    return replace_head(
        model, options.head, tasks=heads, ordinal=tuple(ordinal_heads), dropout=options.dropout
    )


def _rows_text(rows: Rows | None, class_names: Sequence[str], other_names: Sequence[str]) -> Sequence[str]:
    """Lines that name the classes without a row, where others have one, and the names that were not used."""
    if rows is None:
        return []
    new = [name for name, row in zip(class_names, rows, strict=True) if row is None]
    parts = {
        "classes that start new": new if len(new) < len(rows) else [],
        "names of --model.head.rows that are of no class": other_names,
    }
    return [f"{what}: {', '.join(first_few(names))}" for what, names in parts.items() if names]


def _values(
    model: Model,
    further_classifiers: Sequence[str],
    weights: Weights | None,
    rows: Rows | None,
    key: Key[Array, ""],
    place: Callable[[Any], Any],
) -> tuple[Tree, Tree, Sequence[str]]:
    """Params, statistics, and what became of the weights, whose further classifiers a new head may lack."""
    template = jax.eval_shape(model.init, key)
    if weights is None:
        if rows is not None:
            raise InputError(
                "--model.head.rows: there are no pretrained weights; set --model.pretrained, too"
            )
        params, statistics = jax.tree.map(place, jax.jit(model.init)(stream(key, "parameters")))
        return params, statistics, [f"none: all {count_elements(params):,} parameters are newly made"]
    fitted = fit(
        weights,
        template,
        architecture=model.name,
        classifier=model.classifier,
        further_classifiers=further_classifiers,
        fresh=jax.tree.map(np.asarray, jax.jit(functools.partial(fresh_classifiers, model))(key)),
        rows=rows,
        filter_checkpoint=model.filter_checkpoint,
        adapt=model.adapt,
        place=place,
    )
    return fitted.params, fitted.statistics, summary(fitted.report)


def fresh_classifiers(model: Model, key: Key[Array, ""]) -> Tree:
    """New values of the classifiers alone, as a run of this key begins; jitted, nothing else is computed."""
    places = (model.classifier, *model.further_classifiers)
    leaves = flatten(model.init(stream(key, "parameters"))[0])
    return unflatten({path: leaf for path, leaf in leaves.items() if lies_under(path, places)})
