import dataclasses
import subprocess
import sys
import typing

import numpy as np
import pytest

from sketch_jax.augment import operation_options
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.strengths import OTHERS, create_strengths
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
        "0 (None for the scale and the stretch) turns one off."
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
        {"stretch": (2.0, 0.5)},
        {"rotation_probability": 0.5},
        {"rotation_probability": 1.5},
        {"shear_degrees": 61.0},
        {"invert": 2.0},
        {"equalize": -1.0},
        {"auto_contrast": 2.0},
        {"grey": 2.0},
        {"edge_channels": 2.0},
        {"saturation": 1.5},
        {"hue": 0.6},
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
    kinds = typing.get_type_hints(Augmentation)
    first = {name: (*typing.get_args(kind), None)[0] for name, kind in kinds.items()}
    records = {
        name: kind() for name, kind in first.items() if dataclasses.is_dataclass(kind) and name not in OTHERS
    }
    assert len(records) == len(operation_options.RANGES)
    plain = [name for name in kinds if name not in records and name not in OTHERS]
    numbers = {name: 0.01 * (1 + place) for place, name in enumerate(plain)}
    numbers |= {"scale": (0.8, 1.2), "stretch": (0.9, 1.1)}
    strengths = create_strengths(Augmentation(**numbers, **records))
    expected = dict(numbers)
    for name, record in records.items():
        expected |= {f"{name}.{field}": value for field, value in vars(record).items()}
    assert set(strengths) == set(expected)
    for name, strength in strengths.items():
        assert strength.dtype == np.float32
        np.testing.assert_array_equal(strength, np.float32(expected[name]))


def test_all_faults_of_a_record_are_refused_in_one_message():
    with pytest.raises(InputError) as refusal:
        operation_options.Elastic(alpha=-1.0, sigma=2.0, probability=1.5)
    assert str(refusal.value) == (
        "Elastic: values outside their ranges (3):\n"
        "  alpha -1.0: must be 0 to 2000\n"
        "  sigma 2.0: must be 3 to 100\n"
        "  probability 1.5: must be 0 to 1\n"
        "None in the record's place turns the operation off."
    )


@pytest.mark.parametrize("name", operation_options.RANGES)
def test_every_field_of_a_record_has_a_range_that_is_held(name):
    record = getattr(operation_options, name)
    ranges = operation_options.RANGES[name]
    assert {field.name for field in dataclasses.fields(record)} == {*ranges, "probability"}
    for field, (low, high) in ranges.items():
        pair = isinstance(getattr(record(), field), tuple)
        kind = type(getattr(record(), field))
        record(**{field: (low, high) if pair else kind(low)})
        for wrong in (low - 1, high + 1) if kind is int else (low - 1.0, high + 1.0, float("nan")):
            with pytest.raises(InputError, match=f"{field} "):
                record(**{field: (wrong, wrong) if pair else wrong})
        if pair:
            with pytest.raises(InputError, match="must rise"):
                record(**{field: (high, low)})
