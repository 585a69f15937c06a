import dataclasses
import math
from typing import get_args

import pytest

from sketch_jax.config import Config, config_from_json, config_to_json
from sketch_jax.errors import InputError
from sketch_jax.main import parse_config
from sketch_jax.optim.options import AdamW, BaseOptimizer, Descent, Lion, Sam, ScheduleFreeAdamW, Sgd
from sketch_jax.optim.schedule_options import (
    Constant,
    MultiStep,
    OneCycle,
    Plateau,
    Schedule,
    Step,
    WarmRestarts,
    WarmupCosine,
)


@pytest.mark.parametrize(
    ("record", "numbers", "message"),
    [
        (AdamW, {"learning_rate": -1.0}, "--optimizer.learning-rate -1: must be above 0"),
        (AdamW, {"learning_rate": math.nan}, "--optimizer.learning-rate nan: must be above 0"),
        (AdamW, {"clip_norm": 0.0}, "--optimizer.clip-norm 0: must be above 0"),
        (AdamW, {"weight_decay": -0.1}, "--optimizer.weight-decay -0.1: must be at least 0"),
        (AdamW, {"beta2": 1.0}, "--optimizer.beta2 1: must be at least 0 and below 1"),
        (Sgd, {"momentum": 1.0}, "--optimizer.momentum 1: must be at least 0 and below 1"),
        (ScheduleFreeAdamW, {"beta1": 0.0}, "--optimizer.beta1 0: must be above 0"),
        (Sam, {"rho": 0.0}, "--optimizer.rho 0: must be above 0"),
        (
            Lion,
            {"clip_norm": 1.0, "clip_value": 0.5},
            r"--optimizer.clip-norm 1 and --optimizer.clip-value 0.5: at most one of them can be given; "
            "set the others to None",
        ),
        (WarmupCosine, {"warmup_epochs": -1.0}, "--schedule.warmup-epochs -1: must be at least 0"),
        (WarmupCosine, {"final_learning_rate": math.inf}, "--schedule.final-learning-rate inf: must be"),
        (
            Constant,
            {"warmup_epochs": 1.0, "warmup_steps": 5},
            r"--schedule.warmup-epochs 1 and --schedule.warmup-steps 5: exactly one of them must be given; "
            "set the other to None",
        ),
        (
            Step,
            {"every_epochs": None},
            r"--schedule.every-epochs and --schedule.every-steps: exactly one of them must be given; "
            "set one to a number",
        ),
        (MultiStep, {"at_epochs": (0.0, 2.0)}, "--schedule.at-epochs 0: must be above 0"),
        (MultiStep, {"at_epochs": (3.0, 2.0)}, "--schedule.at-epochs 3 2: must ascend; sort them, each once"),
        (WarmRestarts, {"cycle_growth": 0.5}, "--schedule.cycle-growth 0.5: must be at least 1"),
        (OneCycle, {"rise": 1.0}, "--schedule.rise 1: must be above 0 and below 1"),
        (Plateau, {"factor": 1.0}, "--schedule.factor 1: must be above 0 and below 1"),
        (Plateau, {"patience": -1}, "--schedule.patience -1: must be at least 0"),
    ],
)
def test_numbers_out_of_their_ranges_are_refused(record, numbers, message):
    with pytest.raises(InputError, match=message):
        record(**numbers)


OPTIMIZERS = [*get_args(BaseOptimizer), Sam]


@pytest.mark.parametrize("record", [*OPTIMIZERS, *get_args(Schedule)])
def test_every_optimizer_and_schedule_goes_through_json_unchanged(record):
    kind = "optimizer" if record in OPTIMIZERS else "schedule"
    config = dataclasses.replace(Config(name="a"), **{kind: record()})
    assert config_from_json(config_to_json(config)) == config


def test_sam_keeps_its_base_through_json():
    config = Config(name="a", optimizer=Sam(base=Sgd(momentum=0.5, clip_norm=2.0), rho=0.1))
    assert config_from_json(config_to_json(config)) == config


HEADER = """
from sketch_jax.config import Config
from sketch_jax.optim.options import *
from sketch_jax.optim.schedule_options import *

def get_config():
    return Config(name="a", """


def parsed(tmp_path, fields, *options):
    path = tmp_path / "config.py"
    path.write_text(f"{HEADER}{fields})\n")
    return parse_config(["--config", str(path), *options])


def test_the_command_line_overrides_fields_of_whichever_kind_the_file_chose(tmp_path):
    fields = "optimizer=Sam(base=Sgd()), schedule=MultiStep(at_epochs=(2.0, 3.0))"
    options = ["--optimizer.rho", "0.1", "--optimizer.base.momentum", "0.5"]
    options += ["--optimizer.base.clip-norm", "1", "--schedule.at-epochs", "4", "6", "8"]
    config = parsed(tmp_path, fields, *options)
    assert config.optimizer == Sam(base=Sgd(momentum=0.5, clip_norm=1.0), rho=0.1)
    assert config.schedule == MultiStep(at_epochs=(4.0, 6.0, 8.0))


def test_durations_are_given_in_steps_by_taking_back_the_epochs(tmp_path):
    options = ["--schedule.warmup-epochs", "None", "--schedule.warmup-steps", "30"]
    config = parsed(tmp_path, "optimizer=Lion()", *options)
    assert config.schedule == WarmupCosine(warmup_epochs=None, warmup_steps=30)
    with pytest.raises(InputError, match="exactly one of them must be given; set the other to None"):
        parsed(tmp_path, "", "--schedule.warmup-steps", "30")


def test_every_optimizer_has_the_common_fields():
    common = {field.name for field in dataclasses.fields(Descent)}
    assert {"learning_rate", "weight_decay", "clip_norm"} <= common
    for record in get_args(BaseOptimizer):
        assert common <= {field.name for field in dataclasses.fields(record)}
