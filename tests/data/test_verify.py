import pytest
from image_files import truncate, write_classes, write_contest, write_image

from sketch_jax.data.csv_table import Csv
from sketch_jax.data.decode import decode_image, load_image
from sketch_jax.data.doodles import Doodles
from sketch_jax.data.fingerprint import fingerprint
from sketch_jax.data.folder import Folder, load_folder
from sketch_jax.data.sources import load_source
from sketch_jax.data.verify import check_images
from sketch_jax.errors import InputError
from sketch_jax.preprocessing import Preprocessing


@pytest.fixture
def damaged(tmp_path):
    """A contest's folder with two bad training images and a bad test image."""
    root = write_contest(tmp_path, count=4, test_count=3)
    truncate(root / "train" / "cat" / "sketch_1.png")
    (root / "train" / "dog" / "sketch_3.png").write_text("no image")
    truncate(root / "test" / "1.png")
    return root


def test_all_bad_images_are_listed_before_anything_else_happens(damaged):
    with pytest.raises(InputError) as caught:
        load_source(Csv(root=str(damaged)))
    assert str(caught.value) == (
        f"{damaged}: images that cannot be read (3):\n"
        "  cat/sketch_1.png: image file is truncated\n"
        "  dog/sketch_3.png: it is none of JPEG, PNG, WEBP, BMP, GIF, TIFF\n"
        "  test image 1.png: image file is truncated\n"
        "replace these files, or go on without them by --source.on-bad-image skip"
    )


def test_skipping_leaves_bad_training_images_out_and_records_them(damaged):
    dataset = load_source(Csv(root=str(damaged), on_bad_image="skip"))
    assert dataset.train.ids == tuple(
        f"{name}/sketch_{number}.png"
        for name, number in [("cat", 0), ("cat", 2), ("cat", 3), ("dog", 0), ("dog", 1), ("dog", 2)]
    )
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.train.read(3) == damaged / "train" / "dog" / "sketch_0.png"
    assert set(dataset.skipped) == {"cat/sketch_1.png", "dog/sketch_3.png", "test image 1.png"}
    assert dataset.skipped["test image 1.png"] == "image file is truncated"


def test_skipping_never_drops_a_test_image_but_reads_it_as_blank_paper(damaged):
    dataset = load_source(Csv(root=str(damaged), on_bad_image="skip"))
    assert dataset.test.ids == ("0.png", "1.png", "2.png")
    assert len(dataset.submission.rows) == 3
    assert (load_image(dataset.test.read(1), Preprocessing(image_size=20)) == 255).all()
    assert not (decode_image(dataset.test.read(2)) == 255).all()
    assert dataset.test.read(2) == damaged / "test" / "2.png"


def test_groups_and_numbers_follow_the_images_that_are_left(damaged):
    table = damaged / "train.csv"
    lines = table.read_text().splitlines()
    rows = [f"{line},p{n},{n}" for n, line in enumerate(lines[1:])]
    table.write_text("\n".join([f"{lines[0]},who,age", *rows]))
    source = Csv(root=str(damaged), on_bad_image="skip", group_column="who", number_column="age")
    train = load_source(source).train
    assert train.groups == ("p0", "p2", "p3", "p4", "p5", "p6")
    assert train.numbers.tolist() == [0.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_skipping_all_images_of_a_class_is_refused(tmp_path):
    write_classes(tmp_path, ["ant", "bee", "owl"], count=2)
    truncate(tmp_path / "bee" / "0.png")
    truncate(tmp_path / "bee" / "1.png")
    with pytest.raises(InputError, match=r"bad images left out: every class needs .* \(1\):\n  'bee'"):
        load_source(Folder(root=str(tmp_path), on_bad_image="skip"))


def test_trusted_images_are_not_opened(damaged):
    dataset = load_source(Csv(root=str(damaged), on_bad_image="trust"))
    assert len(dataset.train) == 8
    assert dataset.skipped == {}


def test_good_images_stay_as_they_are(tmp_path):
    write_classes(tmp_path / "train", ["ant", "owl"])
    write_image(tmp_path / "test" / "a.png")
    loaded = load_folder(Folder(root=str(tmp_path)))
    for choice in ("error", "skip"):
        checked = load_source(Folder(root=str(tmp_path), on_bad_image=choice))
        assert checked.train.ids == loaded.train.ids
        assert checked.train.read == loaded.train.read
        assert checked.test.read == loaded.test.read


def test_images_left_out_earlier_stay_recorded(tmp_path):
    write_classes(tmp_path, ["ant", "owl"], count=2)
    write_image(tmp_path / "preview.png")
    truncate(tmp_path / "ant" / "0.png")
    skipped = load_source(Folder(root=str(tmp_path), on_bad_image="skip")).skipped
    assert skipped == {"preview.png": "lies in no class folder", "ant/0.png": "image file is truncated"}


def test_progress_ends_at_the_number_of_all_images(tmp_path):
    write_classes(tmp_path / "train", ["ant", "owl"], count=70)
    write_image(tmp_path / "test" / "a.png")
    told = []
    load_source(Folder(root=str(tmp_path)), progress=lambda done, total: told.append((done, total)))
    assert told == [(64, 141), (128, 141), (140, 141), (141, 141)]


def test_any_number_of_threads_finds_the_same_rows(tmp_path):
    write_classes(tmp_path, ["ant", "owl"], count=150)
    for number in (3, 77, 149):
        truncate(tmp_path / "owl" / f"{number}.png")
    train = load_folder(Folder(root=str(tmp_path))).train
    expected = [
        row for row, name in enumerate(train.ids) if name in ("owl/3.png", "owl/77.png", "owl/149.png")
    ]
    for threads in (1, 7):
        assert list(check_images(train, threads=threads)) == expected


def test_drawn_images_need_no_check():
    told = []
    dataset = load_source(Doodles(), progress=lambda done, total: told.append(done))
    assert len(dataset.train) > 0
    assert told == []


def test_equal_data_have_equal_fingerprints_wherever_they_lie(tmp_path):
    first = load_folder(Folder(root=str(write_classes(tmp_path / "a", ["ant", "owl"])))).train
    second = load_folder(Folder(root=str(write_classes(tmp_path / "b", ["ant", "owl"])))).train
    assert fingerprint(first) == fingerprint(second)
    assert len(fingerprint(first)) == 16


def test_a_fingerprint_shows_every_change(tmp_path):
    def current(**fields):
        return fingerprint(load_source(Csv(root=str(tmp_path), **fields)).train)

    write_contest(tmp_path, count=4)
    seen = [current(), current(group_column="class_name")]
    write_image(tmp_path / "train" / "cat" / "sketch_0.png", size=(50, 50))
    seen.append(current())
    truncate(tmp_path / "train" / "dog" / "sketch_2.png")
    seen.append(current(on_bad_image="skip"))
    write_contest(tmp_path, classes=("cat", "dug"), count=4)
    seen.append(current())
    table = (tmp_path / "train.csv").read_text().replace("dug/sketch_3.png,1", "dug/sketch_3.png,0")
    (tmp_path / "train.csv").write_text(table)
    seen.append(current(class_name_column=None))
    assert len(set(seen)) == len(seen)


def test_doodles_have_a_fingerprint_without_being_drawn():
    assert fingerprint(load_source(Doodles()).train) == fingerprint(load_source(Doodles()).train)
    assert fingerprint(load_source(Doodles()).train) != fingerprint(
        load_source(Doodles(train_per_class=99)).train
    )


def test_real_sketches_pass_the_check(quickdraw):
    told = []
    dataset = load_source(Csv(root=str(quickdraw)), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (4320, 4320)
    assert dataset.skipped == {}
