import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest

from sketch_jax.data.records import Examples
from sketch_jax.data.split_file import read_split, write_split
from sketch_jax.data.splits import KFold, create_folds
from sketch_jax.errors import InputError


def unread(row):
    raise AssertionError(f"a split must not read images, but row {row} was read")


@pytest.fixture
def examples():
    return Examples(
        ids=tuple(f"class {row % 3}/a, {row}.png" for row in range(30)),
        labels=np.arange(30, dtype=np.int32) % 3,
        class_names=("ant", "bee", "owl"),
        groups=tuple(f"person {row // 3}" for row in range(30)),
        read=unread,
    )


def changed(examples, **fields):
    return dataclasses.replace(examples, **fields)


def chosen(examples, rows):
    return Examples(
        ids=tuple(examples.ids[row] for row in rows),
        labels=examples.labels[rows],
        class_names=examples.class_names,
        groups=tuple(examples.groups[row] for row in rows),
        read=unread,
    )


def message(path, examples):
    with pytest.raises(InputError) as caught:
        read_split(path, examples)
    return str(caught.value)


def test_a_split_is_read_as_it_was_written(tmp_path, examples):
    folds = create_folds(KFold(), examples, 0)
    write_split(tmp_path / "run" / "split.csv", examples, folds)
    np.testing.assert_array_equal(read_split(tmp_path / "run" / "split.csv", examples), folds)
    assert os.listdir(tmp_path / "run") == ["split.csv"]


def test_the_table_has_the_columns_that_other_tools_rely_on(tmp_path, examples):
    write_split(tmp_path / "split.csv", examples, np.arange(30) % 5 - 1)
    lines = (tmp_path / "split.csv").read_text().splitlines()
    assert lines[0] == "id,label,group,fold"
    assert lines[1:4] == [
        '"class 0/a, 0.png",0,person 0,-1',
        '"class 1/a, 1.png",1,person 0,0',
        '"class 2/a, 2.png",2,person 0,1',
    ]
    assert len(lines) == 31


def test_without_groups_their_column_is_empty(tmp_path, examples):
    alone = changed(examples, groups=None)
    write_split(tmp_path / "split.csv", alone, np.zeros(30, np.int32))
    assert (tmp_path / "split.csv").read_text().splitlines()[1] == '"class 0/a, 0.png",0,,0'
    assert read_split(tmp_path / "split.csv", alone).tolist() == [0] * 30


def test_rows_are_found_by_their_id_in_any_order(tmp_path, examples):
    folds = create_folds(KFold(), examples, 0)
    write_split(tmp_path / "split.csv", examples, folds)
    order = np.random.default_rng(0).permutation(30)
    np.testing.assert_array_equal(read_split(tmp_path / "split.csv", chosen(examples, order)), folds[order])


def test_a_full_disk_leaves_no_half_written_file(tmp_path, examples):
    """The limit on file size stands for a full disk: a write beyond it fails."""
    code = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from sketch_jax.data.records import Examples
from sketch_jax.data.split_file import write_split
from sketch_jax.errors import InputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
examples = Examples(ids=tuple(map(str, range(50_000))), labels=np.zeros(50_000, np.int32),
                    class_names=("a", "b"), read=str)
try:
    write_split(Path(sys.argv[1]), examples, np.zeros(50_000, np.int32))
except InputError as error:
    print("refused", error)
"""
    path = tmp_path / "split.csv"
    command = [sys.executable, "-c", code, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"refused {path}: ")
    assert list(tmp_path.iterdir()) == []


def test_other_ids_are_refused_with_the_difference(tmp_path, examples):
    path = tmp_path / "split.csv"
    write_split(path, examples, np.zeros(30, np.int32))
    ids = ("new.png", *examples.ids[1:])
    assert message(path, changed(examples, ids=ids)) == (
        f"{path}: was written for other training examples (2):\n"
        "  'new.png' is new\n  'class 0/a, 0.png' is gone\n"
        "restore the data set as it was, or start in another --output-dir"
    )


def test_other_labels_and_groups_are_refused_with_the_difference(tmp_path, examples):
    path = tmp_path / "split.csv"
    write_split(path, examples, np.zeros(30, np.int32))
    labels = examples.labels.copy()
    labels[4] = 2
    text = message(path, changed(examples, labels=labels, groups=("nobody", *examples.groups[1:])))
    assert "other training examples (2):" in text
    assert "'class 1/a, 4.png' has label '2', had '1'" in text
    assert "'class 0/a, 0.png' has group 'nobody', had 'person 0'" in text


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ("id,label,group,fold", "id,label,group,part", "has no such column; its columns are"),
        (",person 0,0\n", ",person 0,first\n", "folds must be whole numbers from -1 (3):\n  line 2: 'first'"),
        (",person 0,0\n", ",person 0\n", "every row needs the 4 fields of the header"),
        ('"class 1/a, 1.png"', '"class 0/a, 0.png"', "line 3: 'class 0/a, 0.png' is on line 2 already"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, examples, before, after, text):
    path = tmp_path / "split.csv"
    write_split(path, examples, np.zeros(30, np.int32))
    path.write_text(path.read_text().replace(before, after))
    assert text in message(path, examples)
