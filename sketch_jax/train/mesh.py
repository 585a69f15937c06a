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


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Refuses a batch that cannot be split evenly.

    Raises:
        InputError: the batch size is not a multiple of the number of devices.
    """
    devices = mesh.size
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
