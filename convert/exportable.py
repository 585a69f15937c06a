"""What can be converted to timm's layout: a run's best checkpoint, or a directory of converted weights."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sketch_jax.errors import InputError
from sketch_jax.models.architectures import OF_THE_RUN, create_model, is_built_for_a_size
from sketch_jax.preprocessing import Preprocessing
from sketch_jax.run.trained_model import TrainedModel, load_trained
from sketch_jax.serialization import from_json
from sketch_jax.train.run_directory import CHECKPOINTS_NAME
from sketch_jax.trees import Tree, flatten
from sketch_jax.weights.names import timm_name, to_flax
from sketch_jax.weights.sources import DIRECTORY_PREFIX, open_weights
from sketch_jax.weights.timm_config import timm_config


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Exportable:
    """A model's values and timm's config for them."""

    params: Tree
    statistics: Tree
    config: Mapping[str, Any]
    origin: str
    """For people: the checkpoint or directory."""


def open_exportable(source: Path) -> Exportable:
    """Reads a run's best checkpoint, or a directory that to-flax made.

    Raises:
        InputError: it is neither, has no checkpoint yet, or does not say its architecture.
    """
    if (source / CHECKPOINTS_NAME).is_dir():
        return _from_run(source)
    if not source.is_dir():
        raise InputError(f"{source}: no such directory; name a run's, or one that to-flax made")
    if (source / "run.json").is_file():
        raise InputError(f"{source}: this run has no checkpoint yet; let it reach the end of an epoch")
    weights = open_weights(f"{DIRECTORY_PREFIX}{source}")
    if "architecture" not in weights.config:
        raise InputError(
            f"{source}: config.json does not say the architecture, without which timm cannot load it; "
            "convert with `python -m convert to-flax SOURCE --architecture NAME --output DIR`"
        )
    params, statistics = to_flax(weights.tensors)
    return Exportable(params=params, statistics=statistics, config=weights.config, origin=weights.origin)


def describe_for_timm(
    name: str,
    arguments: Mapping[str, Any],
    class_count: int,
    class_names: tuple[str, ...],
    preprocessing: Preprocessing,
) -> dict[str, Any]:
    """Config of timm for a model of ours; arguments as for `timm_config` and `create_model`."""
    model = create_model(
        name, arguments=arguments, class_count=class_count, image_size=preprocessing.image_size
    )
    return timm_config(
        architecture=model.name,
        model_arguments={key: value for key, value in arguments.items() if key not in OF_THE_RUN},
        class_count=class_count,
        class_names=class_names,
        classifiers=(model.classifier, *model.further_classifiers),
        feature_width=model.feature_width,
        preprocessing=preprocessing,
        fixed_image_size=is_built_for_a_size(model.name),
    )


def refuse_missing_classifiers(classifiers: str | list[str], trained: TrainedModel) -> None:
    """Refuses a model whose new head stands in the place of more than timm's model can do without.

    Raises:
        InputError: it did.
    """
    names = {timm_name(path) for path in flatten(trained.params)}
    wanted = [classifiers] if isinstance(classifiers, str) else classifiers
    missing = [name for name in wanted if f"{name}.weight" not in names]
    if missing:
        raise InputError(
            f"{trained.origin}: its new head stands in the place of {', '.join(missing)}, which timm's model "
            "cannot do without; train with --model.head.start default to export to timm"
        )


def _from_run(directory: Path) -> Exportable:
    trained = load_trained(directory)
    record = trained.record
    if record["model"].get("head", {}).get("hidden"):
        raise InputError(
            f"{trained.origin}: its head has hidden layers, and timm's models end in one linear map; train "
            "with --model.head.hidden left out to export to timm"
        )
    heads = record["model"].get("heads", {})
    if heads:
        raise InputError(
            f"{trained.origin}: has heads {', '.join(heads)} of its loss, and timm's models end in one "
            "linear map with a logit for each class; train with another --loss to export to timm"
        )
    class_names = tuple(record["class_names"])
    config = describe_for_timm(
        record["model"]["name"],
        record["model"]["arguments"],
        len(class_names),
        class_names,
        from_json(Preprocessing, record["preprocessing"]),
    )
    refuse_missing_classifiers(config["pretrained_cfg"]["classifier"], trained)
    return Exportable(
        params=trained.params, statistics=trained.statistics, config=config, origin=trained.origin
    )
