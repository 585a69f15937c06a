import os
import pickle

import pytest
from image_files import write_classes, write_image

from sketch_jax.data.decode import decode_image
from sketch_jax.data.folder import Folder, load_folder
from sketch_jax.errors import InputError


def message(source):
    with pytest.raises(InputError) as caught:
        load_folder(source)
    return str(caught.value)


def test_classes_are_the_folders_sorted_by_name(tmp_path):
    write_classes(tmp_path, ["owl", "ant", "Bee"], count=2)
    dataset = load_folder(Folder(root=str(tmp_path)))
    assert dataset.train.class_names == ("Bee", "ant", "owl")
    assert dataset.train.ids == ("Bee/0.png", "Bee/1.png", "ant/0.png", "ant/1.png", "owl/0.png", "owl/1.png")
    assert dataset.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.train.groups is None
    assert dataset.test is None
    assert dataset.submission is None
    assert dataset.skipped == {}


def test_rows_are_read_from_their_files_by_a_copy_in_another_process_too(tmp_path):
    write_classes(tmp_path, ["ant", "owl"])
    train = pickle.loads(pickle.dumps(load_folder(Folder(root=str(tmp_path))).train))
    for row, name in enumerate(train.ids):
        assert train.read(row) == tmp_path / name
        assert decode_image(train.read(row)).shape == (12, 10, 3)


def test_hidden_files_and_other_types_are_left_out(tmp_path):
    write_classes(tmp_path, ["ant", "owl"], count=1)
    write_image(tmp_path / ".git" / "0.png")
    write_image(tmp_path / "__MACOSX" / "ant" / "0.png")
    (tmp_path / "ant" / "._0.png").write_bytes(b"\0\5\26\7resource fork")
    (tmp_path / "ant" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "ant" / ".cache").mkdir()
    write_image(tmp_path / "ant" / ".cache" / "0.png")
    (tmp_path / "notes.txt").write_text("x")
    dataset = load_folder(Folder(root=str(tmp_path)))
    assert dataset.train.ids == ("ant/0.png", "owl/0.png")


def test_suffixes_of_any_case_and_nested_folders_belong_to_a_class(tmp_path):
    write_classes(tmp_path, ["ant", "owl"], count=1, suffix=".JPEG")
    write_image(tmp_path / "ant" / "red" / "big" / "7.Png")
    ids = load_folder(Folder(root=str(tmp_path))).train.ids
    assert ids == ("ant/0.JPEG", "ant/red/big/7.Png", "owl/0.JPEG")


def test_images_in_no_class_folder_are_recorded(tmp_path):
    write_classes(tmp_path, ["ant", "owl"], count=1)
    write_image(tmp_path / "preview.png")
    dataset = load_folder(Folder(root=str(tmp_path)))
    assert dataset.skipped == {"preview.png": "lies in no class folder"}


def test_train_and_test_beside_each_other_are_found(tmp_path):
    write_classes(tmp_path / "train", ["ant", "owl"], count=2)
    write_image(tmp_path / "test" / "b.png")
    write_image(tmp_path / "test" / "a.png")
    dataset = load_folder(Folder(root=str(tmp_path)))
    assert dataset.train.ids[0] == "train/ant/0.png"
    assert dataset.test.ids == ("test/a.png", "test/b.png")
    assert dataset.test.labels.tolist() == [-1, -1]
    assert dataset.test.class_names == ("ant", "owl")
    assert dataset.test.read(0) == tmp_path / "test" / "a.png"


def test_test_images_in_class_folders_have_labels(tmp_path):
    write_classes(tmp_path / "train", ["ant", "bee", "owl"], count=1)
    write_classes(tmp_path / "test", ["owl", "ant"], count=2)
    dataset = load_folder(Folder(root=str(tmp_path)))
    assert dataset.test.labels.tolist() == [0, 0, 2, 2]


def test_test_folders_of_which_none_is_a_class_leave_labels_unknown(tmp_path):
    write_classes(tmp_path / "train", ["ant", "owl"], count=1)
    write_classes(tmp_path / "test", ["batch1"], count=2)
    assert load_folder(Folder(root=str(tmp_path))).test.labels.tolist() == [-1, -1]


def test_a_class_may_be_called_train(tmp_path):
    write_classes(tmp_path, ["car", "train", "test"], count=1)
    dataset = load_folder(Folder(root=str(tmp_path)))
    assert dataset.train.class_names == ("car", "test", "train")
    assert dataset.test is None


def test_folders_of_other_names_can_be_given(tmp_path):
    write_classes(tmp_path / "training" / "images", ["ant", "owl"], count=1)
    write_image(tmp_path / "val" / "a.png")
    source = Folder(root=str(tmp_path), train_folder="training/images", test_folder="val")
    dataset = load_folder(source)
    assert dataset.train.ids == ("training/images/ant/0.png", "training/images/owl/0.png")
    assert dataset.test.ids == ("val/a.png",)


def test_a_missing_root_is_refused_with_the_nearest_name(tmp_path):
    (tmp_path / "sketches").mkdir()
    root = tmp_path / "sketchs" / "2024"
    assert message(Folder(root=str(root))) == (
        f"--source.root {root}: there is no such folder: {tmp_path} has no 'sketchs'; "
        "did you mean 'sketches'?"
    )


def test_a_missing_root_like_nothing_there_is_refused(tmp_path):
    root = tmp_path / "qqq"
    assert message(Folder(root=str(root))).endswith("has no 'qqq'; check the spelling, or make the folder")


def test_a_file_as_root_is_refused(tmp_path):
    path = write_image(tmp_path / "a.png")
    assert message(Folder(root=str(path))) == (
        f"--source.root {path}: is a file, not a folder; give the folder that holds the images"
    )


def test_missing_train_and_test_folders_are_refused(tmp_path):
    write_classes(tmp_path, ["ant", "owl"], count=1)
    assert "--source.train-folder" in message(Folder(root=str(tmp_path), train_folder="trian"))
    assert "--source.test-folder" in message(Folder(root=str(tmp_path), test_folder="tset"))


def test_all_empty_classes_are_listed(tmp_path):
    write_classes(tmp_path, ["ant", "owl"], count=1)
    (tmp_path / "bee").mkdir()
    (tmp_path / "yak").mkdir()
    (tmp_path / "yak" / "notes.txt").write_text("x")
    assert message(Folder(root=str(tmp_path))) == (
        f"{tmp_path}: every class needs at least one training image; empty classes (2):\n"
        "  'bee'\n  'yak'\nadd images of these classes, or remove the classes"
    )


def test_a_single_class_is_refused(tmp_path):
    write_classes(tmp_path, ["ant"], count=3)
    assert message(Folder(root=str(tmp_path))) == (
        f"{tmp_path}: training needs at least two classes, there is only 'ant'; add images of another"
    )


def test_a_folder_without_class_folders_is_refused(tmp_path):
    write_image(tmp_path / "a.png")
    assert message(Folder(root=str(tmp_path))) == (
        f"{tmp_path}: has no class folders (1 images lie directly in it); put the images of each class into "
        f"a folder of its own: {tmp_path}/CLASS/IMAGE"
    )


def test_test_folders_that_are_no_class_are_listed_with_suggestions(tmp_path):
    write_classes(tmp_path / "train", ["ant", "owl"], count=1)
    write_classes(tmp_path / "test", ["ant", "owll", "zebra"], count=1)
    text = message(Folder(root=str(tmp_path)))
    assert "folders of test images must bear names of the 2 training classes (2):" in text
    assert "'owll' is not a class; did you mean 'owl'?" in text
    assert "'zebra' is not a class\n" in text


def test_an_empty_test_folder_is_refused(tmp_path):
    write_classes(tmp_path / "train", ["ant", "owl"], count=1)
    (tmp_path / "test").mkdir()
    assert "holds no images" in message(Folder(root=str(tmp_path)))


def test_links_that_lead_out_are_refused_unless_allowed(tmp_path):
    root = write_classes(tmp_path / "root", ["ant", "owl"], count=1)
    outside = write_image(tmp_path / "elsewhere" / "a.png")
    (root / "ant" / "link.png").symlink_to(outside)
    (root / "bee").symlink_to(outside.parent)
    text = message(Folder(root=str(root)))
    assert text == (
        f"{root}: images must lie inside the folder (2):\n"
        f"  ant/link.png: leads out of {root}\n  bee/a.png: leads out of {root}\n"
        "copy the files there, or allow this with --source.allow-outside True"
    )
    allowed = load_folder(Folder(root=str(root), allow_outside=True)).train
    assert allowed.ids == ("ant/0.png", "ant/link.png", "bee/a.png", "owl/0.png")


def test_links_inside_the_root_are_followed_and_loops_end(tmp_path):
    write_classes(tmp_path, ["ant", "owl"], count=1)
    (tmp_path / "ant" / "copy.png").symlink_to(tmp_path / "ant" / "0.png")
    (tmp_path / "ant" / "loop").symlink_to(tmp_path / "ant")
    assert load_folder(Folder(root=str(tmp_path))).train.ids == ("ant/0.png", "ant/copy.png", "owl/0.png")


def test_a_root_that_is_itself_a_link_is_read(tmp_path):
    real = write_classes(tmp_path / "real", ["ant", "owl"], count=1)
    (tmp_path / "link").symlink_to(real)
    assert load_folder(Folder(root=str(tmp_path / "link"))).train.ids == ("ant/0.png", "owl/0.png")


def test_a_relative_root_is_read(tmp_path, monkeypatch):
    write_classes(tmp_path / "data", ["ant", "owl"], count=1)
    monkeypatch.chdir(tmp_path)
    train = load_folder(Folder(root="data")).train
    assert decode_image(train.read(1)).shape == (12, 10, 3)
    assert os.fspath(train.read(1)) == "data/owl/0.png"


def test_real_drawings_are_found_by_folder(quickdraw):
    dataset = load_folder(Folder(root=str(quickdraw)))
    assert len(dataset.train) == 2400
    assert len(dataset.train.class_names) == 24
    assert len(dataset.test) == 1920
