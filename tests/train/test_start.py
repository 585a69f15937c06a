"""What the start of a run refuses, before it loads anything or after."""

import jax
import numpy as np
import pytest

from sketch_jax.errors import InputError
from sketch_jax.models.head_options import HeadOptions
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.preprocessing import PreprocessingChanges
from sketch_jax.train.start import create_start
from sketch_jax.weights.export import write_timm_directory


def start(seed=0, **options):
    key = jax.random.key(seed)
    return create_start(ModelOptions(**options), PreprocessingChanges(), 32, ("cat", "dog"), key, lambda a: a)


def test_a_misspelt_name_is_told_before_weights_are_looked_for():
    with pytest.raises(InputError, match=r"model 'resnt18': no such architecture; did you mean 'resnet18'"):
        start(name="resnt18", pretrained="timm/there_is.no_such_weight")


@pytest.mark.parametrize("prefix", ["", "hf-hub:"])
def test_a_hub_name_of_no_architecture_is_told_before_the_hub_is_asked(prefix):
    with pytest.raises(InputError) as caught:
        start(name=None, pretrained=f"{prefix}timm/resnt18.a1_in1k@main")
    assert str(caught.value).startswith(
        f"{prefix}timm/resnt18.a1_in1k@main: model 'resnt18': no such architecture; did you mean 'resnet18'"
    )


def test_a_directory_may_be_called_like_weights_of_the_hub(tmp_path, monkeypatch):
    classes_of(tmp_path / "timm" / "of_mine.best", ["cat", "dog"])
    monkeypatch.chdir(tmp_path)
    assert start(name=None, pretrained="timm/of_mine.best").model.name == "test_vit"


def test_a_missing_file_in_a_directory_called_timm_is_no_name_of_the_hub():
    with pytest.raises(InputError, match=r"timm/mine.safetensors: no such file"):
        start(name="resnet18", pretrained="timm/mine.safetensors")


def test_classes_without_a_row_and_names_of_no_class_are_told(tmp_path):
    classes_of(tmp_path / "weights", ["ant", "bee"])
    (tmp_path / "rows.json").write_text('{"cat": 1, "dgo": 0}')
    head = HeadOptions(rows=str(tmp_path / "rows.json"))
    told = start(name=None, pretrained=f"local-dir:{tmp_path / 'weights'}", head=head).weights
    assert told[-2:] == [
        "classes that start new: dog",
        "names of --model.head.rows that are of no class: dgo",
    ]


def test_weights_of_another_architecture_are_named_with_the_option_that_follows_them(mobilenet_weights):
    source = f"local-dir:{mobilenet_weights}"
    with pytest.raises(InputError) as caught:
        start(name="vit_small_patch16_224", pretrained=source)
    first, reason = str(caught.value).split("\n", 1)
    assert first == (
        f"--model.name vit_small_patch16_224: the weights of --model.pretrained {source} are of "
        "mobilenetv2_035; "
        "leave the choice to them by --model.name None, or take weights of vit_small_patch16_224"
    )
    assert "pad_type='same'" in reason
    assert start(name=None, pretrained=source).model.name == "mobilenetv2_035"


def test_without_a_name_and_without_weights_the_message_asks_for_a_name():
    with pytest.raises(InputError, match="there are no weights that would say it; name an architecture"):
        start(name=None, pretrained=None)


def classes_of(directory, names):
    """Random weights whose classifier is of named classes."""
    made = start(1, name="test_vit", pretrained=None)
    config = {"architecture": "test_vit", "num_classes": 2, "label_names": names}
    write_timm_directory(directory, made.params, made.statistics, config | {"model_args": {"img_size": 32}})
    return made


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (["cat", "dog"], [0, 1]),
        (["dog", "cat"], [1, 0]),
        (["dog", "cow"], [None, 0]),
        (["ant", "bee"], [None, None]),
    ],
)
def test_a_classifier_of_named_classes_starts_each_class_from_its_own_row(names, rows, tmp_path):
    made = classes_of(tmp_path / "weights", names)
    begun = start(name=None, pretrained=f"local-dir:{tmp_path / 'weights'}")
    kernel, pretrained = (np.asarray(each.params["head"]["kernel"]) for each in (begun, made))
    for column, row in enumerate(rows):
        assert row is None or np.array_equal(kernel[:, column], pretrained[:, row])
        assert row is not None or not any(np.array_equal(kernel[:, column], old) for old in pretrained.T)
    told = " ".join(begun.weights)
    assert (f"{2 - rows.count(None)} of 2 classes start from rows" in told) == (rows != [0, 1])


def test_weights_without_a_config_are_told_to_be_prepared_by_defaults(tmp_path, mobilenet_weights):
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes((mobilenet_weights / "model.safetensors").read_bytes())
    arguments = {"name": "mobilenetv2_035", "pretrained": str(bare)}
    assert start(**arguments).weights[-1] == (
        "no config.json says how they want their images: prepared by this project's defaults, which "
        "the options --preprocessing.mean, --preprocessing.std and their like change"
    )
    given = start(name=None, pretrained=f"local-dir:{mobilenet_weights}")
    assert "no config.json" not in " ".join(given.weights)
