"""Runs whose files were written before some options came."""

import dataclasses
import json
import re

import pytest
from tuned_runs import do_run

from sketch_jax.errors import InputError
from sketch_jax.losses.options import Focal
from sketch_jax.run.trained_model import find_checkpoint
from sketch_jax.train.checkpoint_seal import read_seal, write_seal

OPTIONS = {"loss": Focal(gamma=1.5)}


def rewrite(directory, change):
    """Changes what stands in every checkpoint of its model."""
    for place in (directory / "checkpoints").iterdir():
        seal = read_seal(place)
        model = json.loads(json.dumps(seal.record["model"]))
        change(model)
        write_seal(place, dataclasses.replace(seal, record={**seal.record, "model": model}))


@pytest.fixture
def begun(tmp_path):
    do_run(tmp_path / "run", **OPTIONS)
    return tmp_path / "run"


def test_a_run_that_was_begun_before_an_option_came_goes_on(begun):
    config = json.loads((begun / "config.json").read_text())
    del config["model"]["head"]["dropout"], config["loss"]["label_smoothing"]
    (begun / "config.json").write_text(json.dumps(config))

    def change(model):
        del model["head"]["dropout"], model["loss"]["label_smoothing"]

    rewrite(begun, change)
    assert "all 8 steps are done already" in do_run(begun, **OPTIONS)
    assert find_checkpoint(begun).record["model"]["loss"]["label_smoothing"] == 0.0


def test_options_that_are_there_no_more_and_other_values_are_still_told(begun):
    def change(model):
        model["loss"]["gamma"] = 2.5

    rewrite(begun, change)
    with pytest.raises(InputError, match=re.escape("model.loss.gamma: 2.5 → 1.5")):
        do_run(begun, **OPTIONS)

    def change_back(model):
        model["loss"]["gamma"] = 1.5
        model["head"]["gone"] = True

    rewrite(begun, change_back)
    with pytest.raises(InputError, match=re.escape("model.head.gone: true → (absent)")):
        do_run(begun, **OPTIONS)
