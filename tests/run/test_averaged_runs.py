"""Runs that keep an average of their weights."""

import json

import numpy as np
import pytest
from PIL import Image
from test_tuned_runs import logits_of
from tuned_runs import assert_same_leaves, begin_again_at, do_run, leaves_at, lines_of

from sketch_jax.data.sources import Folder
from sketch_jax.models.tuning_options import Everything, HeadOnly, Staged, TuningStage
from sketch_jax.predictions import load_predictions
from sketch_jax.run.trained_model import load_trained
from sketch_jax.train.options import Ema, Swa

AVERAGES = {"ema": Ema(warmup_power=0.5), "swa": Swa(first_epoch=0), "raw": Ema(predicts=False)}


@pytest.fixture(scope="module", params=AVERAGES)
def averaged_run(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / request.param
    do_run(directory, averaging=AVERAGES[request.param])
    return request.param, directory


def test_the_average_is_evaluated_beside_the_weights_and_predicts_where_it_was_chosen(averaged_run):
    kind, directory = averaged_run
    lines, card = lines_of(directory), json.loads((directory / "run.json").read_text())
    prefix = "val_swa" if kind == "swa" else "val_ema"
    steps = {line["step"] for line in lines if f"{prefix}/accuracy" in line}
    assert steps == ({8} if kind == "swa" else {0, 4, 8})
    at_best = {
        name: value for line in lines if line["step"] == card["best"]["step"] for name, value in line.items()
    }
    place = "val" if kind == "raw" else prefix
    assert card["best"][f"{place}/accuracy"] == pytest.approx(at_best[f"{place}/accuracy"])
    assert card["final_metrics"]["val/loss"] == pytest.approx(at_best[f"{place}/loss"], abs=1e-6)
    assert at_best["val/loss"] != pytest.approx(at_best[f"{prefix}/loss"], abs=1e-5)
    expected = load_predictions(directory / "predictions" / "test.npz").logits
    np.testing.assert_allclose(logits_of(load_trained(directory)), expected, rtol=0, atol=1e-4)


def test_a_run_with_an_average_goes_on_bit_for_bit(averaged_run):
    kind, directory = averaged_run
    again = begin_again_at(directory, 6, averaging=AVERAGES[kind])
    found = leaves_at(again, 8)
    assert_same_leaves(found, leaves_at(directory, 8))
    assert any(path.startswith("averaged/statistics/") for path in found)


def test_the_mean_is_that_of_the_checkpoints_at_ends_of_epochs_and_its_statistics_are_new(tmp_path):
    do_run(tmp_path / "run", averaging=Swa(first_epoch=0))
    first, last = leaves_at(tmp_path / "run", 4), leaves_at(tmp_path / "run", 8)
    for path, leaf in last.items():
        if path.startswith("averaged/trainable/"):
            name = path.removeprefix("averaged/")
            np.testing.assert_allclose(leaf, (first[name] + last[name]) / 2, rtol=0, atol=1e-6, err_msg=path)
        if path.startswith("averaged/statistics/"):
            name = path.removeprefix("averaged/")
            assert not np.allclose(leaf, (first[name] + last[name]) / 2, rtol=0, atol=1e-4), path


def test_a_mean_begins_anew_with_a_stage_and_is_over_the_ends_of_its_epochs(tmp_path):
    stages = (TuningStage(first_epoch=0, tuning=HeadOnly()), TuningStage(first_epoch=2, tuning=Everything()))
    do_run(tmp_path / "run", epochs=4, averaging=Swa(first_epoch=1), tuning=Staged(stages=stages))
    third, last = leaves_at(tmp_path / "run", 12), leaves_at(tmp_path / "run", 16)
    for name in ("trainable/classifier/kernel", "trainable/conv_stem/kernel"):
        mean = (third[name] + last[name]) / 2
        np.testing.assert_allclose(last[f"averaged/{name}"], mean, rtol=0, atol=1e-6)


def test_statistics_of_a_mean_do_not_depend_on_the_order_of_the_table(tmp_path):
    images = {"cat": 40, "dog": 215}  # grey levels: batches of one class would vary by noise alone
    generator = np.random.default_rng(0)
    for name, level in images.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(40):
            pixels = np.clip(generator.normal(level, 20, (32, 32)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{index:02d}.png")
    source = Folder(root=str(tmp_path / "images"))
    do_run(tmp_path / "run", averaging=Swa(first_epoch=0), source=source)
    leaves = leaves_at(tmp_path / "run", 16)
    name = "statistics/bn1/var"
    mean_of_batches = leaves[f"averaged/{name}"]  # of unaugmented batches of 8 out of two far apart classes
    trained = leaves[name]
    assert 0.6 < np.median(mean_of_batches / trained) < 1.6


def test_an_average_of_the_head_alone_is_all_that_is_kept(tmp_path):
    do_run(tmp_path / "run", averaging=Ema(), tuning=HeadOnly())
    paths = {path for path in leaves_at(tmp_path / "run", 8) if path.startswith("averaged/trainable/")}
    assert paths == {"averaged/trainable/classifier/kernel", "averaged/trainable/classifier/bias"}
