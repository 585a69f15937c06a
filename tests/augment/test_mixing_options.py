import pytest

from sketch_jax.augment.mixing_options import (
    Mixing,
    Opposite,
    RandomBox,
    Region,
    SameLabel,
    SizedBox,
)
from sketch_jax.errors import InputError


def test_the_defaults_are_deits():
    mixing = Mixing()
    assert (mixing.mixup_alpha, mixing.cutmix, mixing.probability) == (0.8, RandomBox(alpha=1.0), 1.0)
    assert (mixing.switch_probability, mixing.mode, mixing.partner) == (0.5, "batch", Opposite())


def test_all_faults_are_named_in_one_message():
    with pytest.raises(InputError) as refusal:
        Mixing(mixup_alpha=0.0, cutmix=None, probability=2.0, mode="pair", partner=SameLabel())
    assert str(refusal.value) == (
        "mixing: values outside their ranges (3):\n"
        "  --augmentation.mixing.probability 2: must be 0 to 1\n"
        "  --augmentation.mixing.mixup-alpha 0 and no cutmix: one must be on; "
        "--augmentation.mixing.kind None mixes nothing\n"
        "  --augmentation.mixing.mode pair: partners must be Opposite; chosen ones are not mutual\n"
        "set them in these ranges."
    )


@pytest.mark.parametrize(
    ("record", "values", "flag"),
    [
        (Mixing, {"mixup_alpha": -0.8}, "mixup-alpha"),
        (Mixing, {"switch_probability": -1.0}, "switch-probability"),
        (Mixing, {"every_batches": 0}, "every-batches"),
        (Mixing, {"until_epoch": -1.0}, "until-epoch"),
        (RandomBox, {"alpha": 0.0}, "cutmix.alpha"),
        (SizedBox, {"least": 0.8, "most": 0.2}, "cutmix.least"),
        (Region, {"top": 0.5, "bottom": 0.5}, "cutmix.top"),
        (Region, {"top": 0.0, "bottom": 0.5, "left": 0.5, "right": 1.1}, "cutmix.left"),
    ],
)
def test_each_range_is_held(record, values, flag):
    with pytest.raises(InputError, match=f"--augmentation.mixing.{flag}"):
        record(**values)
