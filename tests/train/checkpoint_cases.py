"""States and small steps that the tests of checkpoints share."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
from jax import numpy as jnp

from sketch_jax.train.checkpoints import Checkpoints
from sketch_jax.train.packing import PACKED_BELOW_BYTES

ROOT = Path(__file__).parents[2]
LARGE = PACKED_BELOW_BYTES // 4 + 3


def create_tree(seed: int, large: int = LARGE) -> dict:
    """A state with every kind of leaf: packed and not, all types, scalars, empty subtrees, optax's tuples."""
    numbers = np.random.default_rng(seed)
    params = {
        "kernel": jnp.asarray(numbers.normal(size=(3, 5)), jnp.float32),
        "table": jnp.asarray(numbers.normal(size=large), jnp.float32),
        "token": jnp.asarray(numbers.normal(size=7), jnp.bfloat16),
        "scale": jnp.asarray(numbers.normal(), jnp.float32),
    }
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.linear_schedule(1.0, 0.0, 10)))
    gradients = jax.tree.map(lambda leaf: leaf * 0.5, params)
    _, opt_state = optimizer.update(gradients, optimizer.init(params), params)
    return {
        "step": jnp.asarray(seed, jnp.int32),
        "trainable": params,
        "statistics": {},
        "flags": jnp.asarray(numbers.integers(0, 2, 9), bool),
        "pixels": jnp.asarray(numbers.integers(0, 256, (2, 3)), jnp.uint8),
        "odd": jnp.asarray([-0.0, np.inf, np.nan, 1e-42], jnp.float32),
        "none": jnp.zeros((0, 4), jnp.float32),
        "opt_state": opt_state,
    }


def assert_same_bits(left, right) -> None:
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def abstract(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def refuse_reports(text: str) -> None:
    raise AssertionError(f"nothing was to be reported, but: {text}")


def save_steps(directory: Path, metrics: dict[int, float | None], **options) -> None:
    with Checkpoints(directory, report=refuse_reports, **options) as checkpoints:
        for step, metric in metrics.items():
            checkpoints.save(step, {"value": jnp.full(4, step)}, extra={"position": step}, metric=metric)


def restored_step(directory: Path, best: bool = False) -> tuple[int | None, list[str]]:
    said: list[str] = []
    with Checkpoints(directory, report=said.append) as checkpoints:
        template = {"value": jax.ShapeDtypeStruct((4,), jnp.int32)}
        found = (checkpoints.restore_best if best else checkpoints.restore_latest)(template)
    if found is not None:
        np.testing.assert_array_equal(found.state["value"], np.full(4, found.step))
        assert found.extra == {"position": found.step}
    return (found and found.step), said


def directories(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def run_script(script: str, *arguments: object, devices: int = 1) -> str:
    """Runs Python in a process of its own and returns what it printed; nothing else may be printed."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def largest_of_data(checkpoint: Path) -> Path:
    return max(checkpoint.rglob("d/*"), key=lambda path: path.stat().st_size)


def truncate(checkpoint: Path) -> None:
    path = largest_of_data(checkpoint)
    os.truncate(path, path.stat().st_size // 2)


def value_of(step: int, size: int = 400_000) -> dict:
    return {"value": jnp.full(size, step, jnp.float32), "small": jnp.full(8, step)}
