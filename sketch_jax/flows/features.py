"""Pooled features of a frozen backbone, computed once and kept on disk for all heads that read them.

A store is a directory `cache_home() / "features" / KEY` with `features.npy`, float16 [rows, views, width]:
view 0 is the image itself, the others are augmented. The key is a hash of everything that the features depend
on, the content of every image included, so that what has changed is never read. A pass that was stopped goes
on after the last batch that is on disk.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import filelock
import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Float16
from rich.progress import Progress, TimeRemainingColumn

from sketch_jax.augment.curriculum_options import stages_of
from sketch_jax.data.fingerprint import content_fingerprint, fingerprint
from sketch_jax.data.pipeline import evaluation_batches
from sketch_jax.data.records import Examples
from sketch_jax.errors import InputError
from sketch_jax.files import cache_home, make_directory, refuse_lack_of_space, write_atomically
from sketch_jax.keys import stream
from sketch_jax.run.setting import Setting
from sketch_jax.serialization import to_json
from sketch_jax.train.mesh import stage as stage_batch
from sketch_jax.train.step import normalize

LAYOUT = 1
"""Changes with the code that makes features: stores of other layouts are not looked at."""

FEATURES_NAME, PROGRESS_NAME, ORIGIN_NAME = "features.npy", "progress.json", "origin.json"
BATCHES_BETWEEN_NOTES = 16
"""After so many batches the rows so far are on disk for good."""

Features = Float16[np.ndarray, "rows views width"]
See = Callable[[int, int, Any, Any], Any]
"""(view, number of the batch, images, labels) -> pooled features, on the devices."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewPlan:
    """A view of every image."""

    stage: int | None
    """Of the augmentation, from 0; None: the image as it is."""
    step: int
    """Of training, at which it is augmented."""


def plan_views(setting: Setting, count: int) -> Sequence[ViewPlan]:
    """The image itself, and so many augmented views for every stage of the augmentation.

    Raises:
        InputError: images are mixed: features of a mixture belong to no image.
    """
    stages = stages_of(setting.config.augmentation)
    if any(stage.augmentation.mixing is not None for stage in stages):
        raise InputError(
            "--augmentation.mixing: features are kept image by image, and mixtures belong to none; set "
            "--augmentation.mixing.kind None"
        )
    per_epoch = setting.plan.steps_per_epoch
    augmented = [
        ViewPlan(stage=number, step=stage.first_epoch * per_epoch)
        for number, stage in enumerate(stages)
        for _ in range(count)
    ]
    return [ViewPlan(stage=None, step=0), *augmented]


def stored_features(
    setting: Setting, examples: Examples, views: Sequence[ViewPlan], what: str
) -> tuple[Features, bool]:
    """The features of all rows, memory-mapped, and whether they were there already.

    Args:
        setting: of a run whose start is the backbone.
        examples: the table.
        views: of each image.
        what: the rows are, for people.

    Raises:
        InputError: images cannot be read, or the disk cannot be written.
    """
    origin = _origin(setting, examples, views)
    key = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:24]
    directory = cache_home() / "features" / key
    make_directory(directory)
    with filelock.FileLock(directory / ".lock"):
        done = _rows_done(directory)
        if done < len(examples):
            write_atomically(directory / ORIGIN_NAME, json.dumps(origin, indent=1))
            _fill(setting, examples, views, directory, done, what)
    return np.load(directory / FEATURES_NAME, mmap_mode="r"), done == len(examples)


def _origin(setting: Setting, examples: Examples, views: Sequence[ViewPlan]) -> dict[str, Any]:
    """All that the features depend on."""
    start, config = setting.start, setting.config
    augmented = any(view.stage is not None for view in views)
    return {
        "layout": LAYOUT,
        "model": start.model.name,
        "arguments": json.loads(json.dumps(dict(start.arguments), default=str)),
        "weights": start.fingerprint or f"new, seed {config.seed}",
        "precision": [str(start.compute_dtype), config.model.frozen_precision],
        "preprocessing": to_json(start.preprocessing),
        "jpeg_scaling": config.loading.jpeg_scaling,
        "images": content_fingerprint(examples),
        "augmentation": to_json(config.augmentation) if augmented else None,
        "labels": fingerprint(examples) if augmented else None,
        "views": [[view.stage, view.step] for view in views],
        "seed": config.seed if augmented else None,
        "batch_size": config.batch_size if augmented else None,
    }


def _rows_done(directory: Path) -> int:
    path = directory / PROGRESS_NAME
    return (
        json.loads(path.read_text())["rows"]
        if path.is_file() and (directory / FEATURES_NAME).is_file()
        else 0
    )


def _fill(
    setting: Setting, examples: Examples, views: Sequence[ViewPlan], directory: Path, done: int, what: str
) -> None:
    """Computes the rows from `done` on."""
    shape = len(examples), len(views), setting.start.model.feature_width
    path = directory / FEATURES_NAME
    if not done:
        refuse_lack_of_space(directory, 2 * int(np.prod(shape)))
        np.lib.format.open_memmap(path, "w+", np.float16, shape).flush()
    features = np.lib.format.open_memmap(path, "r+")
    see, size = make_see(setting, views), setting.config.batch_size
    batches = evaluation_batches(
        examples, np.arange(done, len(examples)), setting.start.preprocessing,
        batch_size=size, loading=setting.config.loading,
    )  # fmt: skip
    columns = [*Progress.get_default_columns()[:-1], TimeRemainingColumn()]
    with Progress(*columns, console=setting.console, transient=True) as bar:
        task = bar.add_task(f"features of {what} images", total=len(examples), completed=done)
        for number, batch in enumerate(batches, done // size):
            images, labels = stage_batch(setting.mesh, (batch.images, batch.labels))
            seen = [see(view, number, images, labels) for view in range(len(views))]
            rows, computed = batch.rows[batch.mask], np.stack(jax.device_get(seen), axis=1)[batch.mask]
            if not np.isfinite(computed).all():
                raise InputError(
                    f"features of {setting.start.model.name} for {examples.ids[rows[0]]!r} or the next ones "
                    "are no numbers, or beyond 65,504, the largest that is kept; take other weights"
                )
            features[rows] = computed
            bar.update(task, completed=int(rows[-1]) + 1)
            if (number + 1) % BATCHES_BETWEEN_NOTES == 0:
                _note(features, directory, int(rows[-1]) + 1)
    _note(features, directory, len(examples))


def _note(features: Any, directory: Path, rows: int) -> None:
    features.flush()
    write_atomically(directory / PROGRESS_NAME, json.dumps({"rows": rows}))


def make_see(setting: Setting, views: Sequence[ViewPlan]) -> See:
    """Builds (view, number of the batch, images, labels) -> pooled float16 features.

    Each stage of the augmentation is a program of its own where its image size is.
    """
    start = setting.start
    key = stream(jax.random.key(setting.config.seed), "features")
    sizes = {span.first_step: span.image_size for span in setting.sizes}

    def pooled(model: Any, params: Any, statistics: Any, pixels: Any) -> Any:
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)  # frozen ones may be bfloat16
        inputs = normalize(pixels, start.preprocessing)
        features, _ = model.read_features(params, statistics, inputs, None, False)
        return model.pool(params, features).astype(jnp.float16)

    @jax.jit
    def see_plain(params: Any, statistics: Any, images: Any) -> Any:
        return pooled(start.model, params, statistics, jnp.asarray(images, jnp.float32) / 255.0)

    def make_augmented(size: int) -> Any:
        at_size = setting.at_size[size]

        @jax.jit
        def see_augmented(params: Any, statistics: Any, key: Any, step: Any, images: Any, labels: Any) -> Any:
            fitted = params if size == start.model.image_size else at_size.model.adapt(params)
            pixels, _ = at_size.augment(key, step, images, labels, jnp.ones(len(images), bool))
            return pooled(at_size.model, fitted, statistics, pixels)

        return see_augmented

    augmented = {size: make_augmented(size) for size in set(sizes.values())}

    def see(view: int, number: int, images: Any, labels: Any) -> Any:
        plan = views[view]
        if plan.stage is None:
            return see_plain(start.params, start.statistics, images)
        size = sizes[max(first for first in sizes if first <= plan.step)]
        drawn = stream(stream(key, "view", view), "batch", number)
        step = jnp.asarray(plan.step, jnp.int32)
        return augmented[size](start.params, start.statistics, drawn, step, images, labels)

    return see
