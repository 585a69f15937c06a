"""The mask contest's folders: classes as the contest counts them, people as groups, and what is refused."""

import numpy as np
import pytest
from image_files import write_image, write_table
from mask_files import PEOPLE, write_mask_contest

from sketch_jax.data.decode import decode_image
from sketch_jax.data.mask_folders import TASKS, MaskFolders, load_mask_folders
from sketch_jax.data.sources import load_source
from sketch_jax.data.splits import KFold, create_folds
from sketch_jax.errors import InputError


@pytest.fixture
def contest(tmp_path):
    return write_mask_contest(tmp_path)


def load(root, **fields):
    return load_mask_folders(MaskFolders(root=str(root), **fields))


def labels_of(dataset, person, photo):
    (row,) = [
        row
        for row, name in enumerate(dataset.train.ids)
        if name.startswith(f"{person}_") and f"/{photo}." in name
    ]
    return int(dataset.train.labels[row])


def test_a_class_is_mask_times_6_plus_gender_times_3_plus_age(contest):
    dataset = load(contest)
    assert len(dataset.train) == 84
    for (person, gender, _, age), age_index in zip(PEOPLE, (0, 0, 1, 1, 2, 2) * 2, strict=True):
        for photo, mask in (("mask1", 0), ("mask5", 0), ("incorrect_mask", 1), ("normal", 2)):
            expected = mask * 6 + (gender == "female") * 3 + age_index
            assert labels_of(dataset, person, photo) == expected, (person, photo, age)
    assert dataset.train.class_names[0] == "worn/male/young"
    assert dataset.train.class_names[17] == "none/female/old"
    assert dataset.tasks == TASKS
    assert dataset.skipped == {}


def test_the_age_in_years_is_the_number_of_a_photo(contest):
    train = load(contest).train
    assert train.numbers.tolist() == [float(name.split("/")[0].rsplit("_", 1)[1]) for name in train.ids]


def test_ids_are_the_paths_of_their_photos_whatever_their_ending(contest):
    train = load(contest).train
    assert train.ids[0] == "000001_male_Asian_25/incorrect_mask.jpeg" or train.ids[0].endswith(
        ("incorrect_mask.jpg", "incorrect_mask.png")
    )
    assert {name.rsplit(".", 1)[1] for name in train.ids} == {"jpg", "png", "jpeg"}
    for row in (0, 13, 41):
        assert train.read(row) == contest / "train" / "images" / train.ids[row]
        assert decode_image(train.read(row)).shape == (12, 10, 3)


def test_a_person_stays_on_one_side_of_a_split(contest):
    train = load(contest).train
    folds = create_folds(KFold(count=2), train, 0)
    assert np.bincount(folds).tolist() == [42, 42]
    people = np.array([name.split("/")[0] for name in train.ids])
    for person in np.unique(people):
        assert len(set(folds[people == person].tolist())) == 1


def test_the_border_of_the_oldest_class_may_be_58(contest):
    assert labels_of(load(contest), "000004", "normal") == 12 + 3 + 1
    assert labels_of(load(contest, age_threshold_old=58), "000004", "normal") == 12 + 3 + 2
    with pytest.raises(InputError, match=r"--source.age-threshold-old 30: must be above 30"):
        MaskFolders(root="x", age_threshold_old=30)


def test_answers_are_written_in_the_layout_of_info_csv(contest):
    dataset = load(contest)
    assert dataset.test.ids == ("face2.jpg", "face1.jpg", "face0.jpg")
    assert dataset.test.read(0) == contest / "eval" / "images" / "face2.jpg"
    assert dataset.test.labels.tolist() == [-1, -1, -1]
    layout = dataset.submission
    assert (layout.columns, layout.id_column, layout.target_column) == (("ImageID", "ans"), "ImageID", "ans")
    assert layout.targets == tuple(map(str, range(18)))
    assert load(contest, test_table=None).test is None


def test_a_table_of_corrections_mends_genders_and_ages(contest):
    write_table(
        contest / "corrections.csv", ("id", "gender", "age"), [("000001", "female", ""), ("000003", "", "61")]
    )
    dataset = load(contest, corrections="corrections.csv")
    assert labels_of(dataset, "000001", "mask1") == 3
    assert labels_of(dataset, "000003", "mask1") == 2
    assert labels_of(dataset, "000002", "mask1") == 3


def message(root, **fields):
    with pytest.raises(InputError) as caught:
        load(root, **fields)
    return str(caught.value)


def test_corrections_of_no_person_or_to_no_label_are_refused(contest):
    write_table(contest / "corrections.csv", ("id", "gender"), [("7", "female"), ("000003", "male")])
    assert message(contest, corrections="corrections.csv") == (
        f"{contest}/corrections.csv: corrections must be of people in the train table (1):\n"
        "  line 2: there is no id '7'\n"
        "correct or remove these rows"
    )
    write_table(contest / "corrections.csv", ("id", "gender"), [("000001", "femal")])
    assert message(contest, corrections="corrections.csv") == (
        f"{contest}/train/train.csv: genders must be 'male' or 'female', ages whole years (1):\n"
        "  line 2: gender 'femal' is not; did you mean 'female' or 'male'?\n"
        "correct these rows, or the table of --source.corrections"
    )
    write_table(contest / "corrections.csv", ("id", "sex"), [("000001", "female")])
    assert "has neither a column 'gender' nor 'age'" in message(contest, corrections="corrections.csv")


def test_photos_that_are_missing_or_twice_are_listed(contest):
    folder = contest / "train" / "images" / "000001_male_Asian_25"
    next(folder.glob("normal.*")).unlink()
    write_image(folder / "mask1.webp")
    assert message(contest) == (
        f"{contest}/train/images: every person needs one photo each of mask1, mask2, mask3, mask4, mask5, "
        "incorrect_mask, normal (2):\n"
        "  000001_male_Asian_25: more than one photo 'mask1'\n"
        "  000001_male_Asian_25: no photo 'normal'\n"
        "add or remove these photos"
    )


def test_a_table_that_is_not_that_of_the_folders_is_refused(contest):
    table = contest / "train" / "train.csv"
    text = (
        table.read_text().replace("000001,male", "000001,female").replace("000003_male_Asian_30", "000003_x")
    )
    table.write_text(text)
    assert message(contest) == (
        f"{table}: every person needs a folder in {contest}/train/images that bears the same labels (2):\n"
        "  line 2: folder '000001_male_Asian_25' is not ID_GENDER_RACE_AGE of '000001', 'female', '25'\n"
        "  line 4: there is no folder '000003_x'\n"
        "add the folders or correct the table; mend wrong labels by --source.corrections"
    )


def test_a_class_of_a_task_that_nobody_has_is_refused_though_combinations_may_be_empty(tmp_path):
    young = write_mask_contest(tmp_path, PEOPLE[:4])
    assert message(young).startswith(
        f"{young}/train/train.csv: every class needs at least one training image; empty classes (1):\n"
        "  'age=old'\n"
    )
    assert len(load(young, age_threshold_old=58).train) == 28


def test_other_files_are_skipped_and_told(contest):
    write_image(contest / "train" / "images" / "000001_male_Asian_25" / "group.png")
    assert list(load(contest).skipped) == ["000001_male_Asian_25/group.png"]
    assert len(load(contest).train) == 84


def test_bad_images_are_found_and_skipped_like_those_of_other_sources(contest):
    photo = next((contest / "train" / "images" / "000005_male_Asian_60").glob("mask2.*"))
    photo.write_bytes(b"no image")
    with pytest.raises(InputError, match="images that cannot be read"):
        load_source(MaskFolders(root=str(contest)))
    dataset = load_source(MaskFolders(root=str(contest), on_bad_image="skip"))
    assert len(dataset.train) == 83
    assert dataset.tasks == TASKS
