"""The model's part of the configuration."""

import subprocess
import sys

import pytest

from sketch_jax.errors import InputError
from sketch_jax.models.model_options import ModelOptions


def test_reading_options_loads_no_array_library():
    code = (
        "import sys, sketch_jax.models.model_options; sys.exit('jax' in sys.modules or 'flax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rates_that_are_no_probabilities_are_refused_all_at_once():
    with pytest.raises(InputError) as refusal:
        ModelOptions(dropout=-0.1, drop_path=1.0)
    assert str(refusal.value) == (
        "rates of the model must be at least 0 and below 1 (2):\n"
        "  --model.dropout -0.1\n"
        "  --model.drop-path 1.0\n"
        "set them in that range"
    )
