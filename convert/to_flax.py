"""Converts weights to a directory with our names and layouts, which --model.pretrained local-dir:DIR reads.

Pickled checkpoints (.pth, .bin) are read here, and only here, with torch's restricted unpickler.
"""

import argparse
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sketch_jax.errors import InputError
from sketch_jax.preprocessing import Preprocessing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a hub name, local-dir:PATH, a .safetensors file, or a pickled .pth, .pt or .bin file",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="new directory to write")
    parser.add_argument(
        "--architecture",
        metavar="NAME",
        help="timm's name, to note in config.json where the source has none",
    )


def run(options: argparse.Namespace) -> int:
    """Writes the directory; returns 0."""
    from convert.pickled import open_pickle
    from sketch_jax.models.architectures import refuse_unknown_hub_name
    from sketch_jax.weights.export import write_flax_directory
    from sketch_jax.weights.names import to_flax
    from sketch_jax.weights.sources import is_pickle_path, open_weights

    source = options.source
    refuse_unknown_hub_name(source)
    weights = open_pickle(Path(source)) if is_pickle_path(source) else open_weights(source)
    config = weights.config
    stated = config.get("architecture")
    if stated is not None and options.architecture not in (None, stated):
        raise InputError(
            f"--architecture {options.architecture}: the config.json of {weights.origin} says {stated}; "
            "leave the option out"
        )
    params, statistics = to_flax(in_current_layout(weights.tensors, config, options.architecture))
    if stated is None and options.architecture is not None:
        refuse_other_architecture(options.architecture, params, weights.origin)
        config = make_config(options.architecture, params)
    write_flax_directory(options.output, params, statistics, config)
    print(f"{options.output}: {len(weights.tensors)} tensors from {weights.origin}")
    if "architecture" not in config:
        print(
            "no architecture is noted, so that runs need --model.name and to-timm refuses it: "
            "--architecture NAME notes one",
            file=sys.stderr,
        )
    return 0


def refuse_other_architecture(name: str, params: dict[str, Any], origin: str) -> None:
    """Refuses weights whose names are not those of an architecture.

    Raises:
        InputError: names are missing or left over, the classifier's apart.
    """
    import jax

    from sketch_jax.models.architectures import create_model, default_image_size
    from sketch_jax.trees import flatten, lies_under

    model = create_model(name, class_count=1, image_size=default_image_size(name))
    template, _ = jax.eval_shape(model.init, jax.random.key(0))
    places = (model.classifier, *model.further_classifiers)
    wanted, found = (
        {path for path in flatten(tree) if not lies_under(path, places)}
        for tree in (template, model.adapt(params))
    )
    if wanted != found:
        raise InputError(
            f"--architecture {name}: {origin} is of another architecture: {len(wanted - found)} names are "
            f"missing, {len(found - wanted)} left over, such as {min(wanted ^ found)}; name the one it is of"
        )


def in_current_layout(
    tensors: Mapping[str, Any], config: Mapping[str, Any], architecture: str | None
) -> Mapping[str, Any]:
    """The tensors by timm's current names, where it is known and supported what they are of.

    Args:
        tensors: by their own names.
        config: of the weights; empty where they have none.
        architecture: timm's name, where the config is silent.
    """
    from sketch_jax.models.architectures import (
        OF_THE_RUN,
        architecture_names,
        bare_name,
        create_model,
        default_image_size,
    )
    from sketch_jax.weights.timm_config import architecture_from

    stated_name, arguments = architecture_from(config)
    name = bare_name(stated_name or architecture or "")
    if name not in architecture_names():
        return tensors
    stated = {key: value for key, value in arguments.items() if key not in OF_THE_RUN}
    model = create_model(name, arguments=stated, class_count=1, image_size=default_image_size(name))
    return model.filter_checkpoint(tensors)


def make_config(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Config of timm for weights that come without one; the class count is read off the classifier.

    Args:
        name: timm's name of the architecture.
        params: by our paths.

    Raises:
        InputError: the architecture is not supported.
    """
    from convert.exportable import describe_for_timm
    from sketch_jax.models.architectures import create_model, default_image_size
    from sketch_jax.trees import flatten

    size = default_image_size(name)
    classifier = create_model(name, class_count=1, image_size=size).classifier
    kernel = flatten(params).get(f"{classifier}/kernel")
    class_count = 0 if kernel is None else kernel.shape[-1]
    return describe_for_timm(name, {}, class_count, (), default_preprocessing(name, size))


def default_preprocessing(name: str, image_size: int) -> Preprocessing:
    """How timm prepares images for an architecture's own weights; without timm, this project's defaults."""
    from sketch_jax.weights.timm_config import preprocessing_from

    if importlib.util.find_spec("timm") is None:
        return Preprocessing(image_size=image_size)
    import timm

    stated = timm.get_pretrained_cfg(name)
    config = {} if stated is None else {"pretrained_cfg": stated.to_dict()}
    return preprocessing_from(config, image_size)
