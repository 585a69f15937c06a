"""Levels become timm's and torchvision's arguments; the tables are theirs."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from sketch_jax.augment.policies.levels import (
    OPERATIONS,
    ROUNDINGS,
    TIMM_RULES,
    WIDE_RULES,
    Rule,
    RuleArrays,
    arguments_of,
)
from sketch_jax.augment.policies.options import AugMix, AutoAugment, RandAugment
from sketch_jax.augment.policies.repertoire import table_of
from sketch_jax.augment.policies.sets import AUG_MIX_NAMES, AUTO_AUGMENT_ROWS, RAND_AUGMENT_WEIGHTS

timm = pytest.importorskip("timm.data.auto_augment")
torchvision = pytest.importorskip("torchvision.transforms.autoaugment")

jitted_arguments = jax.jit(arguments_of)


def arguments(rule: Rule, levels, negative: bool) -> np.ndarray:
    levels = jnp.asarray(levels, jnp.float32)
    values = (OPERATIONS.index(rule.operation), *rule[1:4], ROUNDINGS.index(rule.rounding), *rule[5:])
    rules = RuleArrays(*(jnp.full(levels.shape, value) for value in values))
    return np.asarray(jitted_arguments(rules, levels, jnp.full(levels.shape, negative)))


def timm_arguments(name: str, levels, negative: bool, monkeypatch) -> list[float]:
    monkeypatch.setattr(timm, "_randomly_negate", lambda value: -value if negative else value)
    found = [timm.LEVEL_TO_ARG[name](float(level), timm._HPARAMS_DEFAULT)[0] for level in levels]
    return [1.0 - value for value in found] if name == "Desaturate" else found


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("name", sorted(set(TIMM_RULES) - {"AutoContrast", "Equalize", "Invert"}))
def test_every_level_has_timms_argument(name, negative, monkeypatch):
    levels = np.linspace(0.0, 10.0, 101)
    expected = timm_arguments(name, levels, negative, monkeypatch)
    found = arguments(TIMM_RULES[name], levels / 10.0, negative)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("name", ["Rotate", "ColorIncreasing", "SolarizeAdd", "ShearX", "GaussianBlur"])
def test_levels_beyond_ten_have_timms_arguments(name, monkeypatch):
    levels = np.linspace(10.0, 20.0, 21)
    expected = timm_arguments(name, levels, True, monkeypatch)
    np.testing.assert_allclose(arguments(TIMM_RULES[name], levels / 10.0, True), expected, rtol=1e-6)


@pytest.mark.parametrize("bins", [31, 11, 4])
@pytest.mark.parametrize("name", sorted(WIDE_RULES))
def test_every_bin_has_torchvisions_argument(name, bins):
    magnitudes, signed = torchvision.TrivialAugmentWide()._augmentation_space(bins)[name]
    rule = WIDE_RULES[name]
    assert rule.signed == signed
    expected = magnitudes.numpy() if magnitudes.ndim else np.zeros(bins)
    if rule.operation.startswith("translate"):
        # torchvision cuts these when it applies them; the middle one of 31, in its 32 bits 15.999999, to 15
        expected = np.trunc(expected + 1e-5)
    enhances = rule.operation in ("brightness", "contrast", "color", "sharpness")
    for negative in (False, True) if signed else (False,):
        moved = (1.0 if enhances else 0.0) + (-expected if negative else expected)
        found = arguments(rule, np.arange(bins) / (bins - 1), negative)
        np.testing.assert_allclose(found, moved, rtol=1e-6, atol=2e-5)


def test_the_wide_set_is_torchvisions():
    assert list(WIDE_RULES) == list(torchvision.TrivialAugmentWide()._augmentation_space(31))


@pytest.mark.parametrize("variant", ["original", "originalr", "v0", "v0r"])
def test_the_pairs_of_auto_augment_are_timms(variant):
    policy = timm.auto_augment_policy(variant, {})
    assert AUTO_AUGMENT_ROWS[variant] == tuple(
        tuple((operation.name, operation.prob, operation.magnitude) for operation in row) for row in policy
    )


def test_the_original_pairs_are_torchvisions():
    rows = torchvision.AutoAugment().policies
    names = [[name.replace("Original", "") for name, _, _ in row] for row in AUTO_AUGMENT_ROWS["original"]]
    assert names == [[name for name, _, _ in row] for row in rows]
    ours = [[probability for _, probability, _ in row] for row in AUTO_AUGMENT_ROWS["original"]]
    assert ours == [[probability for _, probability, _ in row] for row in rows]


def test_the_sets_of_rand_augment_and_aug_mix_are_timms():
    assert list(RAND_AUGMENT_WEIGHTS["all"]) == timm._RAND_INCREASING_TRANSFORMS
    assert list(RAND_AUGMENT_WEIGHTS["mixed"]) == timm._RAND_TRANSFORMS
    assert list(RAND_AUGMENT_WEIGHTS["3a"]) == timm._RAND_3A
    assert RAND_AUGMENT_WEIGHTS["weights"] == timm._RAND_WEIGHTED_0
    assert RAND_AUGMENT_WEIGHTS["3aw"] == timm._RAND_WEIGHTED_3A
    assert set(AUG_MIX_NAMES) == set(timm._AUGMIX_TRANSFORMS)


def test_tables_keep_the_numbers_of_the_records():
    entry = table_of(
        RandAugment(magnitude=7.0, magnitude_std=None, highest_magnitude=12.0, probability=0.3)
    ).rows[0][0]
    assert (entry.probability, entry.level, entry.spread, entry.highest) == (0.3, 0.7, np.inf, 1.2)
    assert table_of(RandAugment(increasing=False)).rows[4][0].rule == TIMM_RULES["Posterize"]
    assert table_of(RandAugment(operation_set="3aw", operations=3)).draws == (3, 3)
    assert table_of(RandAugment(operation_set="3aw")).distinct
    assert not table_of(RandAugment(operation_set="3a")).distinct
    assert table_of(AutoAugment(magnitude_std=0.5)).rows[0][1].spread == 0.05
    mix = table_of(AugMix(severity=5.0, width=2, alpha=0.5))
    assert (mix.width, mix.draws, mix.alpha, mix.rows[0][0].level) == (2, (1, 3), 0.5, 0.5)
    assert table_of(AugMix(depth=2)).draws == (2, 2)
    assert {row[0].rule.span for row in mix.rows if row[0].rule.operation.startswith("translate")} == {0.3}
