"""Stages of a curriculum at image sizes of their own (progressive resizing)."""

import shutil

import jax
import numpy as np
import pytest
from command import TINY, final_state, finish, here, metrics
from jax import numpy as jnp

from sketch_jax.models.architectures import create_model
from sketch_jax.trees import flatten

CONFIG = """
from sketch_jax.augment.curriculum_options import Curriculum, Stage
from sketch_jax.augment.options import Augmentation
from sketch_jax.config import Config

def get_config():
    stages = [
        Stage(first_epoch=first, image_size=size, augmentation=Augmentation(horizontal_flip=0.5, shift=0.1))
        for first, size in {stages}
    ]
    return Config(name="sizes", augmentation=Curriculum(stages=tuple(stages)))
"""


def run(directory, stages, *options, command=here):
    """Runs the command at 32 px, in epochs of four steps; writes to `directory / run`."""
    file = directory / "sizes.py"
    file.write_text(CONFIG.format(stages=stages))
    small = [*TINY, "--model.name", "test_vit", "--epochs", "4", "--checkpointing.keep-last", "99"]
    return command(str(file), *small, "--output-dir", str(directory / "run"), *options)


def test_stages_train_at_their_sizes_and_a_run_that_was_stopped_within_one_ends_bit_equal(tmp_path):
    stages = [(0, 16), (1, 48), (2, None), (3, 16)]
    done = run(tmp_path, stages, "--checkpointing.every-steps", "3")
    assert done.returncode == 0, done.stderr
    assert (
        "at 16 px from epoch 1 on, 48 px from epoch 2 on, 32 px from epoch 3 on, 16 px from epoch 4 on; "
        "evaluated at 32 px"
    ) in done.stdout
    for step, size in ((4, 48), (8, 32)):
        assert f"compiling what is trained from step {step} on at {size} px" in done.stdout
    assert "compiling what is trained from step 12" not in done.stdout, "16 px are compiled already"
    straight, lines = final_state(tmp_path / "run"), metrics(tmp_path / "run")
    for step in (7, 8, 9, 10, 11, 12, 13, 14, 15, 16):
        shutil.rmtree(tmp_path / "run" / "checkpoints" / str(step), ignore_errors=True)
    done = run(tmp_path, stages, "--checkpointing.every-steps", "3", command=finish)
    assert done.returncode == 0, done.stderr
    assert "going on from the checkpoint of step 6" in done.stdout
    again = final_state(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, straight, again)
    assert metrics(tmp_path / "run") == lines


def test_the_optimizer_keeps_its_moments_over_a_change_of_size(tmp_path):
    done = run(tmp_path, [(0, 16), (1, 32)], "--epochs", "2", "--schedule.warmup-epochs", "0")
    assert done.returncode == 0, done.stderr
    counts = {
        int(leaf)
        for leaf in jax.tree.leaves(final_state(tmp_path / "run").opt_state)
        if jnp.issubdtype(leaf.dtype, jnp.integer) and leaf.ndim == 0
    }
    assert counts == {8}


@pytest.mark.parametrize(
    ("name", "size", "smaller"),
    [
        ("test_vit", 64, 32),
        ("eva02_tiny_patch14_336", 112, 56),
        ("swin_tiny_patch4_window7_224", 224, 112),
        ("maxvit_pico_rw_256", 64, 32),
        ("test_vit", 32, 64),
    ],
)
def test_traced_parameters_fit_another_size_as_loaded_ones_do(name, size, smaller):
    large, small = (create_model(name, class_count=3, image_size=side) for side in (size, smaller))
    shapes = jax.eval_shape(large.init, jax.random.key(0))[0]
    generator = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: generator.normal(size=leaf.shape).astype(np.float32), shapes)
    loaded, traced = flatten(small.adapt(params)), flatten(jax.jit(small.adapt)(params))
    wanted = flatten(jax.eval_shape(small.init, jax.random.key(0))[0])
    changed = 0
    for path, leaf in wanted.items():
        assert traced[path].shape == loaded[path].shape == leaf.shape, path
        np.testing.assert_allclose(traced[path], loaded[path], atol=2e-6, err_msg=path)
        changed += leaf.shape != flatten(params)[path].shape
    assert changed > 0


def test_a_size_that_the_architecture_does_not_take_is_refused_before_anything_is_written(tmp_path):
    done = run(tmp_path, [(0, 24), (1, None)])
    assert done.returncode == 2
    assert done.stderr == (
        "error: --augmentation.stages at image size 24: image size 24 is not a multiple of 16, the patch "
        "size of test_vit; take 16 or 32\n"
    )
    assert not (tmp_path / "run").exists()
