"""What the start of a run refuses, before it loads anything or after."""

import jax
import pytest

from sketch_jax.errors import InputError
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.preprocessing import PreprocessingChanges
from sketch_jax.train.start import create_start


def start(**options):
    key = jax.random.key(0)
    return create_start(ModelOptions(**options), PreprocessingChanges(), 32, ("cat", "dog"), key, lambda a: a)


def test_a_misspelt_name_is_told_before_weights_are_looked_for():
    with pytest.raises(InputError, match=r"model 'resnt18': no such architecture; did you mean 'resnet18'"):
        start(name="resnt18", pretrained="timm/there_is.no_such_weight")


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
