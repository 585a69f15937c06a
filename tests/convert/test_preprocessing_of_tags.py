"""Images as the pretrained tags want them, beside timm's evaluation transform."""

import numpy as np
import pytest
from jax import numpy as jnp
from PIL import Image

from sketch_jax.data.resize import resize_image
from sketch_jax.errors import InputError
from sketch_jax.models.architectures import architecture_names
from sketch_jax.train.step import normalize
from sketch_jax.weights.timm_config import preprocessing_from

timm = pytest.importorskip("timm")

BY_HEIGHT = "sapiens2"
"""Models whose images are higher than wide: a run trains on square ones."""


def wanted_by_tags():
    """What each supported tag says of its images, one tag for each different wish."""
    wishes = {}
    names = set(architecture_names())
    for tag in timm.list_pretrained():
        name = tag.partition(".")[0]
        if name in names and BY_HEIGHT not in name:
            config = timm.get_pretrained_cfg(tag).to_dict()
            wish = tuple(
                config[key] for key in ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
            )
            wishes.setdefault(wish, (tag, config))
    return wishes.values()


def test_every_supported_tag_gets_its_images_as_from_timms_transform():
    pixels = np.random.default_rng(0).integers(0, 256, (431, 517, 3), np.uint8)
    kinds = set()
    for tag, config in wanted_by_tags():
        preprocessing = preprocessing_from({"pretrained_cfg": config})
        transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=config))
        expected = transform(Image.fromarray(pixels)).numpy().transpose(1, 2, 0)
        ours = resize_image(pixels, preprocessing)
        difference = np.abs(
            np.asarray(normalize(jnp.asarray(ours[None]) / 255.0, preprocessing))[0] - expected
        )
        assert difference.max() < 1e-5, tag
        kinds.add((preprocessing.interpolation, preprocessing.crop_mode))
    assert kinds == {(kind, mode) for kind in ("bicubic", "bilinear") for mode in ("center", "squash")}


def test_a_tag_whose_images_are_not_square_is_refused():
    config = timm.get_pretrained_cfg("vit_base_patch16_sapiens2.fb").to_dict()
    with pytest.raises(InputError, match=r"input_size \[3, 1024, 768\]: must be \[channels, side, side\]"):
        preprocessing_from({"pretrained_cfg": config})
