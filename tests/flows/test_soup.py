"""Soups of finished runs, by the command that users call."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from tuned_runs import TINY, do_run

from scripts import run_script, summary
from sketch_jax.flows.folds import run_folds
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.models.tuning_options import Everything, HeadOnly, Lora, Staged, TuningStage
from sketch_jax.optim.options import AdamW
from sketch_jax.predictions import load_predictions
from sketch_jax.run.trained_model import load_trained
from sketch_jax.train.options import Ema
from sketch_jax.trees import flatten

RATES = (1e-3, 3e-3, 6e-3)


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Three runs of one start and one split."""
    root = tmp_path_factory.mktemp("soups")
    for rate in RATES:
        do_run(root / f"rate_{rate:g}", optimizer=AdamW(learning_rate=rate))
    return [root / f"rate_{rate:g}" for rate in RATES]


def soup(*arguments: object) -> int:
    return run_script("soup", *arguments)


def params_of(directory):
    return {path: np.asarray(leaf) for path, leaf in flatten(load_trained(directory).params).items()}


def assert_mean(found, models, **tolerance):
    assert found.keys() == models[0].keys()
    for path, leaf in found.items():
        expected = np.mean([model[path] for model in models], axis=0)
        np.testing.assert_allclose(leaf, expected, rtol=1e-5, atol=1e-6, err_msg=path, **tolerance)


def test_a_uniform_soup_is_a_run_with_the_mean_of_all_parameters(members, tmp_path, capsys):
    assert soup(*members, "--method", "uniform", "--output", tmp_path / "soup") == 0
    text, facts = summary(capsys)
    assert_mean(params_of(tmp_path / "soup"), [params_of(member) for member in members])
    validation = load_predictions(tmp_path / "soup" / "predictions" / "validation.npz")
    accuracy = (validation.logits.argmax(axis=1) == validation.labels).mean()
    assert facts["soup"]["accuracy"] == accuracy
    assert json.loads((tmp_path / "soup" / "run.json").read_text())["status"] == "finished"
    assert json.loads((tmp_path / "soup" / "soup.json").read_text())["method"] == "uniform"
    assert list(facts["members"]) == [member.name for member in members]
    assert facts["members"]["rate_0.001"]["barrier"] == 0.0
    assert facts["members"]["rate_0.006"]["distance_by_layer"]["0"] > 0
    assert f"uniform soup: accuracy {accuracy:.4f}" in text
    assert run_script("predict", tmp_path / "soup", "--views", "identity", "--name", "plain") == 0
    again = load_predictions(tmp_path / "soup" / "predictions" / "plain" / "validation.npz")
    np.testing.assert_array_equal(again.logits.argmax(axis=1), validation.logits.argmax(axis=1))


def test_statistics_of_a_soup_are_those_of_its_own_parameters(members, tmp_path, capsys):
    assert soup(*members, "--method", "uniform", "--output", tmp_path / "soup") == 0
    found = flatten(load_trained(tmp_path / "soup").statistics)
    mean = [flatten(load_trained(member).statistics) for member in members]
    moved = [
        not np.allclose(leaf, np.mean([each[path] for each in mean], axis=0)) for path, leaf in found.items()
    ]
    assert all(np.isfinite(leaf).all() for leaf in found.values())
    assert sum(moved) > len(moved) / 2


def test_a_greedy_soup_is_never_worse_than_its_best_member_by_its_own_measure(members, tmp_path, capsys):
    assert soup(*members, "--output", tmp_path / "soup", "--passes", 2) == 0
    text, facts = summary(capsys)
    chosen = [params_of(member) for name in facts["chosen"] for member in members if member.name == name]
    assert_mean(params_of(tmp_path / "soup"), chosen)
    best = max(facts["members"].values(), key=lambda each: each["accuracy"])
    assert facts["members"][facts["chosen"][0]]["accuracy"] == best["accuracy"]
    assert facts["soup"]["accuracy"] >= best["accuracy"]
    assert len(facts["chosen"]) == 1 or facts["soup"]["accuracy"] > best["accuracy"]
    assert "it was chosen by these very images" in text


def test_a_learnt_soup_lowers_the_held_out_loss(members, tmp_path, capsys):
    options = ["--method", "learned", "--steps", 3, "--learning-rate", 0.5]
    assert soup(*members, *options, "--output", tmp_path / "soup") == 0
    _, facts = summary(capsys)
    weights = np.array(list(facts["weights_by_layer"].values()))
    np.testing.assert_allclose(weights.sum(axis=0), 1.0)
    assert weights.shape[1] > 1
    assert min(facts["losses"][1:]) < facts["losses"][0]
    assert soup(*members, *options, "--one-weight", "--output", tmp_path / "one") == 0
    _, facts = summary(capsys)
    weights = np.array(list(facts["weights_by_layer"].values()))
    assert weights.shape == (3, 1)
    expected = sum(
        weight * params_of(member)["classifier/kernel"]
        for weight, member in zip(weights[:, 0], members, strict=True)
    )
    np.testing.assert_allclose(
        params_of(tmp_path / "one")["classifier/kernel"], expected, rtol=1e-5, atol=1e-6
    )


def test_a_place_between_start_and_tuned_model_is_chosen(members, tmp_path, capsys):
    options = ["--method", "wise-ft", "--shares", 0, 0.5, 1]
    assert soup(members[1], *options, "--output", tmp_path / "soup") == 0
    _, facts = summary(capsys)
    assert list(facts["tried"]) == ["0", "0.5", "1"]
    best = max(facts["tried"].values(), key=lambda each: each["accuracy"])
    assert facts["tried"][f"{facts['share']:g}"]["accuracy"] == best["accuracy"]
    do_run(tmp_path / "start", epochs=0)
    start, tuned = params_of(tmp_path / "start"), params_of(members[1])
    for path, leaf in params_of(tmp_path / "soup").items():
        expected = start[path] + facts["share"] * (tuned[path] - start[path])
        np.testing.assert_allclose(leaf, expected, rtol=1e-5, atol=1e-6, err_msg=path)


def test_checkpoints_of_one_run_are_members(tmp_path, capsys):
    do_run(tmp_path / "run", averaging=Ema(decay=0.9))
    assert soup(tmp_path / "run" / "checkpoints", "--method", "uniform", "--output", tmp_path / "soup") == 0
    _, facts = summary(capsys)
    assert list(facts["members"]) == ["2", "4", "6", "8"]
    steps = [tmp_path / "run" / "checkpoints" / step for step in ("4", "8")]
    assert soup(*steps, "--method", "uniform", "--output", tmp_path / "two") == 0
    _, facts = summary(capsys)
    assert list(facts["members"]) == ["4", "8"]
    assert soup(tmp_path / "run" / "checkpoints" / "5", "--output", tmp_path / "none") == 2
    assert "checkpoints/5: is no finished checkpoint; those there are 2, 4, 6, 8" in capsys.readouterr().err


def test_the_folds_of_a_cross_validation_are_averaged_but_not_chosen_from(tmp_path, capsys):
    run_folds(dataclasses.replace(TINY, folds=2, output_dir=str(tmp_path / "folds")))
    assert soup(tmp_path / "folds", "--method", "uniform", "--output", tmp_path / "soup") == 0
    text, facts = summary(capsys)
    assert list(facts["members"]) == ["fold0", "fold1"]
    assert facts["measured_on"]["held_out"] is False
    assert "training images: no estimate of others" in text
    assert not (tmp_path / "soup" / "predictions" / "validation.npz").exists()
    assert (tmp_path / "soup" / "predictions" / "test.npz").exists()
    assert soup(tmp_path / "folds", "--method", "greedy", "--output", tmp_path / "greedy") == 2
    message = capsys.readouterr().err
    assert (
        "chooses by images that no member was trained on, and there are none that fold0 and fold1 all"
        in message
    )
    assert not (tmp_path / "greedy").exists()


@pytest.mark.slow
def test_a_run_that_trained_its_head_alone_keeps_that_of_its_members(tmp_path, capsys):
    for rate in (1e-3, 1e-2):
        do_run(tmp_path / f"{rate:g}", optimizer=AdamW(learning_rate=rate), tuning=HeadOnly())
    assert (
        soup(tmp_path / "0.001", tmp_path / "0.01", "--method", "uniform", "--output", tmp_path / "soup") == 0
    )
    models = [params_of(tmp_path / name) for name in ("0.001", "0.01")]
    assert_mean(params_of(tmp_path / "soup"), models)


def test_members_of_another_start_are_refused_with_a_measured_barrier(members, tmp_path, capsys):
    do_run(tmp_path / "stranger", seed=1, split=dataclasses.replace(TINY.split, seed=0))
    arguments = [*members[:2], tmp_path / "stranger", "--method", "uniform"]
    assert soup(*arguments, "--output", tmp_path / "soup") == 2
    message = capsys.readouterr().err
    assert "members that began with other parameters than the first (1):" in message
    assert (
        "stranger: began with seed 1, rate_0.001 with seed 0; on the line between them the loss rises"
        in message
    )
    assert "nats above that of its ends" in message
    assert not (tmp_path / "soup").exists()
    assert soup(*arguments, "--leave-out", "--output", tmp_path / "soup") == 0
    text, facts = summary(capsys)
    assert list(facts["left_out"]) == ["stranger"]
    assert "left out: stranger: began with seed 1" in text
    assert_mean(params_of(tmp_path / "soup"), [params_of(member) for member in members[:2]])


def test_members_of_another_kind_are_refused_before_anything_is_measured(members, tmp_path, capsys):
    do_run(tmp_path / "other", model=ModelOptions(name="test_resnet"))
    do_run(tmp_path / "head", tuning=HeadOnly())
    assert soup(members[0], tmp_path / "other", tmp_path / "head", "--output", tmp_path / "soup") == 2
    message = capsys.readouterr().err
    assert "members whose parameters cannot be averaged (2):" in message
    assert "other: is a test_resnet, and rate_0.001 a test_efficientnet" in message
    assert "head: has trained other parameters than rate_0.001, such as " in message


@pytest.mark.slow
def test_low_rank_factors_are_not_averaged(tmp_path, capsys):
    for rate in (1e-3, 1e-2):
        do_run(
            tmp_path / f"{rate:g}", model=ModelOptions(name="test_vit"), tuning=Lora(rank=2),
            optimizer=AdamW(learning_rate=rate),
        )  # fmt: skip
    assert soup(tmp_path / "0.001", tmp_path / "0.01", "--output", tmp_path / "soup") == 2
    assert (
        "0.001: trains low-rank factors, whose mean is not the mean of what they change"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "greedy"], "--method greedy: takes two members at least, and there is 1"),
        (["--method", "uniform", "--output", "."], "--output .: is there already; name a new directory"),
    ],
)
def test_what_cannot_be_averaged_is_told(options, message, members, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    assert soup(members[0], "--output", "new", *options) == 2
    assert message in capsys.readouterr().err


def test_wise_ft_takes_one_member(members, tmp_path, capsys):
    assert soup(*members, "--method", "wise-ft", "--output", tmp_path / "new") == 2
    assert "--method wise-ft: takes one member, and there are 3" in capsys.readouterr().err


def test_values_out_of_range_are_told(members, tmp_path, capsys):
    of = {"--passes": "greedy", "--steps": "learned", "--learning-rate": "learned", "--shares": "wise-ft"}
    for option, value in (("--passes", 0), ("--steps", 0), ("--learning-rate", 0), ("--shares", 1.5)):
        with pytest.raises(SystemExit):
            soup(members[0], "--output", tmp_path / "new", "--method", of[option], option, value)
        assert f"{option} {value:g}: must be" in capsys.readouterr().err


def test_a_directory_of_no_run_is_refused(tmp_path, capsys):
    assert soup(tmp_path, "--output", tmp_path / "new") == 2
    assert "is no run, as it has no config.json" in capsys.readouterr().err
    shutil.rmtree(tmp_path)


def test_images_that_some_member_was_trained_on_are_left_out_of_the_score(tmp_path, capsys):
    for name, split in (("one", 0), ("two", 1)):
        do_run(tmp_path / name, split=dataclasses.replace(TINY.split, fraction=0.4, seed=split))
    held_out = [
        set(load_predictions(tmp_path / name / "predictions" / "validation.npz").ids)
        for name in ("one", "two")
    ]
    shared = held_out[0] & held_out[1]
    assert 0 < len(shared) < len(held_out[0])
    assert soup(tmp_path / "one", tmp_path / "two", "--method", "uniform", "--output", tmp_path / "soup") == 0
    _, facts = summary(capsys)
    assert facts["measured_on"] == {"images": len(shared), "held_out": True}
    assert not (tmp_path / "soup" / "predictions" / "validation.npz").exists()


@pytest.mark.slow
def test_another_start_is_taken_where_the_loss_rises_little(tmp_path, capsys):
    for seed in (0, 1):
        do_run(tmp_path / f"{seed}", seed=seed, split=dataclasses.replace(TINY.split, seed=0))
    arguments = [tmp_path / "0", tmp_path / "1", "--method", "uniform", "--output", tmp_path / "soup"]
    assert soup(*arguments, "--highest-barrier", 100) == 0
    assert list(summary(capsys)[1]["members"]) == ["0", "1"]


def test_data_or_weights_that_have_changed_are_refused(members, tmp_path, capsys):
    copy = shutil.copytree(members[0], tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["source"]["train_per_class"] = 11
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "split.csv").unlink()
    assert run_script("predict", copy) == 2
    assert "data_fingerprint" in capsys.readouterr().err


def test_a_checkpoint_of_an_earlier_stage_is_refused(tmp_path, capsys):
    stages = (TuningStage(first_epoch=0, tuning=HeadOnly()), TuningStage(first_epoch=1, tuning=Everything()))
    do_run(tmp_path / "run", tuning=Staged(stages=stages))
    steps = [tmp_path / "run" / "checkpoints" / step for step in ("2", "4")]
    assert soup(*steps, "--method", "uniform", "--output", tmp_path / "soup") == 2
    assert "2: is a checkpoint of an earlier stage of its tuning" in capsys.readouterr().err


def test_options_of_another_method_are_refused(members, tmp_path, capsys):
    with pytest.raises(SystemExit):
        soup(*members, "--method", "uniform", "--passes", 2, "--output", tmp_path / "soup")
    assert "--passes: is of --method greedy, not of uniform" in capsys.readouterr().err
