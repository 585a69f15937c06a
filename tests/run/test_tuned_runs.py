"""Runs that train a part of the model: what they say, keep on disk, resume from and export."""

import dataclasses
import json
import re
import shutil

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from tuned_runs import TINY, assert_same_leaves, begin_again_at, do_run, leaves_at, lines_of

from convert.__main__ import main as convert
from sketch_jax.data.doodles import load_doodles
from sketch_jax.data.pipeline import evaluation_batches
from sketch_jax.data.sampling import ClassBalanced
from sketch_jax.errors import InputError
from sketch_jax.models.architectures import create_model
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.models.tuning_options import (
    AttentionOnly,
    Everything,
    HeadOnly,
    LastBlocks,
    Lora,
    Rate,
    Rates,
    Staged,
    TuningStage,
)
from sketch_jax.optim.schedule_options import Plateau
from sketch_jax.predictions import load_predictions
from sketch_jax.preprocessing import Preprocessing
from sketch_jax.run.trained_model import load_trained
from sketch_jax.serialization import from_json
from sketch_jax.train.options import Ema, Selection
from sketch_jax.train.start import create_start
from sketch_jax.train.step import make_predict_step
from sketch_jax.trees import flatten
from sketch_jax.weights.export import write_flax_directory

VIT = ModelOptions(name="test_vit")


def logits_of(trained):
    """What the whole model that was read back says of the test images."""
    record = trained.record
    preprocessing = from_json(Preprocessing, record["preprocessing"])
    model = create_model(
        record["model"]["name"], class_count=4, image_size=32, arguments=record["model"]["arguments"]
    )
    test = load_doodles(TINY.source).test
    batch = next(iter(evaluation_batches(test, np.arange(12), preprocessing, batch_size=12)))
    return jax.jit(make_predict_step(model, preprocessing))(trained.params, trained.statistics, batch.images)


@pytest.fixture(scope="module")
def start_weights(tmp_path_factory):
    """A directory of weights of test_efficientnet in this project's layout."""
    directory = tmp_path_factory.mktemp("weights") / "start"
    model = create_model("test_efficientnet", class_count=7, image_size=32)
    params, statistics = jax.device_get(jax.jit(model.init)(jax.random.key(3)))
    config = {"architecture": "test_efficientnet", "num_classes": 7}
    write_flax_directory(directory, params, statistics, config)
    return directory


@pytest.fixture(scope="module")
def head_run(tmp_path_factory, start_weights):
    directory = tmp_path_factory.mktemp("runs") / "head"
    options = {"model": head_model(start_weights), "tuning": HeadOnly()}
    return directory, do_run(directory, **options), options


def head_model(weights):
    return ModelOptions(pretrained=f"local-dir:{weights}", frozen_precision="bfloat16")


def test_a_run_says_what_it_trains_and_what_that_saves(head_run):
    directory, text, _ = head_run
    counts = json.loads((directory / "run.json").read_text())["parameters"]
    leaves = leaves_at(directory, 8)
    trained = {path: leaf for path, leaf in leaves.items() if path.startswith("trainable/")}
    assert trained.keys() == {"trainable/classifier/kernel", "trainable/classifier/bias"}
    assert counts["trainable"] == sum(leaf.size for leaf in trained.values())
    assert counts["total"] > 50 * counts["trainable"]
    frozen = counts["total"] - counts["trainable"]
    # A gradient and two moments of four bytes each.
    expected = (
        f"{counts['trainable']:,} of {counts['total']:,} parameters (HeadOnly); {frozen:,} frozen, kept in "
        f"bfloat16, which saves {12 * frozen / 1e6:,.1f} MB of gradients, optimizer state, and in each "
        f"checkpoint; their type saves {2 * frozen / 1e6:,.1f} MB more"
    )
    assert expected in text
    moments = [leaf for path, leaf in leaves.items() if path.startswith("opt_state/") and leaf.ndim]
    assert sum(leaf.size for leaf in moments) == 2 * counts["trainable"]


def test_the_whole_model_comes_back_with_the_start_weights_where_it_was_frozen(head_run, start_weights):
    directory, _, _ = head_run
    trained = load_trained(directory)
    key, names = jax.random.key(TINY.seed), TINY.source.classes
    start = create_start(head_model(start_weights), TINY.preprocessing, 32, names, key, np.asarray)
    found = flatten(trained.params)
    for path, leaf in flatten(start.params).items():
        rounded = jnp.asarray(leaf, jnp.bfloat16).astype(jnp.float32)
        assert np.array_equal(found[path], rounded) != path.startswith("classifier/"), path
    assert_same_leaves(flatten(trained.statistics), flatten(start.statistics))
    expected = load_predictions(directory / "predictions" / "test.npz").logits
    np.testing.assert_allclose(logits_of(trained), expected, rtol=0, atol=1e-5)


def test_a_run_of_the_head_goes_on_bit_for_bit(head_run):
    directory, _, options = head_run
    again = begin_again_at(directory, 6, **options)
    assert_same_leaves(leaves_at(again, 8), leaves_at(directory, 8))


def test_a_run_of_low_rank_changes_on_balanced_classes_goes_on_bit_for_bit(tmp_path):
    options = {"model": VIT, "tuning": Lora(rank=2), "sampling": ClassBalanced(), "averaging": Ema()}
    directory = tmp_path / "run"
    do_run(directory, **options)
    again = begin_again_at(directory, 6, **options)
    assert_same_leaves(leaves_at(again, 8), leaves_at(directory, 8))


def test_start_weights_that_changed_or_are_gone_are_told_from_one_another(head_run, start_weights, tmp_path):
    directory, _, _ = head_run
    kept = shutil.copytree(start_weights, tmp_path / "kept")
    try:
        (weights,) = start_weights.glob("*.safetensors")
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        with pytest.raises(InputError, match=re.escape("which have changed since (fingerprint")):
            load_trained(directory)
        shutil.rmtree(start_weights)
        with pytest.raises(InputError, match="the rest comes from the start weights, but: "):
            load_trained(directory)
    finally:
        shutil.rmtree(start_weights, ignore_errors=True)
        shutil.copytree(kept, start_weights)


@pytest.mark.parametrize("stacked", [False, True])
def test_low_rank_changes_are_merged_in_predictions_and_in_what_timm_gets(tmp_path, stacked):
    directory = tmp_path / "run"
    model = dataclasses.replace(VIT, scan_blocks=stacked)
    text = do_run(directory, model=model, tuning=Lora(rank=2), rates=Rates())
    assert "(Lora)" in text
    paths = {path for path in leaves_at(directory, 8) if path.startswith("trainable/")}
    assert "trainable/blocks_0/attn/qkv/lora_up" in paths
    assert not any(path.endswith("blocks_0/attn/qkv/kernel") for path in paths)
    expected = load_predictions(directory / "predictions" / "test.npz").logits
    np.testing.assert_allclose(logits_of(load_trained(directory)), expected, rtol=0, atol=1e-4)
    assert convert(["to-timm", str(directory), "--output", str(tmp_path / "timm")]) == 0
    from safetensors.numpy import load_file

    exported = load_file(tmp_path / "timm" / "model.safetensors")
    kernel = load_trained(directory).params["blocks_0"]["attn"]["qkv"]["kernel"]
    np.testing.assert_array_equal(exported["blocks.0.attn.qkv.weight"], kernel.T)
    assert not any("lora" in name for name in exported)


STAGED = Staged(
    stages=(
        TuningStage(first_epoch=0, tuning=HeadOnly()),
        TuningStage(first_epoch=1, tuning=Everything()),
    )
)


@pytest.fixture(scope="module")
def staged_run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "staged"
    return directory, do_run(directory, tuning=STAGED)


def test_stages_train_more_and_more_and_keep_what_was_trained(staged_run):
    directory, text = staged_run
    assert "(HeadOnly)" in text
    assert "from epoch 2 on: " in text
    border, end = leaves_at(directory, 4), leaves_at(directory, 8)
    of_border = {path for path in border if path.startswith("trainable/")}
    assert of_border == {"trainable/classifier/kernel", "trainable/classifier/bias"}
    assert len([path for path in end if path.startswith("trainable/")]) > 30
    losses = {line["step"]: line["train/loss"] for line in lines_of(directory) if "train/loss" in line}
    assert losses.keys() == {2, 4, 6, 8}
    rates = {
        line["step"]: line["train/learning_rate"] for line in lines_of(directory) if "train/loss" in line
    }
    assert rates[6] == pytest.approx(
        1.5e-3 * (1 + 2**-0.5)
    )  # the schedule goes on: a quarter down the cosine


@pytest.mark.parametrize("step", [2, 4, 6])
def test_a_staged_run_goes_on_bit_for_bit_from_within_each_stage_and_from_the_border(staged_run, step):
    directory, _ = staged_run
    again = begin_again_at(directory, step, tuning=STAGED)
    assert_same_leaves(leaves_at(again, 8), leaves_at(directory, 8))
    expected = load_predictions(directory / "predictions" / "test.npz").logits
    np.testing.assert_array_equal(load_predictions(again / "predictions" / "test.npz").logits, expected)


def test_the_best_checkpoint_of_an_earlier_stage_predicts_with_its_own_values(tmp_path):
    """What the second stage adds learns at a ruinous rate, so the first stage has the best checkpoint."""
    directory = tmp_path / "run"
    ruinous = dataclasses.replace(TINY.optimizer, learning_rate=10.0)
    rates = Rates(factors=(Rate(pattern="^classifier/", factor=1e-3),))
    late = dataclasses.replace(STAGED.stages[1], first_epoch=3)
    staged = Staged(stages=(STAGED.stages[0], late))
    selection = Selection(metric="loss")
    do_run(directory, tuning=staged, optimizer=ruinous, rates=rates, epochs=4, selection=selection)
    losses = {line["step"]: line["val/loss"] for line in lines_of(directory) if "val/loss" in line}
    best = json.loads((directory / "run.json").read_text())["best"]
    assert best["step"] <= 12
    assert losses[16] > 10 * best["val/loss"], "ruined"
    expected = load_predictions(directory / "predictions" / "test.npz").logits
    np.testing.assert_allclose(logits_of(load_trained(directory)), expected, rtol=0, atol=1e-4)


def test_a_stage_that_never_begins_and_one_that_shrinks_are_refused(tmp_path):
    late = Staged(
        stages=(
            TuningStage(first_epoch=0, tuning=HeadOnly()),
            TuningStage(first_epoch=2, tuning=Everything()),
        )
    )
    with pytest.raises(InputError, match="first_epoch 2: the run has 2 epochs"):
        do_run(tmp_path / "run", tuning=late)
    shrinking = Staged(
        stages=(
            TuningStage(first_epoch=0, tuning=LastBlocks()),
            TuningStage(first_epoch=1, tuning=HeadOnly()),
        )
    )
    with pytest.raises(InputError, match="stage 2 freezes what stage 1 trains"):
        do_run(tmp_path / "run", tuning=shrinking)


def test_attention_is_trained_over_stacked_blocks_with_an_average_in_parts(tmp_path):
    directory = tmp_path / "run"
    model = dataclasses.replace(VIT, scan_blocks=True)
    text = do_run(directory, model=model, tuning=AttentionOnly(), accumulation_steps=2)
    assert "(AttentionOnly)" in text
    expected = load_predictions(directory / "predictions" / "test.npz").logits
    np.testing.assert_allclose(logits_of(load_trained(directory)), expected, rtol=0, atol=1e-4)
    with pytest.raises(
        InputError, match=re.escape("--model.scan-blocks True: blocks that run as a loop are")
    ):
        do_run(tmp_path / "other", model=model, tuning=LastBlocks())


def test_the_factor_of_a_plateau_stays_over_the_border_of_a_stage(tmp_path):
    stages = (TuningStage(first_epoch=0, tuning=HeadOnly()), TuningStage(first_epoch=2, tuning=Everything()))
    falling = Plateau(metric="loss", patience=0, factor=0.5, threshold=0.99, warmup_epochs=0.0)
    do_run(tmp_path / "run", epochs=4, schedule=falling, tuning=Staged(stages=stages))
    lines = {line["step"]: line for line in lines_of(tmp_path / "run") if "train/loss" in line}
    rates = [lines[step]["train/learning_rate"] for step in (4, 8, 10, 12, 16)]
    assert rates == pytest.approx([3e-3, 3e-3, 1.5e-3, 1.5e-3, 0.75e-3])
