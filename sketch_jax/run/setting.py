"""What the stages of one run share; all that can be wrong is found out while it is made."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax import numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Float
from rich.console import Console

from sketch_jax.augment.curriculum_options import SizeSpan, stage_sizes
from sketch_jax.augment.pipeline import Augment, create_augment
from sketch_jax.class_choice import ClassChoice, chosen_classes
from sketch_jax.config import Config, run_directory
from sketch_jax.data.order import steps_per_epoch
from sketch_jax.data.sampling import row_weights
from sketch_jax.errors import InputError, refuse_faults
from sketch_jax.losses.create import Objective, create_loss
from sketch_jax.models.model import Model
from sketch_jax.optim.options import base_of
from sketch_jax.optim.schedule import create_schedule
from sketch_jax.optim.schedule_options import Plateau
from sketch_jax.run.data import Data, class_counts, load_data, numbers_of
from sketch_jax.run.phases import Phase, create_phases
from sketch_jax.train.division import keep_frozen_as
from sketch_jax.train.loop import Plan, best_steps_in_flight
from sketch_jax.train.mesh import check_batch_size, create_mesh, on_all
from sketch_jax.train.options import Selection
from sketch_jax.train.start import Start, create_start, model_at_size


class AtSize(NamedTuple):
    """What images of one size are trained with."""

    model: Model
    augment: Augment
    """On the device; scales images to the size first."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """Values that are settled before the first step."""

    config: Config
    directory: Path
    mesh: Mesh
    key: Any
    """Root of the run's randomness, on all devices."""
    data: Data
    row_weights: Float[np.ndarray, " train_rows"] | None
    """How often each training row is drawn; None: all equally often."""
    objective: Objective
    start: Start
    """Parameters that no phase trains are in the type in which they are kept."""
    phases: tuple[Phase, ...]
    sizes: tuple[SizeSpan, ...]
    """Image sizes of the steps."""
    at_size: Mapping[int, AtSize]
    """What each of these image sizes is trained with."""
    plan: Plan
    schedule: optax.Schedule
    console: Console


def prepare(config: Config, console: Console) -> Setting:
    """Loads data and weights; writes nothing.

    Raises:
        InputError: data, weights and configuration do not fit.
    """
    directory = run_directory(config)
    mesh = create_mesh()
    check_batch_size(config.batch_size, mesh, config.accumulation_steps)
    data = load_data(config, directory, console)
    refuse_unmeasured(config, len(data.validation_rows))
    plan = make_plan(config, len(data.train_rows))
    rate = base_of(config.optimizer).learning_rate
    schedule = create_schedule(config.schedule, rate, plan.steps, plan.steps_per_epoch)
    weights = row_weights(config.sampling, data.dataset.train, data.train_rows, data.dataset.tasks)
    objective = create_loss(config.loss, class_counts(data), data.dataset.tasks, numbers_of(data))
    start = load_start(
        config,
        data.dataset.train.class_names,
        lambda array: jax.device_put(array, on_all(mesh)),
        objective.heads,
        objective.ordinal_heads,
    )
    phases = create_phases(config, start, plan.steps_per_epoch)
    sizes = stage_sizes(config.augmentation, start.model.image_size, plan.steps_per_epoch, plan.steps)
    return Setting(
        config=config,
        directory=directory,
        mesh=mesh,
        key=jax.device_put(jax.random.key(config.seed), on_all(mesh)),
        data=data,
        row_weights=weights,
        objective=objective,
        start=keep_frozen(config, start, phases),
        phases=phases,
        sizes=sizes,
        at_size={
            size: create_at_size(config, data, objective, start, plan, size)
            for size in dict.fromkeys(span.image_size for span in sizes)
        },
        plan=plan,
        schedule=schedule,
        console=console,
    )


def create_at_size(
    config: Config, data: Data, objective: Objective, start: Start, plan: Plan, image_size: int
) -> AtSize:
    """The model and the augmentation for images of a size.

    Raises:
        InputError: the architecture takes no images of this size, or a class that is named does not exist.
    """
    class_count = len(data.dataset.train.class_names)
    model = start.model
    if image_size != model.image_size:
        heads, ordinal_heads = objective.heads, objective.ordinal_heads
        try:
            model = model_at_size(config.model, start, image_size, class_count, heads, ordinal_heads)
        except InputError as error:
            raise InputError(f"--augmentation.stages at image size {image_size}: {error}") from error
    choose = functools.partial(marked_classes, data)
    numbers = data.dataset.train.numbers if objective.reads_numbers else None
    augment = create_augment(
        config.augmentation, class_count, plan.steps_per_epoch, image_size, choose=choose, numbers=numbers
    )
    return AtSize(model, augment)


def marked_classes(data: Data, choice: ClassChoice, option: str) -> np.ndarray:
    """Whether each class of the data is of a choice that an option holds.

    Raises:
        InputError: a name is of no class or task.
    """
    names, tasks = data.dataset.train.class_names, data.dataset.tasks
    return chosen_classes(choice, class_counts(data), names, tasks, option=option)


def refuse_unmeasured(config: Config, held_out: int) -> None:
    """Refuses to heed metrics where no images are held out.

    Raises:
        InputError: a metric is heeded.
    """
    heeded: dict[str, Any] = {"--selection.patience": config.selection.patience}
    if config.selection.metric != Selection().metric:
        heeded["--selection.metric"] = config.selection.metric
    if isinstance(config.schedule, Plateau):
        heeded["--schedule.metric"] = config.schedule.metric
    faults = [f"{option} {value}" for option, value in heeded.items() if value is not None and not held_out]
    refuse_faults(
        "nothing is held out to measure on", faults,
        "hold images out, or leave the selection as it is and take a schedule of another kind",
    )  # fmt: skip


def load_start(
    config: Config,
    class_names: Sequence[str],
    place: Callable[[Any], Any],
    heads: Mapping[str, int],
    ordinal_heads: Sequence[str],
) -> Start:
    """The model and the parameters that the run begins with.

    Args:
        config: of the run.
        class_names: of the data.
        place: puts an array where it is used.
        heads: logits of each named head; empty: the model's own head.
        ordinal_heads: names of those whose logits are one score plus a bias each.

    Raises:
        InputError: unknown architecture, or weights that cannot be read or do not fit.
    """
    key = jax.random.key(config.seed)
    changes, size = config.preprocessing, config.image_size
    return create_start(config.model, changes, size, class_names, key, place, heads, ordinal_heads)


def keep_frozen(config: Config, start: Start, phases: Sequence[Phase]) -> Start:
    """The start with parameters that no phase trains in the type in which they are kept."""
    dtype = jnp.dtype(config.model.frozen_precision)
    params = keep_frozen_as(start.params, [phase.division for phase in phases], dtype)
    return dataclasses.replace(start, params=params)


def begin_again(setting: Setting) -> Setting:
    """The same setting with the start's parameters anew: training gives up the buffers of some."""
    names = setting.data.dataset.train.class_names
    start = load_start(
        setting.config,
        names,
        lambda array: jax.device_put(array, on_all(setting.mesh)),
        setting.objective.heads,
        setting.objective.ordinal_heads,
    )
    return dataclasses.replace(setting, start=keep_frozen(setting.config, start, setting.phases))


def make_plan(config: Config, row_count: int) -> Plan:
    """Lengths in steps, from lengths in epochs."""
    an_epoch = steps_per_epoch(row_count, config.batch_size)
    return Plan(
        steps=config.epochs * an_epoch,
        steps_per_epoch=an_epoch,
        batch_size=config.batch_size,
        log_every=config.logging.every_steps,
        save_every=config.checkpointing.every_steps,
        steps_in_flight=best_steps_in_flight(jax.default_backend()),
    )
