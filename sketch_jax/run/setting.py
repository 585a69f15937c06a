"""What the stages of one run share; all that can be wrong is found out while it is made."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import optax
from jax.sharding import Mesh
from rich.console import Console

from sketch_jax.config import Config, run_directory
from sketch_jax.data.order import steps_per_epoch
from sketch_jax.optim.options import base_of
from sketch_jax.optim.schedule import create_schedule
from sketch_jax.run.data import Data, load_data
from sketch_jax.train.loop import Plan, best_steps_in_flight
from sketch_jax.train.mesh import check_batch_size, create_mesh, on_all
from sketch_jax.train.start import Start, create_start


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """Values that are settled before the first step."""

    config: Config
    directory: Path
    mesh: Mesh
    key: Any
    """Root of the run's randomness, on all devices."""
    data: Data
    start: Start
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
    check_batch_size(config.batch_size, mesh)
    data = load_data(config, directory, console)
    plan = make_plan(config, len(data.train_rows))
    rate = base_of(config.optimizer).learning_rate
    schedule = create_schedule(config.schedule, rate, plan.steps, plan.steps_per_epoch)
    start = create_start(
        config.model,
        config.preprocessing,
        config.image_size,
        data.dataset.train.class_names,
        jax.random.key(config.seed),
        lambda array: jax.device_put(array, on_all(mesh)),
    )
    return Setting(
        config=config,
        directory=directory,
        mesh=mesh,
        key=jax.device_put(jax.random.key(config.seed), on_all(mesh)),
        data=data,
        start=start,
        plan=plan,
        schedule=schedule,
        console=console,
    )


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
