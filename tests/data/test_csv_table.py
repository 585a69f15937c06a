import pytest
from image_files import write_classes, write_contest, write_image, write_table

from sketch_jax.data.csv_table import Csv, load_csv
from sketch_jax.data.decode import decode_image
from sketch_jax.errors import InputError


@pytest.fixture
def contest(tmp_path):
    return write_contest(tmp_path)


def message(root, **fields):
    with pytest.raises(InputError) as caught:
        load_csv(Csv(root=str(root), **fields))
    return str(caught.value)


def train_table(root, rows, columns=("class_name", "image_path", "target")):
    for row in rows:
        path = root / "train" / row[columns.index("image_path")]
        if not path.exists():
            write_image(path)
    return write_table(root / "train.csv", columns, rows)


def test_the_contest_layout_is_read_by_default(contest):
    dataset = load_csv(Csv(root=str(contest)))
    assert dataset.train.ids[:2] == ("cat/sketch_0.png", "cat/sketch_1.png")
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.train.class_names == ("cat", "dog")
    assert dataset.train.groups is None
    assert dataset.train.read(3) == contest / "train" / "dog" / "sketch_0.png"
    assert dataset.test.ids == ("0.png", "1.png")
    assert dataset.test.labels.tolist() == [-1, -1]
    assert dataset.test.class_names == ("cat", "dog")
    assert decode_image(dataset.test.read(1)).shape == (12, 10, 3)
    assert dataset.skipped == {}


def test_the_submission_layout_is_that_of_the_sample(contest):
    layout = load_csv(Csv(root=str(contest))).submission
    assert layout.columns == ("ID", "image_path", "target")
    assert layout.rows == (("0", "0.png", "0"), ("1", "1.png", "0"))
    assert layout.id_column == "image_path"
    assert layout.target_column == "target"
    assert layout.targets == ("0", "1")


def test_class_order_follows_numbers_not_names_or_rows(tmp_path):
    write_contest(tmp_path)
    train_table(
        tmp_path, [("dog", "d.png", 9), ("cat", "c.png", 10), ("dog", "e.png", 9), ("ant", "a.png", 2)]
    )
    dataset = load_csv(Csv(root=str(tmp_path)))
    assert dataset.train.class_names == ("ant", "dog", "cat")
    assert dataset.train.labels.tolist() == [1, 2, 1, 0]
    assert dataset.submission.targets == ("2", "9", "10")


def test_labels_may_be_names_and_all_columns_have_other_names(tmp_path):
    write_classes(tmp_path, ["owl", "ant"], count=2)
    rows = [("owl/0.png", "owl"), ("ant/1.png", "ant"), ("ant/0.png", "ant")]
    write_table(tmp_path / "labels.tsv", ("file", "label"), rows)
    text = (tmp_path / "labels.tsv").read_text().replace(",", "\t")
    (tmp_path / "labels.tsv").write_text(text)
    source = Csv(
        root=str(tmp_path),
        train_table="labels.tsv",
        test_table=None,
        sample_submission=None,
        train_folder=".",
        path_column="file",
        label_column="label",
        class_name_column=None,
        delimiter="\t",
    )
    dataset = load_csv(source)
    assert dataset.train.class_names == ("ant", "owl")
    assert dataset.train.labels.tolist() == [1, 0, 0]
    assert dataset.train.read(0) == tmp_path / "owl" / "0.png"
    assert dataset.test is None
    assert dataset.submission is None


def test_labels_like_007_are_names(tmp_path):
    write_contest(tmp_path)
    rows = [("b", "b.png", "007"), ("a", "a.png", "010"), ("c", "c.png", "7")]
    train_table(tmp_path, rows)
    dataset = load_csv(Csv(root=str(tmp_path)))
    assert dataset.train.class_names == ("b", "a", "c")
    assert dataset.submission.targets == ("007", "010", "7")


def test_groups_come_from_their_column(tmp_path):
    write_contest(tmp_path)
    columns = ("class_name", "image_path", "target", "drawer")
    train_table(tmp_path, [("a", "a.png", 0, "ann"), ("b", "b.png", 1, "bob")], columns)
    assert load_csv(Csv(root=str(tmp_path), group_column="drawer")).train.groups == ("ann", "bob")
    train_table(tmp_path, [("a", "a.png", 0, "ann"), ("b", "b.png", 1, " ")], columns)
    assert message(tmp_path, group_column="drawer") == (
        f"{tmp_path}/train.csv: 'drawer' is empty in some rows (1):\n  line 3\nfill in or remove these rows"
    )


def test_numbers_come_from_their_column(tmp_path):
    columns = ("image_path", "target", "age")
    rows = [("a.png", 0, " 18.5"), ("b.png", 1, "60")]
    train_table(tmp_path, rows, columns)
    fields = {"class_name_column": None, "test_table": None, "number_column": "age"}
    assert load_csv(Csv(root=str(tmp_path), **fields)).train.numbers.tolist() == [18.5, 60.0]
    train_table(tmp_path, [*rows, ("c.png", 1, "inf"), ("d.png", 1, "old")], columns)
    assert message(tmp_path, **fields) == (
        f"{tmp_path}/train.csv: column 'age' of --source.number-column must hold numbers (2):\n"
        "  line 4: 'inf' is none\n"
        "  line 5: 'old' is none\n"
        "correct these rows, or leave the option out"
    )
    assert load_csv(Csv(root=str(tmp_path), **{**fields, "number_column": None})).train.numbers is None


def test_a_class_list_fixes_the_order_of_names(contest):
    (contest / "classes.txt").write_text("dog\ncat\n")
    fields = {"label_column": "class_name", "class_name_column": None, "class_list": "classes.txt"}
    dataset = load_csv(Csv(root=str(contest), submission_target_column="target", **fields))
    assert dataset.train.class_names == ("dog", "cat")
    assert dataset.train.labels.tolist() == [1, 1, 1, 0, 0, 0]
    assert dataset.submission.targets == ("dog", "cat")


def test_a_class_list_names_the_numbers(contest):
    (contest / "classes.txt").write_text("dog\ncat\n")
    text = message(contest, class_list="classes.txt")
    assert "each label needs one class name, and each name one label (6):" in text
    assert "line 2: label '0' is named 'cat', elsewhere 'dog'" in text
    dataset = load_csv(Csv(root=str(contest), class_list="classes.txt", class_name_column=None))
    assert dataset.train.class_names == ("dog", "cat")
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_labels_outside_the_class_list_are_listed_with_suggestions(contest):
    (contest / "classes.txt").write_text("cart\ndog\n")
    fields = {"label_column": "class_name", "class_name_column": None, "class_list": "classes.txt"}
    assert message(contest, **fields) == (
        f"{contest}/train.csv: labels must be among the 2 classes (3):\n"
        "  line 2: label 'cat' is not; did you mean 'cart'?\n"
        "  line 3: label 'cat' is not; did you mean 'cart'?\n"
        "  line 4: label 'cat' is not; did you mean 'cart'?\n"
        "correct these labels, or list all classes in the file of --source.class-list"
    )


def test_a_class_of_the_list_without_images_is_refused(contest):
    (contest / "classes.txt").write_text("cat\ndog\nemu\n")
    text = message(contest, class_list="classes.txt")
    assert "every class needs at least one training image; empty classes (1):\n  'emu'" in text


def test_a_class_list_that_is_missing_or_repeats_names_is_refused(contest):
    assert "there is no file" in message(contest, class_list="classes.txt")
    (contest / "classes.txt").write_text("cat\ndog\ncat\n")
    assert "class names must differ (1):\n  'cat'" in message(contest, class_list="classes.txt")


def test_a_label_with_two_names_is_refused(tmp_path):
    write_contest(tmp_path)
    train_table(tmp_path, [("cat", "a.png", 0), ("dog", "b.png", 1), ("cow", "c.png", 1)])
    assert message(tmp_path) == (
        f"{tmp_path}/train.csv: each label needs one class name, and each name one label (1):\n"
        "  line 4: label '1' is named 'cow', elsewhere 'dog'\ncorrect these rows"
    )


def test_a_name_with_two_labels_is_refused(tmp_path):
    write_contest(tmp_path)
    train_table(tmp_path, [("cat", "a.png", 0), ("dog", "b.png", 1), ("dog", "c.png", 2)])
    assert "line 4: 'dog' has label '2', elsewhere '1'" in message(tmp_path)


def test_a_single_class_is_refused(tmp_path):
    write_contest(tmp_path)
    train_table(tmp_path, [("cat", "a.png", 0), ("cat", "b.png", 0)])
    assert "training needs at least two classes, there is only 'cat'" in message(tmp_path)


@pytest.mark.parametrize(
    ("field", "option"),
    [
        ("path_column", "--source.path-column"),
        ("label_column", "--source.label-column"),
        ("class_name_column", "--source.class-name-column"),
        ("group_column", "--source.group-column"),
    ],
)
def test_a_missing_column_is_refused_and_says_which_there_are(contest, field, option):
    assert message(contest, **{field: "tagret"}) == (
        f"{option} tagret: {contest}/train.csv has no such column; its columns are "
        "'class_name', 'image_path', 'target'; did you mean 'target'?"
    )


def test_missing_tables_are_refused_with_the_nearest_name_or_the_way_without(contest):
    (contest / "train.csv").rename(contest / "trian.csv")
    assert message(contest) == (
        f"--source.train-table: there is no file {contest}/train.csv; did you mean 'trian.csv'?"
    )
    (contest / "trian.csv").rename(contest / "train.csv")
    (contest / "test.csv").unlink()
    (contest / "sample_submission.csv").unlink()
    (contest / "train.csv").rename(contest / "labels")
    assert message(contest, train_table="labels") == (
        f"--source.test-table: there is no file {contest}/test.csv; "
        "give its name below the root, or --source.test-table None"
    )
    assert load_csv(Csv(root=str(contest), train_table="labels", test_table=None)).submission is None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "holds nothing; the file needs a header and a row for each image"),
        (b"class_name,image_path,target\n", "holds a header but no rows"),
        (b"class_name,image_path,target\r\nb\xe4r,a.png,0\r\n", "line 2: byte 0xe4 is not UTF-8 text"),
        ("class_name,image_path,target\na,b.png,0".encode("utf-16"), "line 1: byte 0xff is not UTF-8 text"),
        (
            b"class_name,image_path,target\na,b.png\n",
            "needs the 3 fields of the header (1):\n  line 2: 2 fields",
        ),
        (b"image_path,target,target\na,b,c\n", "columns must have different names (1):\n  'target'"),
        (b'class_name,image_path,target\n"a"b,c,0\n', "line 2: ',' expected after '\"'"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(contest, content, text):
    (contest / "train.csv").write_bytes(content)
    assert message(contest).startswith(f"{contest}/train.csv")
    assert text in message(contest)


def test_a_byte_order_mark_blank_lines_and_windows_ends_do_no_harm(contest):
    content = (contest / "train.csv").read_bytes().replace(b"\n", b"\r\n")
    (contest / "train.csv").write_bytes(b"\xef\xbb\xbf" + content + b"\r\n\r\n")
    assert len(load_csv(Csv(root=str(contest))).train) == 6


def test_a_field_over_two_lines_keeps_the_numbers_of_later_lines(tmp_path):
    write_contest(tmp_path)
    write_image(tmp_path / "train" / "a.png")
    (tmp_path / "train.csv").write_text('class_name,image_path,target\n"a\nb",a.png,0\n"c",a.png,1\n')
    assert "line 4: 'a.png' is on line 3 already" in message(tmp_path)


def test_repeated_ids_are_listed(tmp_path):
    write_contest(tmp_path)
    rows = [("cat", "a.png", 0), ("dog", "b.png", 1), ("dog", "a.png", 1), ("dog", "b.png", 1)]
    train_table(tmp_path, rows)
    assert message(tmp_path) == (
        f"{tmp_path}/train.csv: values of 'image_path' must differ (2):\n"
        "  line 4: 'a.png' is on line 2 already\n  line 5: 'b.png' is on line 3 already\n"
        "remove the repeated rows"
    )


def test_images_missing_on_disk_are_all_listed(contest):
    (contest / "train" / "cat" / "sketch_1.png").rename(contest / "train" / "cat" / "sketch_1.PNG")
    (contest / "train" / "dog" / "sketch_2.png").unlink()
    text = message(contest)
    assert f"{contest}/train.csv: paths must be those of images below {contest} (2):" in text
    assert "train/cat/sketch_1.png: there is no such file; did you mean" in text
    assert "train/dog/sketch_2.png: there is no such file" in text
    assert "paths start from 'train' below the root" in text


def test_a_test_image_missing_on_disk_is_refused(contest):
    (contest / "test" / "1.png").unlink()
    text = message(contest, on_bad_image="skip")
    assert f"{contest}/test.csv: paths must be those of images" in text
    assert "test/1.png: there is no such file" in text


@pytest.mark.parametrize("kind", ["absolute", "parent", "link"])
def test_paths_that_leave_the_root_are_refused_unless_allowed(tmp_path, kind):
    root = write_contest(tmp_path / "root")
    outside = write_image(tmp_path / "secret.png")
    (root / "train" / "link.png").symlink_to(outside)
    path = {"absolute": str(outside), "parent": "../../secret.png", "link": "link.png"}[kind]
    write_table(
        root / "train.csv",
        ("class_name", "image_path", "target"),
        [("cat", path, 0), ("dog", "dog/sketch_0.png", 1)],
    )
    text = message(root)
    assert f": leads out of {root}\n" in text
    assert "--source.allow-outside True permits others" in text
    train = load_csv(Csv(root=str(root), allow_outside=True)).train
    assert train.ids[0] == path
    assert decode_image(train.read(0)).shape == (12, 10, 3)
    outside.rename(tmp_path / "secrets.png")
    name = path.rpartition("/")[2]
    assert f"{name}: there is no such file\n" in message(root)
    assert "leads out" not in message(root)


def test_labels_of_the_test_table_are_read_only_when_true(contest):
    write_table(contest / "test.csv", ("image_path", "target"), [("0.png", 1), ("1.png", 0)])
    assert load_csv(Csv(root=str(contest))).test.labels.tolist() == [-1, -1]
    assert load_csv(Csv(root=str(contest), test_labels=True)).test.labels.tolist() == [1, 0]
    write_table(contest / "test.csv", ("image_path", "target"), [("0.png", 1), ("1.png", 7)])
    assert "test.csv: labels must be among the 2 classes (1):\n  line 3: label '7' is not" in message(
        contest, test_labels=True
    )


def test_a_submission_by_other_ids_and_columns_is_understood(contest):
    write_table(contest / "test.csv", ("key", "image_path"), [("k7", "0.png"), ("k3", "1.png")])
    write_table(contest / "sample_submission.csv", ("ImageID", "ans"), [("k3", 0), ("k7", 0)])
    fields = {"test_id_column": "key", "submission_target_column": "ans"}
    dataset = load_csv(Csv(root=str(contest), **fields))
    assert dataset.test.ids == ("k7", "k3")
    assert dataset.test.read(0) == contest / "test" / "0.png"
    assert dataset.submission.id_column == "ImageID"
    assert dataset.submission.rows == (("k3", "0"), ("k7", "0"))
    assert "no column holds the ids of the test table, such as '0.png'" in message(
        contest, submission_target_column="ans"
    )


def test_a_sample_submission_of_other_images_is_refused_with_the_difference(contest):
    write_table(
        contest / "sample_submission.csv", ("ID", "image_path", "target"), [(0, "0.png", 0), (1, "9.png", 0)]
    )
    assert message(contest) == (
        f"{contest}/sample_submission.csv: needs one row for each of the 2 test images (2):\n"
        "  '1.png' is missing\n  '9.png' is not in the test table\n"
        "take the sample submission and the test table of the same data set"
    )


def test_a_sample_submission_without_the_target_column_is_refused(contest):
    assert message(contest, submission_target_column="ans").startswith(
        f"--source.submission-target-column ans: {contest}/sample_submission.csv has no such column"
    )


def test_real_sketches_of_the_contest_layout_are_read(quickdraw):
    dataset = load_csv(Csv(root=str(quickdraw), class_list="classes.txt"))
    assert len(dataset.train) == 2400
    assert set(dataset.train.labels.tolist()) == set(range(24))
    assert len(dataset.test) == len(dataset.submission.rows) == 1920
    for row in (0, 1199, 2399):
        name = dataset.train.class_names[dataset.train.labels[row]]
        assert dataset.train.ids[row].startswith(f"{name}/")
        assert decode_image(dataset.train.read(row)).shape == (64, 64, 3)


def test_real_sketches_have_drawers(refgame):
    dataset = load_csv(Csv(root=str(refgame), group_column="drawer"))
    assert len(dataset.train) == len(dataset.train.groups) == 1908
    assert len(set(dataset.train.groups)) == 62
    assert len(dataset.test) == 941
