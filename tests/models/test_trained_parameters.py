"""What each tuning trains, family by family, checked against lists written by hand."""

import functools
import re

import jax
import pytest

from sketch_jax.errors import InputError
from sketch_jax.models.architectures import create_model, default_image_size
from sketch_jax.models.trained_parameters import is_trained, low_rank_targets, stack_paths, trained_paths
from sketch_jax.models.tuning_options import (
    AttentionOnly,
    Everything,
    HeadOnly,
    LastBlocks,
    Lora,
    NormsAndBiases,
    Patterns,
    Staged,
    TuningStage,
)
from sketch_jax.trees import flatten


@functools.cache
def described(name):
    model = create_model(name, class_count=10, image_size=default_image_size(name))
    return model, tuple(flatten(jax.eval_shape(model.init, jax.random.key(0))[0]))


def trained(tuning, name):
    return trained_paths(tuning, *described(name))


def kinds(paths):
    """Paths with all numbers replaced, so that a list by hand stays short."""
    return {re.sub(r"\d+", "#", path) for path in paths}


def linear(*places):
    return {f"{place}/{leaf}" for place in places for leaf in ("kernel", "bias")}


HEADS = {
    "vit_tiny_patch16_224": linear("head"),
    "deit_tiny_distilled_patch16_224": linear("head", "head_dist"),
    "eva02_base_patch14_448": {*linear("head"), "fc_norm/scale", "fc_norm/bias"},
    "convnext_tiny": {*linear("head/fc"), "head/norm/scale", "head/norm/bias"},
    "resnet18": linear("fc"),
    "efficientnet_b0": linear("classifier"),
    "vgg11": {*linear("head/fc"), *linear("pre_logits/fc1", "pre_logits/fc2")},
    "swin_tiny_patch4_window7_224": linear("head/fc"),
    "caformer_s18": {
        *linear("head/fc/fc1", "head/fc/fc2"),
        *("head/norm/scale", "head/norm/bias", "head/fc/norm/scale", "head/fc/norm/bias"),
    },
}

FUSED = linear("attn/qkv", "attn/proj")
ATTENTION = {
    "vit_tiny_patch16_224": {
        *(f"blocks_#/{leaf}" for leaf in FUSED),
        *("pos_embed", "cls_token", "head/kernel", "head/bias"),
    },
    "eva02_base_patch14_448": {
        *(f"blocks_#/attn/{name}_proj/{leaf}" for name in "qv" for leaf in ("kernel", "bias")),
        *("blocks_#/attn/k_proj/kernel", "blocks_#/attn/proj/kernel", "blocks_#/attn/proj/bias"),
        *("pos_embed", "cls_token", *HEADS["eva02_base_patch14_448"]),
    },
    "beit_base_patch16_224": {
        *(
            f"blocks_#/attn/{leaf}"
            for leaf in ("qkv/kernel", "q_bias", "v_bias", "relative_position_bias_table")
        ),
        *("blocks_#/attn/proj/kernel", "blocks_#/attn/proj/bias", "cls_token"),
        *("fc_norm/scale", "fc_norm/bias", "head/kernel", "head/bias"),
    },
    "swin_tiny_patch4_window7_224": {
        *(f"layers_#/blocks_#/{leaf}" for leaf in FUSED),
        *("layers_#/blocks_#/attn/relative_position_bias_table", "head/fc/kernel", "head/fc/bias"),
    },
    "caformer_s18": {
        *(f"stages_#/blocks_#/token_mixer/{name}/kernel" for name in ("qkv", "proj")),
        *kinds(HEADS["caformer_s18"]),
    },
    "mobilevit_xxs": {*(f"stages_#_#/transformer_#/{leaf}" for leaf in FUSED), *linear("head/fc")},
    "coatnet_0_rw_224": {
        *(f"stages_#/blocks_#/{leaf}" for leaf in FUSED),
        *("stages_#/blocks_#/attn/rel_pos/relative_position_bias_table", "head/fc/kernel", "head/fc/bias"),
    },
    "maxvit_tiny_rw_224": {
        *(f"stages_#/blocks_#/attn_{part}/{leaf}" for part in ("block", "grid") for leaf in FUSED),
        *(
            f"stages_#/blocks_#/attn_{part}/attn/rel_pos/relative_position_bias_table"
            for part in ("block", "grid")
        ),
        *linear("head/fc"),
    },
}


def test_the_first_rule_that_fits_counts():
    rules = [("norm", False), ("^head/", True), ("", False)]
    assert not is_trained(rules, "head/norm/scale")
    assert is_trained(rules, "head/fc/kernel")
    assert not is_trained(rules, "stem/kernel")


@pytest.mark.parametrize("name", HEADS)
def test_the_head_is_what_timm_computes_after_the_features(name):
    assert trained(HeadOnly(), name) == HEADS[name]
    assert trained(Everything(), name) == set(described(name)[1])


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_is_trained_with_head_positions_and_tokens_and_nothing_else(name):
    assert kinds(trained(AttentionOnly(), name)) == ATTENTION[name]


def test_the_stem_and_the_first_stages_of_maxvit_stay_frozen_under_attention_only():
    stages = {path.split("/")[0] for path in trained(AttentionOnly(), "maxvit_tiny_rw_224")}
    assert stages == {"stages_2", "stages_3", "head"}


@pytest.mark.parametrize(
    "name", ["resnet18", "convnext_tiny", "nf_regnet_b1", "poolformer_s12", "regnety_002"]
)
def test_attention_only_is_refused_where_there_is_no_self_attention(name):
    with pytest.raises(InputError, match=re.escape(f"--tuning AttentionOnly: {name} has no self-attention")):
        trained(AttentionOnly(), name)


def test_norms_inside_attention_stay_frozen_under_attention_only():
    found = trained(AttentionOnly(), "eva02_base_patch16_clip_224")
    assert any(path.startswith("blocks_0/attn/q_proj/") for path in found)
    assert not any("/attn/norm/" in path for path in found)


def test_low_rank_changes_are_refused_in_plain_words_where_there_is_no_self_attention():
    with pytest.raises(
        InputError, match=re.escape("--tuning Lora: there is no self-attention whose queries")
    ):
        low_rank_targets(Lora(), ["stem/kernel", "fc/kernel"])
    with pytest.raises(InputError, match=re.escape("--tuning.targets 'mlq'")):
        low_rank_targets(Lora(targets=("mlq",)), ["stem/kernel", "fc/kernel"])


def test_the_last_blocks_come_with_the_final_norm_and_the_head():
    found = trained(LastBlocks(count=2), "vit_tiny_patch16_224")
    assert {path.split("/")[0] for path in found} == {"blocks_10", "blocks_11", "norm", "head"}
    assert sum(path.startswith("blocks_11/") for path in found) == 12
    found = trained(LastBlocks(count=1), "efficientnet_b0")
    assert {path.split("/")[0] for path in found} == {"blocks_6_0", "conv_head", "bn2", "classifier"}
    with pytest.raises(
        InputError, match=re.escape("--tuning.count 13: vit_tiny_patch16_224 has 12 layers between")
    ):
        trained(LastBlocks(count=13), "vit_tiny_patch16_224")


def test_norms_and_biases_are_trained_with_the_head_and_no_other_kernel():
    assert kinds(trained(NormsAndBiases(), "vit_tiny_patch16_224")) == {
        *(f"blocks_#/{part}/bias" for part in ("attn/qkv", "attn/proj", "mlp/fc#", "norm#")),
        *("blocks_#/norm#/scale", "norm/scale", "norm/bias", "patch_embed/proj/bias"),
        *("head/kernel", "head/bias"),
    }
    assert {"blocks_0/attn/q_bias", "blocks_0/attn/v_bias"} <= trained(
        NormsAndBiases(), "beit_base_patch16_224"
    )


def test_patterns_are_found_anywhere_and_exceptions_come_first():
    found = trained(Patterns(trained=("mlp", "^head/"), frozen=(r"blocks_\d/",)), "vit_tiny_patch16_224")
    assert {path.split("/")[0] for path in found} == {"blocks_10", "blocks_11", "head"}


@pytest.mark.parametrize(
    ("pattern", "near"),
    [("blocks_3/atn/qkv", "blocks_3/attn"), ("patch_embde", "patch_embed"), ("zzz", "paths are")],
)
def test_a_pattern_that_fits_nothing_is_refused_with_paths_near_to_it(pattern, near):
    with pytest.raises(InputError, match=re.escape(f"--tuning.trained {pattern!r}")) as refusal:
        trained(Patterns(trained=("^head/", pattern)), "vit_tiny_patch16_224")
    assert near in str(refusal.value)
    assert "'^head/'" not in str(refusal.value)


def test_training_nothing_is_refused():
    with pytest.raises(
        InputError,
        match=re.escape("--tuning Patterns: no parameter of vit_tiny_patch16_224 would be trained"),
    ):
        trained(Patterns(trained=("^head/",), frozen=("head",)), "vit_tiny_patch16_224")
    with pytest.raises(InputError, match=re.escape("--tuning.trained: holds no pattern")):
        Patterns()


def test_low_rank_changes_go_to_queries_keys_and_values_of_any_family():
    expected = {
        "vit_tiny_patch16_224": {"blocks_#/attn/qkv/kernel"},
        "eva02_base_patch14_448": {f"blocks_#/attn/{name}_proj/kernel" for name in "qkv"},
        "swin_tiny_patch4_window7_224": {"layers_#/blocks_#/attn/qkv/kernel"},
        "caformer_s18": {"stages_#/blocks_#/token_mixer/qkv/kernel"},
        "maxvit_tiny_rw_224": {
            f"stages_#/blocks_#/attn_{part}/attn/qkv/kernel" for part in ("block", "grid")
        },
        "mobilevitv2_050": {"stages_#_#/transformer_#/attn/qkv_proj/kernel"},
    }
    for name, kernels in expected.items():
        assert kinds(low_rank_targets(Lora(), described(name)[1])) == kernels
    with pytest.raises(InputError, match=re.escape("--tuning.targets")):
        low_rank_targets(Lora(), described("resnet18")[1])
    assert low_rank_targets(Lora(targets=("layer4_1/conv1",)), described("resnet18")[1]) == {
        "layer4_1/conv1/kernel"
    }


def test_blocks_that_run_as_a_loop_are_trained_alike_or_refused():
    paths = described("vit_tiny_patch16_224")[1]
    assert stack_paths(trained(AttentionOnly(), "vit_tiny_patch16_224"), paths) == {
        *(f"blocks/{leaf}" for leaf in FUSED),
        *("pos_embed", "cls_token", "head/kernel", "head/bias"),
    }
    with pytest.raises(
        InputError, match=re.escape("--model.scan-blocks True: blocks that run as a loop are trained alike")
    ):
        stack_paths(trained(LastBlocks(), "vit_tiny_patch16_224"), paths)


def test_numbers_and_stages_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match=re.escape("--tuning.count 0: must be at least 1")):
        LastBlocks(count=0)
    with pytest.raises(InputError) as refusal:
        Lora(rank=0, alpha=-1.0, targets=("(",))
    for part in ("--tuning.rank 0", "--tuning.alpha -1: must be above 0", "--tuning.targets '(': missing )"):
        assert part in str(refusal.value)
    with pytest.raises(InputError) as refusal:
        Staged(
            stages=(
                TuningStage(first_epoch=1, tuning=Lora()),
                TuningStage(first_epoch=1, tuning=HeadOnly()),
            )
        )
    for part in ("must begin at epoch 0", "stages begin at epochs 1, 1", "Lora is followed by another stage"):
        assert part in str(refusal.value)
