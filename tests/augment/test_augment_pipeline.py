import os
import subprocess
import sys

import jax
import numpy as np
from as_runs import AS_RUNS
from jax import numpy as jnp

from sketch_jax.augment.mixing_options import Mixing
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.pipeline import augment_batch, create_augment
from sketch_jax.augment.plan import create_plan, plan_at
from sketch_jax.augment.policies.options import RandAugment

ALL = Augmentation(
    horizontal_flip=0.5,
    vertical_flip=0.5,
    rotation_degrees=15.0,
    shift=0.1,
    scale=(0.8, 1.2),
    brightness=0.2,
    contrast=0.2,
    mixing=Mixing(),
)
CLASSES = 5
augment_all_at = jax.jit(create_augment(ALL, CLASSES, 10))


def augment_all(key, *batch):
    return augment_all_at(key, 0, *batch)


def batch(count: int = 6, height: int = 20, width: int = 28):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return images, np.arange(count, dtype=np.int32) % CLASSES, np.ones(count, bool)


def test_nothing_on_gives_the_images_and_one_hot_targets():
    images, labels, mask = batch()
    augmented, targets = jax.jit(create_augment(Augmentation(), CLASSES, 10))(
        jax.random.key(0), 0, images, labels, mask
    )
    np.testing.assert_allclose(augmented, images / 255.0, atol=1e-7)
    np.testing.assert_array_equal(targets, np.eye(CLASSES)[labels])


def test_everything_on_stays_within_the_range_of_images_and_keeps_the_shape():
    images, labels, mask = batch()
    augmented, targets = augment_all(jax.random.key(0), images, labels, mask)
    assert augmented.shape == images.shape
    assert augmented.dtype == targets.dtype == jnp.float32
    assert float(augmented.min()) >= 0.0
    assert float(augmented.max()) <= 1.0
    np.testing.assert_allclose(targets.sum(-1), 1.0, atol=1e-6)


def test_an_unknown_label_has_no_target():
    images, labels, mask = batch()
    labels[2], mask[2] = -1, False
    _, targets = augment_all(jax.random.key(0), images, labels, mask)
    np.testing.assert_array_equal(targets[2], 0.0)
    np.testing.assert_array_equal(targets[3], np.eye(CLASSES)[labels[3]])
    np.testing.assert_allclose(np.delete(targets.sum(-1), 2), 1.0, atol=1e-6)


def test_the_same_key_gives_the_same_batch_and_another_key_another():
    first, again, other = (augment_all(jax.random.key(seed), *batch()) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any((1, 2, 3)).all()


def test_images_of_a_batch_get_draws_of_their_own():
    images, labels, mask = batch()
    same = np.broadcast_to(images[:1], images.shape)
    augmented, _ = augment_all(jax.random.key(0), same, labels, mask)
    assert len({image.tobytes() for image in np.asarray(augmented)}) == len(images)


def test_numbers_of_rows_are_mixed_as_the_labels_are():
    images, labels, mask = batch()
    numbers = np.array([0, 10, 20, 30, 40, 0, 0], np.float32)
    mixing = Augmentation(mixing=Mixing(mixup_alpha=0.8, cutmix=None))
    augment = jax.jit(create_augment(mixing, CLASSES, 10, numbers=numbers))
    _, targets = augment(jax.random.key(1), 0, images, labels, mask, jnp.asarray([0, 1, 2, 3, 4, 5]))
    assert targets.shape == (6, CLASSES + 1)
    # A row's number is ten times its class, so the mixed number is ten times the mixed class.
    np.testing.assert_allclose(targets[:, -1], targets[:, :-1] @ (10.0 * np.arange(CLASSES)), rtol=1e-5)
    assert (np.asarray(targets[:, :-1]).max(1) < 0.99).any()


def test_other_strengths_need_no_new_compilation():
    traces = []

    def augment(plan, layouts):
        traces.append(plan)
        rows = map(jnp.asarray, batch())
        images, labels, mask = rows
        targets = jax.nn.one_hot(labels, CLASSES)
        return augment_batch(jax.random.key(0), 0, plan, layouts, images, labels, targets, mask)

    def plan_of(degrees: float, share: float, alpha: float, magnitude: float):
        options = Augmentation(
            rotation_degrees=degrees,
            brightness=share,
            mixing=Mixing(mixup_alpha=alpha),
            policy=RandAugment(magnitude=magnitude),
        )
        layouts, plan, first_steps = create_plan(options, CLASSES, 10)
        return plan_at(plan, first_steps, 0), layouts

    jitted = jax.jit(augment, static_argnums=1)
    weak, strong = (jitted(*plan_of(*values)) for values in ((1.0, 0.01, 0.1, 1.0), (90.0, 0.9, 2.0, 9.0)))
    assert len(traces) == 1
    assert (weak[0] != strong[0]).any((1, 2, 3)).all()


def test_what_is_off_is_not_traced():
    images, labels, mask = batch()

    def operations(options: Augmentation) -> str:
        augment = create_augment(options, CLASSES, 10)
        return str(jax.make_jaxpr(augment)(jax.random.key(0), 0, images, labels, mask))

    nothing = operations(Augmentation())
    for operation in ("random_bits", "random_gamma", "gather", "reduce_sum"):
        assert operation not in nothing
    assert "gather" not in operations(Augmentation(brightness=0.2))
    assert "random_gamma" not in operations(Augmentation(rotation_degrees=15.0))
    assert "random_gamma" in operations(Augmentation(mixing=Mixing()))
    assert "scatter" not in operations(Augmentation(mixing=Mixing()))
    assert "scatter" in operations(Augmentation(policy=RandAugment()))


def test_a_cpu_resamples_in_one_step_whatever_reads_the_result():
    program = augment_all_at.lower(jax.random.key(0), 0, *batch()).compile(AS_RUNS).as_text()
    assert program.count(" conditional(") == 1
    pixels = 6 * 20 * 28
    taps = [line for line in program.splitlines() if " gather(" in line and f"u8[{pixels}," in line]
    assert len(taps) == 4


SHARDED = """
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from sketch_jax.augment.mixing_options import Mixing
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.pipeline import create_augment

assert len(jax.devices()) == 8
options = Augmentation(
    horizontal_flip=0.5, rotation_degrees=15.0, shift=0.1, scale=(0.8, 1.2), brightness=0.2, contrast=0.2,
    mixing=Mixing(mode="element"),
)
generator = np.random.default_rng(0)
images = generator.integers(0, 256, (16, 24, 32, 3), dtype=np.uint8)
labels, mask = np.arange(16, dtype=np.int32) % 5, np.arange(16) != 3
augment = jax.jit(create_augment(options, 5, 10))
sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
alone, shared = (
    augment(jax.random.key(0), 0, *jax.device_put((images, labels, mask), place))
    for place in (jax.devices()[0], sharding)
)
assert shared[0].sharding.is_equivalent_to(sharding, 4)
for one, eight in zip(alone, shared):
    np.testing.assert_allclose(one, eight, rtol=0, atol=1e-6)
batch = jax.device_put((images, labels, mask), sharding)
assert "all-gather" not in augment.lower(jax.random.key(0), 0, *batch).compile().as_text()
"""


def test_eight_devices_give_what_one_gives_and_gather_no_batch():
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    run = subprocess.run(
        [sys.executable, "-c", SHARDED], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
