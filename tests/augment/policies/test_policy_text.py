import pytest

from sketch_jax.augment.policies.options import (
    AugMix,
    AutoAugment,
    RandAugment,
    ThreeAugment,
    TrivialAugmentWide,
)
from sketch_jax.augment.policies.text import parse_policy
from sketch_jax.errors import InputError


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("rand-m9-mstd0.5-inc1", RandAugment()),
        ("rand-m7-n3-p0.7-mstd1-mmax15-inc1-t3aw", None),
        ("augmix-m5-w4-d2", AugMix(severity=5.0, width=4, depth=2)),
        ("augmix-a0.5-mstd0", AugMix(alpha=0.5, magnitude_std=0.0)),
        ("original-mstd0.5", AutoAugment(magnitude_std=0.5)),
        ("v0r", AutoAugment(variant="v0r")),
        ("3a", ThreeAugment()),
        ("ta_wide", TrivialAugmentWide()),
    ],
)
def test_timms_strings_become_records(text, policy):
    if policy is None:
        policy = RandAugment(
            magnitude=7.0,
            operations=3,
            probability=0.7,
            magnitude_std=1.0,
            highest_magnitude=15.0,
            increasing=True,
            operation_set="3aw",
        )
    assert parse_policy(text) == policy


@pytest.mark.parametrize("text", ["rand-m11", "rand-m15-mstd0.5-inc1", "rand-mmax12-m40-mstd0"])
def test_a_magnitude_that_timm_always_clips_is_read_as_the_highest(text):
    timm = pytest.importorskip("timm.data.auto_augment")
    ours = parse_policy(text)
    operation = timm.rand_augment_transform(text, {}).ops[0]
    # The least that it draws in a million: six deviations below.
    least = operation.magnitude - 6 * operation.magnitude_std
    assert min(least, operation.magnitude_max or 10) == ours.magnitude == ours.highest_magnitude
    assert ours.magnitude_std == 0.0
    assert ours.increasing == ("inc1" in text)


@pytest.mark.parametrize("text", ["rand", "rand-m9-mstd0.5-inc1", "rand-mstd101-n3", "rand-mmax12-m12-p0.3"])
def test_timm_reads_the_same_numbers(text):
    timm = pytest.importorskip("timm.data.auto_augment")
    theirs, ours = timm.rand_augment_transform(text, {}), parse_policy(text)
    operation = theirs.ops[0]
    assert (theirs.num_layers, operation.prob, operation.magnitude) == (
        ours.operations,
        ours.probability,
        ours.magnitude,
    )
    uniform = operation.magnitude_std == float("inf")
    assert ours.magnitude_std == (None if uniform else operation.magnitude_std)
    assert ours.highest_magnitude == (operation.magnitude_max or 10)
    assert ours.increasing == any(op.name == "ColorIncreasing" for op in theirs.ops)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "rnad-m9",
            "policy 'rnad-m9': 'rnad' is none of rand, augmix, original, originalr, v0, v0r, 3a, ta_wide; "
            "did you mean 'rand'?",
        ),
        (
            "rand-mst0.5",
            "policy 'rand-mst0.5': section 'mst0.5': each section is one of m, n, p, mstd, mmax, inc and a "
            "number; did you mean 'mstd'?",
        ),
        (
            "rand-m9-tweight",
            "policy 'rand-m9-tweight': tweight is none of tall, tweights, t3a, t3aw; did you mean 'weights'?",
        ),
        (
            "rand-n1.5",
            "policy 'rand-n1.5': section 'n1.5': '1.5' does not fit (invalid literal for int() with base 10: "
            "'1.5')",
        ),
        ("3a-m9", "policy '3a-m9': section 'm9': it takes none"),
        (
            "rand-m11-mstd2",
            "RandAugment: values outside their ranges (1):\n"
            "  --augmentation.policy.magnitude 11: must be 0 to 10\n"
            "set them in these ranges.",
        ),
    ],
)
def test_what_timm_would_not_know_is_refused(text, message):
    with pytest.raises(InputError) as refusal:
        parse_policy(text)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("record", "values"),
    [
        (AutoAugment, {"magnitude_std": -1.0}),
        (RandAugment, {"magnitude_std": float("nan")}),
        (RandAugment, {"highest_magnitude": 0.0, "magnitude": 0.0}),
        (RandAugment, {"operations": 0}),
        (RandAugment, {"probability": 1.1}),
        (TrivialAugmentWide, {"bins": 1}),
        (AugMix, {"severity": 11.0}),
        (AugMix, {"width": 0}),
        (AugMix, {"depth": 0}),
        (AugMix, {"alpha": 0.0}),
        (AugMix, {"magnitude_std": -0.1}),
        (ThreeAugment, {"color_jitter": 1.1}),
        (ThreeAugment, {"solarize_threshold": 257}),
        (ThreeAugment, {"blur_radius": (1.0, 0.5)}),
    ],
)
def test_each_range_is_held(record, values):
    name = next(iter(values)).replace("_", "-")
    with pytest.raises(InputError, match=f"--augmentation.policy.{name}"):
        record(**values)
