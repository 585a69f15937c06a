import pickle
import sys

import numpy as np
import pytest
from image_files import write_image

from sketch_jax.data.decode import decode_image
from sketch_jax.data.sources import load_source
from sketch_jax.data.tfds_source import Tfds, load_tfds
from sketch_jax.errors import InputError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with a small data set; it can be prepared without TensorFlow because its images are files."""
    tfds = pytest.importorskip("tensorflow_datasets")
    folder = tmp_path_factory.mktemp("tfds")

    with tfds.core.registered.skip_registration():

        class TinySketch(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                features = {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.ClassLabel(names=["cat", "dog"]),
                    "drawer": tfds.features.Text(),
                }
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

            def _split_generators(self, download_manager):
                return {"train": self._generate_examples(9), "test": self._generate_examples(4)}

            def _generate_examples(self, count):
                for number in range(count):
                    path = write_image(folder / "images" / f"{count}_{number}.png", number, (number + 8, 10))
                    yield str(number), {"image": str(path), "label": number % 2, "drawer": f"d{number // 2}"}

    TinySketch(data_dir=str(folder), file_format="array_record").download_and_prepare()
    return folder


def source(prepared, **fields):
    return Tfds(**({"name": "tiny_sketch", "data_dir": str(prepared)} | fields))


def message(prepared, **fields):
    with pytest.raises(InputError) as caught:
        load_tfds(source(prepared, **fields))
    return str(caught.value)


def test_labels_and_groups_belong_to_their_images(prepared):
    train = load_source(source(prepared, group_feature="drawer")).train
    assert train.ids == tuple(f"train/{row}" for row in range(9))
    assert train.class_names == ("cat", "dog")
    for row in range(9):
        pixels = decode_image(train.read(row))
        number = pixels.shape[0] - 8
        np.testing.assert_array_equal(pixels, decode_image(prepared / "images" / f"9_{number}.png"))
        assert train.labels[row] == number % 2
        assert train.groups[row] == f"d{number // 2}"
    assert "tensorflow" not in sys.modules


def test_another_process_can_read_the_images(prepared):
    train = load_tfds(source(prepared)).train
    copy = pickle.loads(pickle.dumps(train))
    assert copy.read(5) == train.read(5)


def test_slices_and_a_test_split_can_be_chosen(prepared):
    dataset = load_tfds(source(prepared, train_split="train[:6]", test_split="test"))
    assert len(dataset.train) == 6
    assert dataset.test.ids == ("test/0", "test/1", "test/2", "test/3")
    assert sorted(dataset.test.labels.tolist()) == [0, 0, 1, 1]


def test_an_unknown_name_is_refused_with_the_nearest(prepared):
    text = message(prepared, name="tiny_sketc")
    assert text.startswith(
        f"--source.name tiny_sketc: there is no such data set in {prepared} or among those"
    )
    assert "did you mean 'tiny_sketch'" in text


def test_a_data_set_that_is_not_prepared_is_refused_with_the_way_to_prepare_it(prepared):
    text = message(prepared, name="mnist")
    assert f"--source.name mnist: is not prepared in {prepared}/mnist" in text
    assert "file_format='array_record').download_and_prepare()" in text


def test_missing_splits_and_features_are_refused(prepared):
    assert message(prepared, train_split="trian") == (
        "tiny_sketch: has no split 'trian'; its splits are train, test"
    )
    assert "has no feature 'lable' of type ClassLabel; it has" in message(prepared, label_feature="lable")
    assert "has no feature 'label' of type Image; it has" in message(prepared, image_feature="label")
    assert "--source.group-feature person: no such feature; there are" in message(
        prepared, group_feature="person"
    )


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError) as caught:
        load_tfds(Tfds(name="mnist"))
    assert str(caught.value) == (
        "--source.kind Tfds: needs the package tensorflow-datasets, which is not installed; "
        "in a clone of the project run python3 -m pip install -c constraints.txt -e '.[tfds]'"
    )
