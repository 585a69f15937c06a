"""Which parameters of a model are trained: rules over paths, of which the first that fits counts."""

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from sketch_jax.errors import InputError, refuse_faults, suggestion
from sketch_jax.models.architectures import family_name
from sketch_jax.models.layer_numbers import layer_of, number_layers
from sketch_jax.models.model import Model
from sketch_jax.models.tuning_options import (
    AttentionOnly,
    Everything,
    HeadOnly,
    LastBlocks,
    Lora,
    NormsAndBiases,
    Patterns,
    StageTuning,
)
from sketch_jax.trees import lies_under, stacked_path

Rule = tuple[str, bool]
"""A regular expression, found anywhere in a path, and whether such a parameter is trained."""

HEAD_PLACES = ("head", "head_dist", "fc_norm", "attn_pool", "pre_logits")
"""Where parameters lie that timm's models use only after the features, beside the classifiers."""

_ATTENTION = r"(^|/)attn/"

ATTENTION: Mapping[str, str] = MappingProxyType(
    {
        "vision_transformer": _ATTENTION,
        "eva": rf"{_ATTENTION}|^rope/",
        "beit": rf"{_ATTENTION}|^rel_pos_bias/",
        "swin_transformer": _ATTENTION,
        "swin_transformer_v2": _ATTENTION,
        "metaformer": r"/token_mixer/(qkv|proj)/",
        "mobilevit": r"/transformer_\d+/attn/",
        "maxxvit": _ATTENTION,
    }
)
"""Parameters of self-attention by family; the others have none, though some call a channel gate `attn`."""

INNER_NORMS = r"(^|/)attn/([qk]_|sub_)?norm/"
"""Norms inside attention, which attention-only training leaves frozen as all norms outside the head."""

EARLY: Mapping[str, str] = MappingProxyType({"maxxvit": r"^(stem|stages_[01])/"})
"""What attention-only training leaves frozen in any case, by family."""

POSITIONS_AND_TOKENS = r"(^|/)(pos_embed|absolute_pos_embed|cls_token|dist_token|reg_token)$"

NORMS_AND_BIASES = r"(^|/)(scale|\w*bias)$"
"""A leaf called `scale` is always a norm's (`weights/names.py`)."""


def is_trained(rules: Sequence[Rule], path: str) -> bool:
    """Whether a parameter is trained: what the first rule says that fits.

    >>> is_trained([("^head/", True), ("", False)], "head/kernel")
    True
    """
    return next(trained for pattern, trained in rules if re.search(pattern, path))


def trained_paths(tuning: StageTuning, model: Model, paths: Iterable[str]) -> frozenset[str]:
    """The parameters that are trained, without those that low-rank changes add.

    Args:
        tuning: the choice.
        model: any.
        paths: of all its parameters, blocks not stacked.

    Raises:
        InputError: a pattern fits no path, nothing is trained, or the choice does not suit the architecture.
    """
    paths = list(paths)
    rules = _rules(tuning, model, paths)
    trained = frozenset(path for path in paths if is_trained(rules, path))
    if not trained:
        raise InputError(
            f"--tuning {type(tuning).__name__}: no parameter of {model.name} would be trained; "
            "choose other patterns, or another tuning"
        )
    return trained


def low_rank_targets(tuning: Lora, paths: Iterable[str]) -> frozenset[str]:
    """The kernels that get low-rank changes.

    Raises:
        InputError: a pattern fits no kernel.
    """
    kernels = [path for path in paths if path.endswith("/kernel")]
    if tuning.targets == Lora().targets and not any(
        re.search(pattern, path) for pattern in tuning.targets for path in kernels
    ):
        raise InputError(
            "--tuning Lora: there is no self-attention whose queries, keys and values could change; name "
            "other kernels by --tuning.targets, or choose LastBlocks, NormsAndBiases or HeadOnly"
        )
    refuse_unmatched("--tuning.targets", tuning.targets, kernels)
    return frozenset(path for path in kernels if any(re.search(pattern, path) for pattern in tuning.targets))


def is_in_head(model: Model, path: str) -> bool:
    """Whether a parameter is used only after the features."""
    return lies_under(path, (model.classifier, *model.further_classifiers, *HEAD_PLACES))


def refuse_unmatched(flag: str, patterns: Iterable[str], paths: Sequence[str]) -> None:
    """Raises an `InputError` that names each pattern that is found in no path, and paths near to it."""
    faults = [
        f"{flag} {pattern!r}{_near(pattern, paths)}"
        for pattern in patterns
        if not any(re.search(pattern, path) for path in paths)
    ]
    remedy = f"paths are such as {', '.join(paths[:: max(len(paths) // 3, 1)][:3])}"
    refuse_faults("patterns that are found in no parameter's path", faults, remedy)


def stack_paths(chosen: frozenset[str], paths: Iterable[str]) -> frozenset[str]:
    """The chosen parameters where those of all blocks are stacked.

    Args:
        chosen: some of the paths.
        paths: of all parameters, blocks not stacked.

    Raises:
        InputError: a parameter is chosen in some blocks and not in others.

    >>> sorted(stack_paths(frozenset({"blocks_0/a", "blocks_1/a"}), ["blocks_0/a", "blocks_1/a", "b"]))
    ['blocks/a']
    """
    kinds: dict[str, set[bool]] = {}
    for path in paths:
        kinds.setdefault(stacked_path(path), set()).add(path in chosen)
    mixed = [path for path, found in kinds.items() if len(found) > 1]
    if mixed:
        raise InputError(
            f"--model.scan-blocks True: blocks that run as a loop are trained alike, but {mixed[0]} is to be "
            "trained in some of them only; leave the option out, or choose another --tuning"
        )
    return frozenset(path for path, found in kinds.items() if found == {True})


def _near(pattern: str, paths: Sequence[str]) -> str:
    words = re.sub(r"\\[a-zA-Z]|[^\w/]", "", pattern).strip("/")
    parents = {path.rpartition("/")[0] for path in paths} | {path.partition("/")[0] for path in paths}
    return suggestion(words, sorted(parents | set(paths)))


def _rules(tuning: StageTuning, model: Model, paths: Sequence[str]) -> list[Rule]:
    """The rules of a choice; the last fits every path."""
    head = (_exactly(path for path in paths if is_in_head(model, path)), True)
    rest = ("", isinstance(tuning, Everything))
    if isinstance(tuning, Everything | HeadOnly | Lora):
        return [head, rest]
    if isinstance(tuning, AttentionOnly):
        return [*_attention_rules(model, paths, head), rest]
    if isinstance(tuning, LastBlocks):
        return [_last_blocks_rule(tuning, model, paths), head, rest]
    if isinstance(tuning, NormsAndBiases):
        return [head, (NORMS_AND_BIASES, True), rest]
    return [*_pattern_rules(tuning, paths), rest]


def _exactly(paths: Iterable[str]) -> str:
    return f"^({'|'.join(map(re.escape, paths))})$"


def _attention_rules(model: Model, paths: Sequence[str], head: Rule) -> list[Rule]:
    family = family_name(model.name)
    attention = ATTENTION.get(family)
    if attention is None or not any(re.search(attention, path) for path in paths):
        raise InputError(
            f"--tuning AttentionOnly: {model.name} has no self-attention with parameters of its own; choose "
            "LastBlocks, NormsAndBiases or HeadOnly"
        )
    early = [(EARLY[family], False)] if family in EARLY else []
    return [*early, head, (INNER_NORMS, False), (attention, True), (POSITIONS_AND_TOKENS, True)]


def _last_blocks_rule(tuning: LastBlocks, model: Model, paths: Sequence[str]) -> Rule:
    layers = number_layers(model.name, paths)
    blocks = layers.count - 2  # all but stem and head
    if tuning.count > blocks:
        raise InputError(
            f"--tuning.count {tuning.count}: {model.name} has {blocks} layers between stem and head; choose "
            "at most that, or Everything"
        )
    first = layers.count - 1 - tuning.count
    return _exactly(path for path in paths if layer_of(layers, path) >= first), True


def _pattern_rules(tuning: Patterns, paths: Sequence[str]) -> list[Rule]:
    refuse_unmatched("--tuning.trained", tuning.trained, paths)
    refuse_unmatched("--tuning.frozen", tuning.frozen, paths)
    frozen = [(pattern, False) for pattern in tuning.frozen]
    return frozen + [(pattern, True) for pattern in tuning.trained]
