"""Tables with several tasks: classes are the combinations of their columns."""

import pytest
from image_files import write_image, write_table

from sketch_jax.data.csv_table import Csv, load_csv
from sketch_jax.errors import InputError

ROWS = [("a.png", "far", 10, "ann"), ("b.png", "close", 9, "bob"), ("c.png", "far", 9, "ann")]


def write(root, rows=ROWS):
    for name, *_ in rows:
        write_image(root / "train" / name)
    write_image(root / "test" / "0.png")
    write_table(root / "train.csv", ("image_path", "condition", "category", "drawer"), rows)
    write_table(root / "test.csv", ("image_path", "condition", "category"), [("0.png", "close", 10)])
    write_table(root / "sample_submission.csv", ("ID", "image_path", "target"), [(0, "0.png", 0)])
    return root


def load(root, **fields):
    return load_csv(Csv(root=str(root), task_columns=("condition", "category"), **fields))


def test_classes_are_all_combinations_in_the_order_of_the_columns(tmp_path):
    dataset = load(write(tmp_path), group_column="drawer", test_labels=True)
    assert dataset.tasks.names == ("condition", "category")
    assert dataset.tasks.class_names == (("close", "far"), ("9", "10"))
    assert dataset.train.class_names == ("close/9", "close/10", "far/9", "far/10")
    assert dataset.train.labels.tolist() == [3, 0, 2]
    assert dataset.test.labels.tolist() == [1]
    assert dataset.train.groups == ("ann", "bob", "ann")
    assert dataset.submission.targets == ("0", "1", "2", "3")


def message(root, **fields):
    with pytest.raises(InputError) as caught:
        load(root, **fields)
    return str(caught.value)


def test_columns_that_make_no_classes_are_refused(tmp_path):
    root = write(tmp_path)
    assert message(root, class_list="names.txt") == (
        "--source.class-list: the classes of --source.task-columns are the values of these columns; "
        "leave one of the two out"
    )
    write(root, [("a.png", "far/off", 10, "ann"), ("b.png", "close", 9, "bob")])
    assert message(root) == (
        f"{root}/train.csv: '/' joins the tasks' classes, and must not occur in 'condition' (1):\n"
        "  'far/off'\n"
        "write these values in another way"
    )
    with pytest.raises(InputError, match=r"--source.task-columns categry: .*did you mean 'category'"):
        load_csv(Csv(root=str(root), task_columns=("categry",)))
