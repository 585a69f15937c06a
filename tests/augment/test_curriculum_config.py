"""Augmentation as a part of the whole configuration: on disk and on the command line."""

import json

from sketch_jax.augment.curriculum_options import Curriculum, Stage
from sketch_jax.augment.mixing_options import HalfImage, Mixing, OfClasses, SameLabel, SizedBox
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.policies.options import AugMix
from sketch_jax.augment.policies.text import parse_policy
from sketch_jax.class_choice import NamedClasses
from sketch_jax.config import Config, config_from_json, config_to_json
from sketch_jax.main import parse_config

HALF = Mixing(cutmix=HalfImage(split="left_right"), partner=OfClasses(excluded=True))
STAGES = Curriculum(
    stages=(
        Stage(first_epoch=0, image_size=96),
        Stage(
            first_epoch=3, augmentation=Augmentation(policy=parse_policy("rand-m9-mstd0.5-inc1"), mixing=HALF)
        ),
        Stage(
            first_epoch=7,
            augmentation=Augmentation(
                policy=AugMix(depth=2),
                mixing=Mixing(cutmix=SizedBox(), partner=SameLabel(), until_epoch=9.5),
                only_classes=NamedClasses(classes=("cat",)),
            ),
        ),
    )
)


def test_a_curriculum_is_the_same_after_it_was_on_disk():
    config = Config(name="x", augmentation=STAGES)
    assert config_from_json(json.loads(json.dumps(config_to_json(config)))) == config


def test_a_number_of_a_stage_can_be_given_on_the_command_line(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config_to_json(Config(name="x", augmentation=STAGES))))
    flag = "--augmentation.stages.1.augmentation.policy.magnitude"
    config = parse_config(["--config", str(path), flag, "7"])
    assert isinstance(config.augmentation, Curriculum)
    policy = config.augmentation.stages[1].augmentation.policy
    assert policy == parse_policy("rand-m7-mstd0.5-inc1")
    assert config.augmentation.stages[2] == STAGES.stages[2]
