"""The strings by which timm names policies, read into records (imports no jax).

References:
    timm/data/auto_augment.py: `rand_augment_transform`, `augment_and_mix_transform`,
    `auto_augment_transform`.
"""

import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

from sketch_jax.augment.policies.options import (
    AugMix,
    AutoAugment,
    AutoAugmentVariant,
    OperationSet,
    Policy,
    RandAugment,
    ThreeAugment,
    TrivialAugmentWide,
)
from sketch_jax.errors import InputError, suggestion

CERTAIN_DEVIATIONS = 6.0
"""So far below the mean lies one normal draw in a billion."""
UNIFORM_ABOVE = 100.0
"""timm draws levels uniformly where a standard deviation is larger."""

SECTION = re.compile(r"([a-z]+)([0-9.]+|inf)")

Section = tuple[str, Callable[[str], Any]]


def parse_policy(text: str) -> Policy:
    """The policy that timm knows by a string; `ta_wide` is torchvision's TrivialAugmentWide.

    >>> parse_policy("rand-m7-n3-mstd0.5-inc1").operations
    3
    >>> parse_policy("augmix-m5-w4-d2").width
    4

    Raises:
        InputError: the policy or one of its sections is unknown, or a value does not fit.
    """
    name, *sections = text.split("-")
    if name not in READERS:
        raise InputError(
            f"policy {text!r}: {name!r} is none of {', '.join(READERS)}{suggestion(name, READERS)}"
        )
    return READERS[name](text, sections)


def _read_rand_augment(text: str, sections: list[str]) -> RandAugment:
    names = [section[1:] for section in sections if section.startswith("t")]
    for name in names:
        if name not in typing.get_args(OperationSet):
            known = typing.get_args(OperationSet)
            raise InputError(
                f"policy {text!r}: t{name} is none of t{', t'.join(known)}{suggestion(name, known)}"
            )
    others = [section for section in sections if not section.startswith("t")]
    # timm's own defaults, which are milder than the record's.
    defaults: dict[str, Any] = {"magnitude": 10.0, "magnitude_std": 0.0, "increasing": False}
    given = _read_sections(text, others, RAND_AUGMENT)
    highest = given.get("highest_magnitude", 10.0)
    spread = given.get("magnitude_std", 0.0)
    if spread is not None and given.get("magnitude", 0.0) - CERTAIN_DEVIATIONS * spread >= highest:
        given |= {"magnitude": highest, "magnitude_std": 0.0}  # timm clips what it draws
    chosen: dict[str, Any] = {"operation_set": names[0]} if names else {}
    return RandAugment(**(defaults | given | chosen))


def _read_aug_mix(text: str, sections: list[str]) -> AugMix:
    return AugMix(**_read_sections(text, sections, AUG_MIX))


def _read_auto_augment(text: str, sections: list[str]) -> AutoAugment:
    variant = typing.cast(AutoAugmentVariant, text.split("-")[0])
    return AutoAugment(variant=variant, **_read_sections(text, sections, AUTO_AUGMENT))


def _read_three_augment(text: str, sections: list[str]) -> ThreeAugment:
    return ThreeAugment(**_read_sections(text, sections, {}))


def _read_trivial_augment(text: str, sections: list[str]) -> TrivialAugmentWide:
    return TrivialAugmentWide(**_read_sections(text, sections, {}))


def _read_sections(text: str, sections: list[str], known: Mapping[str, Section]) -> dict[str, Any]:
    """The fields that sections such as `mstd0.5` give values to."""
    values: dict[str, Any] = {}
    for section in sections:
        match = SECTION.fullmatch(section)
        letters = match[1] if match else re.sub(r"[^a-z].*", "", section)
        if match is None or letters not in known:
            choices = f"each section is one of {', '.join(known)} and a number" if known else "it takes none"
            raise InputError(f"policy {text!r}: section {section!r}: {choices}{suggestion(letters, known)}")
        field, read = known[letters]
        try:
            values[field] = read(match[2])
        except ValueError as error:
            raise InputError(
                f"policy {text!r}: section {section!r}: {match[2]!r} does not fit ({error})"
            ) from error
    return values


def _read_spread(digits: str) -> float | None:
    return None if float(digits) > UNIFORM_ABOVE else float(digits)


def _read_switch(digits: str) -> bool:
    return bool(int(digits))


def _read_depth(digits: str) -> int | None:
    return int(digits) if int(digits) > 0 else None


RAND_AUGMENT: Mapping[str, Section] = {
    "m": ("magnitude", float),
    "n": ("operations", int),
    "p": ("probability", float),
    "mstd": ("magnitude_std", _read_spread),
    "mmax": ("highest_magnitude", float),
    "inc": ("increasing", _read_switch),
}
AUG_MIX: Mapping[str, Section] = {
    "m": ("severity", float),
    "w": ("width", int),
    "d": ("depth", _read_depth),
    "a": ("alpha", float),
    "mstd": ("magnitude_std", _read_spread),
}
AUTO_AUGMENT: Mapping[str, Section] = {"mstd": ("magnitude_std", float)}

READERS: Mapping[str, Callable[[str, list[str]], Policy]] = {
    "rand": _read_rand_augment,
    "augmix": _read_aug_mix,
    **dict.fromkeys(typing.get_args(AutoAugmentVariant), _read_auto_augment),
    "3a": _read_three_augment,
    "ta_wide": _read_trivial_augment,
}
"""By the first section of the string."""
