import dataclasses
import doctest
import importlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from sketch_jax import serialization
from sketch_jax.errors import InputError, refuse_faults, suggestion
from sketch_jax.keys import stream
from sketch_jax.predictions import Predictions, load_predictions, save_predictions
from sketch_jax.preprocessing import Preprocessing, PreprocessingChanges, change_preprocessing
from sketch_jax.trees import count_bytes, count_elements, flatten, map_with_path, unflatten

DOCUMENTED = [
    *("errors", "metrics", "serialization", "tasks", "trees", "models.architectures"),
    *("models.trained_parameters", "train.accumulation", "train.loop", "train.progress", "class_choice"),
    *("data.mask_folders", "losses.class_weights", "losses.factors", "losses.ordinal"),
]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_examples_in_docstrings_hold(name):
    results = doctest.testmod(importlib.import_module(f"sketch_jax.{name}"))
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.smoke
def test_importing_the_package_and_its_configuration_touches_no_device_and_loads_no_jax():
    code = (
        "import sys, sketch_jax, sketch_jax.config, sketch_jax.main\n"
        "loaded = [name for name in ('jax', 'flax', 'torch', 'timm', 'grain', 'orbax', 'tensorflow') "
        "if name in sys.modules]\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


def test_faults_are_listed_together_and_a_long_list_is_cut():
    with pytest.raises(InputError) as caught:
        refuse_faults("bad things in data/", [f"thing {index}" for index in range(23)], "mend them")
    text = str(caught.value)
    assert text.startswith("bad things in data/ (23):\n  thing 0\n")
    assert text.endswith("  thing 19\n  … and 3 more\nmend them")
    refuse_faults("nothing is wrong", [], "no remedy")


def test_a_suggestion_names_near_choices_only():
    assert suggestion("resnet81", ["resnet18", "vit"]) == "; did you mean 'resnet18'?"
    assert suggestion("zzz", ["resnet18"]) == ""


def test_streams_differ_by_name_step_and_root_and_repeat_otherwise():
    root = jax.random.key(0)
    bits = [
        jax.random.key_data(key).tolist()
        for key in (
            stream(root, "augment", 1),
            stream(root, "augment", 2),
            stream(root, "model", 1),
            stream(jax.random.key(1), "augment", 1),
        )
    ]
    assert len({tuple(value) for value in bits}) == 4
    assert jax.random.key_data(stream(root, "augment", jnp.int32(1))).tolist() == bits[0]


def test_a_tree_survives_flattening_and_paths_reach_every_leaf():
    tree = {"a": {"kernel": np.zeros((2, 3)), "bias": np.zeros(3)}, "token": np.zeros((1, 1, 4), np.float16)}
    assert unflatten(flatten(tree)).keys() == tree.keys()
    assert list(flatten(tree)) == ["a/kernel", "a/bias", "token"]
    assert map_with_path(lambda path, leaf: path, tree)["a"]["bias"] == "a/bias"
    assert count_elements(tree) == 13
    assert count_bytes(tree) == 9 * 8 + 4 * 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cat:
    lives: int = 9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dog:
    name: str | None = None
    speeds: tuple[float, ...] = (1.0, 2.5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Zoo:
    animal: Cat | Dog = Cat()
    size: float = 1.0
    kinds: tuple[str, int] = ("a", 1)


@pytest.mark.parametrize("zoo", [Zoo(), Zoo(animal=Dog(name="rex"), size=2.0), Zoo(animal=Dog(speeds=()))])
def test_a_record_survives_json(zoo):
    assert serialization.from_json(Zoo, serialization.to_json(zoo)) == zoo


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"sise": 1.0}, r"sise: no such field; did you mean 'size'\?"),
        ({"size": "big"}, r"size: 'big' is not of type <class 'float'>"),
        ({"animal": {"type": "Cow"}}, r"animal: .* is none of"),
        ({"animal": {"type": "Cat", "lives": 1.5}}, r"animal.lives: 1.5 is not of type"),
    ],
)
def test_json_that_does_not_fit_a_record_is_refused_with_its_place(value, message):
    with pytest.raises(InputError, match=message):
        serialization.from_json(Zoo, value)


def test_only_stated_changes_reach_the_preprocessing():
    asked = Preprocessing(image_size=96, crop_fraction=0.875, crop_mode="center")
    changed = change_preprocessing(asked, PreprocessingChanges(crop_fraction=1.0))
    assert changed == dataclasses.replace(asked, crop_fraction=1.0)


def predictions(rows=5, classes=3):
    return Predictions(
        ids=tuple(f"{row}.png" for row in range(rows)),
        logits=np.random.default_rng(0).normal(size=(rows, classes)).astype(np.float32),
        labels=np.array([0, 1, 2, -1, 0]),
        class_names=("가위", "b", "c"),
    )


def test_predictions_survive_their_file_bit_for_bit(tmp_path):
    written = predictions()
    save_predictions(tmp_path / "test.npz", written)
    read = load_predictions(tmp_path / "test.npz")
    assert (read.ids, read.class_names) == (written.ids, written.class_names)
    np.testing.assert_array_equal(read.logits, written.logits)
    np.testing.assert_array_equal(read.labels, written.labels)


def test_predictions_whose_parts_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="5 ids, 5 labels, 2 class names"):
        dataclasses.replace(predictions(), class_names=("a", "b"))


def test_a_missing_a_broken_and_a_pickled_predictions_file_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent.npz: no such predictions file"):
        load_predictions(tmp_path / "absent.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not really")
    np.savez(tmp_path / "pickled.npz", ids=np.array([{}], dtype=object))
    for name in ("broken", "pickled"):
        with pytest.raises(InputError, match=rf"{name}.npz: not a predictions file .* without pickles"):
            load_predictions(tmp_path / f"{name}.npz")
