"""Where arrays live: batches are split over all devices, parameters are copied to each."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sketch_jax.errors import InputError


def create_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with the axis `data` over the given devices; None: over all devices of the run."""
    return Mesh(np.array(jax.devices() if devices is None else devices), ("data",))


def check_batch_size(batch_size: int, mesh: Mesh, parts: int = 1) -> None:
    """Refuses a batch that cannot be split evenly.

    Args:
        batch_size: images a step, over all devices.
        mesh: of the devices.
        parts: in which a batch is computed, one after the other, each over all devices.

    Raises:
        InputError: the batch size is not a multiple of the number of devices, times the parts.
    """
    devices = mesh.size
    if parts > 1 and batch_size % (devices * parts):
        raise InputError(
            f"--accumulation-steps {parts}: {batch_size} images cannot be split evenly over {parts} parts of "
            f"{devices} devices each; choose a --batch-size that is a multiple of {devices * parts}"
        )
    if batch_size % devices:
        below = batch_size // devices * devices
        near = [str(size) for size in (below, below + devices) if size > 0]
        raise InputError(
            f"--batch-size {batch_size}: cannot be split evenly over {devices} devices; "
            f"choose a multiple of {devices}, such as {' or '.join(near)}"
        )


def over_data(mesh: Mesh) -> NamedSharding:
    """Sharding of a batch: its first axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def on_all(mesh: Mesh) -> NamedSharding:
    """Sharding of parameters: a copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def stage(mesh: Mesh, batch: Any) -> Any:
    """Starts the copy of a host batch to the devices."""
    return jax.device_put(batch, over_data(mesh))
