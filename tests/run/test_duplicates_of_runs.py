"""Near-duplicates of a run's data stay on one side of its split, and are listed."""

import csv
import shutil

import numpy as np
import pytest
from command import here
from PIL import Image

from sketch_jax.data.decode import decode_image
from sketch_jax.data.doodles import Doodles, load_doodles
from sketch_jax.data.options import NearDuplicates
from sketch_jax.errors import InputError

CLASSES = ("cat", "house")


@pytest.fixture
def contest(tmp_path):
    """24 drawings: 21 is 0 turned, with the other class; the test set has 1 mirrored; 2 and 4 are one."""
    doodles = load_doodles(Doodles(classes=CLASSES, train_per_class=12, test_per_class=1))
    images = [decode_image(doodles.train.read(row)) for row in range(24)]
    images[21], images[4] = np.rot90(images[0]), images[2]
    tests = [images[1][:, ::-1], decode_image(doodles.test.read(0))]
    root = tmp_path / "contest"
    for part, pictures in (("train", images), ("test", tests)):
        (root / part).mkdir(parents=True)
        for number, pixels in enumerate(pictures):
            Image.fromarray(np.ascontiguousarray(pixels)).save(root / part / f"{number}.png")
    labels = doodles.train.labels
    (root / "train.csv").write_text(
        "class_name,image_path,target,drawer\n"
        + "".join(f"{CLASSES[labels[row]]},{row}.png,{labels[row]},drawer{row // 2}\n" for row in range(24))
    )
    (root / "test.csv").write_text("image_path\n0.png\n1.png\n")
    return root


def arguments_of(contest, directory):
    return [
        *"--epochs 0 --model.pretrained None --model.name test_vit --image-size 32 --batch-size 4".split(),
        *(
            "--source.root",
            str(contest),
            "--source.sample-submission",
            "None",
            "--output-dir",
            str(directory),
        ),
        *"--duplicates.kind NearDuplicates --split.kind KFold --split.count 4".split(),
    ]


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_near_duplicates_and_their_drawers_stay_together_and_are_listed_with_their_classes(
    contest, tmp_path, root
):
    directory, config = tmp_path / "run", str(root / "configs" / "csv.py")
    done = here(config, *arguments_of(contest, directory), "--source.group-column", "drawer")
    assert done.returncode == 0, done.stderr
    assert (
        "copies    3 pairs of near-duplicates, 1 of a training and a test image and 1 of two classes, "
        "listed in duplicates.csv"
    ) in done.stdout
    pairs = {(row["first"], row["second"]): row for row in rows_of(directory / "duplicates.csv")}
    assert set(pairs) == {("0.png", "21.png"), ("1.png", "0.png"), ("2.png", "4.png")}
    turned = pairs["0.png", "21.png"]
    assert turned["first_class"] != turned["second_class"]
    assert pairs["1.png", "0.png"]["second_part"] == "test"
    assert float(pairs["2.png", "4.png"]["similarity"]) == 1.0
    rows = {row["id"]: row for row in rows_of(directory / "split.csv")}
    for one, other in ((0, 21), (2, 4)):
        drawers = {f"drawer{one // 2}", f"drawer{other // 2}"}
        together = [row for row in rows.values() if row["group"] in drawers]
        assert len(together) == 4
        assert len({row["fold"] for row in together}) == 1
    assert len({row["group"] for row in rows.values()}) == 12


def test_a_run_goes_on_with_its_split_whatever_the_test_set_has_become(contest, tmp_path, root):
    directory, config = tmp_path / "run", str(root / "configs" / "csv.py")
    assert here(config, *arguments_of(contest, directory)).returncode == 0
    before = (directory / "split.csv").read_bytes(), (directory / "duplicates.csv").read_bytes()
    shutil.copy(contest / "train" / "7.png", contest / "test" / "2.png")
    (contest / "test.csv").write_text("image_path\n0.png\n1.png\n2.png\n")
    again = here(config, *arguments_of(contest, directory))
    assert again.returncode == 0, again.stderr
    assert "near-duplicates" not in again.stdout
    assert before == ((directory / "split.csv").read_bytes(), (directory / "duplicates.csv").read_bytes())


def test_similarities_that_are_no_correlations_are_refused():
    for value in (0.0, 1.5):
        with pytest.raises(
            InputError, match=rf"--duplicates.similarity {value:g}: must be above 0 and at most"
        ):
            NearDuplicates(similarity=value)
