"""Numbers and combinations that no run could have are refused where they are stated."""

import pytest

from sketch_jax.augment.curriculum_options import Curriculum, Stage
from sketch_jax.config import Config, config_from_json, config_to_json
from sketch_jax.errors import InputError
from sketch_jax.optim.options import Sam, ScheduleFreeAdamW
from sketch_jax.preprocessing import PreprocessingChanges
from sketch_jax.train.options import Checkpointing, Ema, Logging


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Logging(every_steps=0), "--logging.every-steps 0: must be at least 1"),
        (lambda: Checkpointing(every_steps=0), "--checkpointing.every-steps 0: must be at least 1"),
        (lambda: Checkpointing(keep_last=0), "--checkpointing.keep-last 0: must be at least 1"),
        (lambda: Config(name="x", seed=-1), "--seed -1: must be at least 0"),
        (lambda: Config(name=""), "--name '': must be the name of a directory below runs/"),
        (lambda: Config(name=".."), "--name '..': must be the name of a directory below runs/"),
        (lambda: Config(name="a/b"), "--name 'a/b': must be the name of a directory below runs/"),
        (lambda: Config(name="x", output_dir=""), "--output-dir '': is no directory"),
        (
            lambda: PreprocessingChanges(crop_fraction=0.0),
            "--preprocessing.crop-fraction 0: must be above 0 and at most 1",
        ),
        (
            lambda: PreprocessingChanges(std=(0.0, 0.5, 0.5)),
            "--preprocessing.std 0 0.5 0.5: must be above 0 and at most 1",
        ),
        (
            lambda: PreprocessingChanges(mean=(0.5, 127.0, 0.5)),
            "--preprocessing.mean 0.5 127 0.5: must be in 0 to 1",
        ),
        (
            lambda: Config(
                name="x",
                epochs=10,
                augmentation=Curriculum(stages=(Stage(first_epoch=0), Stage(first_epoch=10))),
            ),
            "--augmentation.stages that would never begin in 10 epochs (1):\n  first_epoch 10\n",
        ),
        (
            lambda: Config(name="x", averaging=Ema(), optimizer=Sam(base=ScheduleFreeAdamW())),
            "--averaging: schedule-free training predicts with a mean of its own",
        ),
    ],
)
def test_what_no_run_could_have_is_refused(build, message):
    with pytest.raises(InputError) as refusal:
        build()
    assert message in str(refusal.value)


def test_a_configuration_that_lacks_a_field_or_a_part_is_refused_with_its_place():
    with pytest.raises(InputError, match=r"^name: is missing; a Config needs it$"):
        config_from_json({})
    value = config_to_json(Config(name="x", preprocessing=PreprocessingChanges(mean=(0.5, 0.5, 0.5))))
    value["preprocessing"]["mean"] = [0.5, 0.5]
    with pytest.raises(InputError, match=r"^preprocessing.mean: \[0.5, 0.5\] "):
        config_from_json(value)
