import subprocess
import sys

import numpy as np
import pytest

from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.strengths import create_strengths
from sketch_jax.errors import InputError


def test_all_values_outside_their_ranges_are_refused_in_one_message():
    with pytest.raises(InputError) as refusal:
        Augmentation(horizontal_flip=1.5, rotation_degrees=-1.0, shift=float("nan"), scale=(1.2, 0.8))
    assert str(refusal.value) == (
        "augmentation: values outside their ranges (4):\n"
        "  --augmentation.horizontal-flip 1.5: must be 0 to 1\n"
        "  --augmentation.rotation-degrees -1.0: must be 0 to 180\n"
        "  --augmentation.shift nan: must be 0 to 0.5\n"
        "  --augmentation.scale (1.2, 0.8): must rise, within 0.25 to 4\n"
        "0 (None for the scale) turns one off."
    )


@pytest.mark.parametrize(
    "values",
    [
        {"vertical_flip": -0.1},
        {"brightness": 1.1},
        {"contrast": 1.1},
        {"scale": (0.2, 1.0)},
        {"scale": (1.0, 4.1)},
        {"scale": (float("nan"), 1.0)},
    ],
)
def test_each_range_is_held(values):
    name = next(iter(values)).replace("_", "-")
    with pytest.raises(InputError, match=f"--augmentation.{name}"):
        Augmentation(**values)


def test_the_ends_of_the_ranges_are_allowed():
    Augmentation(horizontal_flip=1.0, rotation_degrees=180.0, shift=0.5, scale=(0.25, 4.0), brightness=1.0)


def test_help_starts_without_jax():
    program = "import sys, sketch_jax.augment.options; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_what_is_off_has_no_strength():
    assert create_strengths(Augmentation()) == {}


def test_every_strength_keeps_its_value():
    options = Augmentation(
        horizontal_flip=0.1,
        vertical_flip=0.2,
        rotation_degrees=15.0,
        shift=0.3,
        scale=(0.8, 1.2),
        brightness=0.4,
        contrast=0.6,
    )
    strengths = create_strengths(options)
    assert set(strengths) == set(vars(options)) - {"policy", "mixing", "only_classes"}
    for name, strength in strengths.items():
        np.testing.assert_array_equal(strength, np.float32(getattr(options, name)))
