"""Runs of the command on images in files, and from pretrained weights."""

import json
from pathlib import Path

from command import QUICKSTART, SMALL, finish, images_in, tiny

from sketch_jax.predictions import load_predictions


def test_a_contest_folder_gives_a_submission_in_the_samples_layout(tmp_path):
    root = tmp_path / "contest"
    for index, name in enumerate(("cat", "dog")):
        images_in(root / "train" / name, 6 + index)
    images_in(root / "test", 5)
    rows = [
        f"{name},{name}/{index}.png,{label}"
        for label, name in enumerate(("cat", "dog"))
        for index in range(6)
    ]
    (root / "train.csv").write_text("class_name,image_path,target\n" + "\n".join(rows) + "\n")
    (root / "test.csv").write_text("image_path\n" + "".join(f"{index}.png\n" for index in (3, 1, 0, 2, 4)))
    sample = "".join(f"{row},{index}.png,0\n" for row, index in enumerate((3, 1, 0, 2, 4)))
    (root / "sample_submission.csv").write_text("ID,image_path,target\n" + sample)
    config = str(Path(QUICKSTART).with_name("csv.py"))
    done = finish(
        config,
        "--source.root",
        str(root),
        *SMALL,
        "--schedule.warmup-epochs",
        "0",
        "--output-dir",
        str(tmp_path / "run"),
    )
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "run" / "submission.csv").read_text().splitlines()
    assert written[0] == "ID,image_path,target"
    assert [line.rsplit(",", 1)[0] for line in written[1:]] == [
        line.rsplit(",", 1)[0] for line in sample.splitlines()
    ]
    answers = load_predictions(tmp_path / "run" / "predictions" / "test.npz")
    best = dict(zip(answers.ids, answers.logits.argmax(-1).tolist(), strict=True))
    assert [int(line.rsplit(",", 1)[1]) for line in written[1:]] == [
        best[f"{index}.png"] for index in (3, 1, 0, 2, 4)
    ]


def test_pretrained_weights_are_loaded_and_reported(mobilenet_weights, tmp_path):
    done = tiny(
        tmp_path / "run",
        "--model.name",
        "mobilenetv2_035",
        "--model.pretrained",
        f"local-dir:{mobilenet_weights}",
    )
    assert done.returncode == 0, done.stderr
    assert "260 tensors" in done.stdout
    assert "newly made: classifier.bias, classifier.weight" in done.stdout
    record = json.loads(next((tmp_path / "run" / "checkpoints").glob("*/checkpoint.json")).read_text())
    assert record["record"]["preprocessing"]["mean"] == [0.5, 0.5, 0.5]


def test_weights_of_another_model_are_refused_with_the_tensors_that_differ(mobilenet_weights, tmp_path):
    done = tiny(
        tmp_path / "run",
        "--model.name",
        "mobilenetv2_050",
        "--model.pretrained",
        f"local-dir:{mobilenet_weights}",
    )
    assert done.returncode == 2
    assert "set --model.name mobilenetv2_035" in done.stderr
    assert not (tmp_path / "run").exists()
