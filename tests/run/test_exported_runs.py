"""A trained run of every family, exported: timm gives the run's own logits."""

import numpy as np
import pytest
from normalized_images import normalized_test_images
from tuned_runs import TINY, do_run

from convert.__main__ import main
from sketch_jax.models.architectures import FAMILIES, family_name
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.optim.options import AdamW
from sketch_jax.predictions import load_predictions

IMAGE_SIZES = {
    "test_vit": 64,
    "eva02_tiny_patch14_224": 56,
    "beit_base_patch16_224": 32,
    "test_resnet": 64,
    "test_efficientnet": 64,
    "test_convnext": 64,
    "swin_tiny_patch4_window7_224": 224,
    "swinv2_tiny_window8_256": 64,
    "regnety_002": 64,
    "vgg11_bn": 32,
    "test_nfnet": 64,
    "caformer_s18": 64,
    "mobilevit_xxs": 64,
    "coatnet_pico_rw_224": 64,
}
"""A small architecture of each family, and the size of the images it is trained on, in pixels."""

IN_THE_SUITE = ("test_vit",)


def write_random_weights(name, directory) -> None:
    """Weights in timm's layout, random in every tensor, of which the answers depend on the images."""
    import timm
    import torch

    from convert.randomize import randomize

    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5).eval()
    size = model.pretrained_cfg["input_size"][-1]
    randomize(model, torch.randn(8, 3, size, size), torch.Generator().manual_seed(0))
    timm.models.save_for_hf(model, directory, safe_serialization=True)


def test_each_family_has_a_model_here():
    families = {family.__name__.rpartition(".")[2] for family in FAMILIES}
    assert {family_name(name) for name in IMAGE_SIZES} == families


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in IN_THE_SUITE else pytest.mark.slow) for name in IMAGE_SIZES],
)
def test_a_tuned_run_that_is_exported_gives_its_own_logits_in_timm(name, tmp_path):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    write_random_weights(name, tmp_path / "weights")
    run = tmp_path / "run"
    do_run(
        run,
        model=ModelOptions(name=name, pretrained=f"local-dir:{tmp_path / 'weights'}"),
        image_size=IMAGE_SIZES[name],
        optimizer=AdamW(learning_rate=1e-4),
    )
    assert main(["to-timm", str(run), "--output", str(tmp_path / "timm")]) == 0
    exported = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    images = normalized_test_images(run, TINY.source)
    with torch.no_grad():
        theirs = exported(torch.tensor(images).permute(0, 3, 1, 2)).numpy()
    ours = load_predictions(run / "predictions" / "test.npz").logits
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
    assert ours.std(axis=0).min() > 20 * np.abs(ours - theirs).max(), "the answers must depend on the images"
