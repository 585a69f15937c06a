"""Images to make batches of, readers that fail in some way, and questions about batches and processes."""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from sketch_jax.data.files import FileReader
from sketch_jax.data.options import Loading
from sketch_jax.data.pipeline import training_batches
from sketch_jax.data.records import Batch, Examples
from sketch_jax.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(image_size=24, interpolation="bilinear")
COUNT = 50
THREADS = Loading(workers=0, cache="none")


def write_images(folder: Path) -> Examples:
    rng = np.random.default_rng(0)
    names = tuple(f"{row}.{'png' if row % 3 else 'jpg'}" for row in range(COUNT))
    for name in names:
        size = (*rng.integers(20, 60, size=2), 3)
        Image.fromarray(rng.integers(0, 256, size=size, dtype=np.uint8)).save(folder / name)
    labels = np.arange(COUNT) % 7
    labels[11] = -1
    return Examples(
        ids=names,
        labels=labels,
        class_names=tuple("abcdefg"),
        read=FileReader(root=str(folder), paths=names),
    )


@dataclasses.dataclass(frozen=True)
class FaultyReader:
    """Reads as another reader does, except on some rows."""

    read: Callable
    act: Callable
    rows: tuple[int, ...]

    def __call__(self, row: int):
        return self.act(row) if row in self.rows else self.read(row)


def with_faults(examples: Examples, act: Callable, *rows: int) -> Examples:
    return dataclasses.replace(examples, read=FaultyReader(examples.read, act, rows))


def missing_file(row: int) -> Path:
    return Path("/no/such/folder", f"{row}.png")


def strange_failure(row: int):
    raise LookupError(f"the archive has lost row {row}")


def die(row: int):
    os.kill(os.getpid(), signal.SIGKILL)


def report_on_worker(row: int) -> np.ndarray:
    """What a worker process has and may do, as pixels of its image."""
    import jax
    from jax._src import xla_bridge

    jax.numpy.zeros(1)
    facts = [
        multiprocessing.parent_process() is not None,
        [device.platform for device in jax.devices()] == ["cpu"] and list(xla_bridge.backends()) == ["cpu"],
        os.environ["JAX_PLATFORMS"] == "cpu" and os.environ["CUDA_VISIBLE_DEVICES"] == "-1",
        signal.getsignal(signal.SIGTERM) is signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
    ]
    pixels = np.zeros((24, 24, 3), np.uint8)
    pixels[0, : len(facts), 0] = facts
    return pixels


def count_backends(row: int) -> np.ndarray:
    """How many backends there are before anything has asked for one, as pixels."""
    from jax._src import xla_bridge

    return np.full((24, 24, 3), len(xla_bridge._backends), np.uint8)


def assert_same(batches, others) -> None:
    for batch, other in zip(batches, others, strict=True):
        for name, array, other_array in zip(Batch._fields, batch, other, strict=True):
            np.testing.assert_array_equal(array, other_array, err_msg=name)
            assert array.dtype == other_array.dtype


def count_shared_blocks(batch_size: int, preprocessing: Preprocessing) -> int:
    """Blocks of shared memory of the size of such a batch; a test with its own size counts only its own."""
    size = batch_size * preprocessing.image_size**2 * 3
    blocks = 0
    for path in Path("/dev/shm").glob("psm_*"):
        with contextlib.suppress(FileNotFoundError):
            blocks += path.stat().st_size == size
    return blocks


def wait_until(holds: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def train(examples: Examples, rows=None, **options) -> list[Batch]:
    rows = np.arange(COUNT) if rows is None else rows
    settings = {"batch_size": 8, "seed": 3, "loading": THREADS} | options
    return list(training_batches(examples, rows, PREPROCESSING, **settings))
