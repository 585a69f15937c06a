"""The configurations of the contests' systems and of single models, shrunken and run end to end."""

import dataclasses

import pytest
from mask_files import write_mask_contest
from tuned_runs import TINY, do_run

from sketch_jax.augment.curriculum_options import Curriculum
from sketch_jax.config import Config, read_config
from sketch_jax.data.mask_folders import MaskFolders
from sketch_jax.data.splits import KFold
from sketch_jax.main import parse_config
from sketch_jax.optim.schedule_options import WarmupCosine

SMALL_MODELS = {
    "system_a_linear": "test_vit",
    "system_a_mlp3": "test_vit",
    "system_a_curriculum": "test_vit",
    "system_b": "test_vit",
    "system_c": "test_convnext",
    "system_d": "test_resnet",
    "system_e": "test_efficientnet",
    "eva02": "test_vit",
    "deit3": "test_vit",
    "convnext": "test_convnext",
    "vit": "test_vit",
}
"""Configuration -> a small architecture of its family, or of one that is tuned by the same names."""


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    return write_mask_contest(tmp_path_factory.mktemp("masks"))


def earlier(schedule):
    """A warm-up that fits two epochs."""
    return (
        dataclasses.replace(schedule, warmup_epochs=0.5) if isinstance(schedule, WarmupCosine) else schedule
    )


def sooner(augmentation):
    """All stages within two epochs."""
    if not isinstance(augmentation, Curriculum):
        return augmentation
    first, *_, last = augmentation.stages
    return Curriculum(stages=(first, dataclasses.replace(last, first_epoch=1)))


def shrink(config: Config, name: str, masks) -> dict:
    """The changes of the tiny run that make it this configuration, small."""
    of_masks = isinstance(config.source, MaskFolders)
    model = dataclasses.replace(config.model, name=SMALL_MODELS[name], pretrained=None)
    return {
        "source": dataclasses.replace(config.source, root=str(masks)) if of_masks else TINY.source,
        "batch_size": 4,
        "accumulation_steps": min(2, config.accumulation_steps),
        "image_size": 64,
        "model": model,
        "split": KFold(count=2) if of_masks else TINY.split,
        "preprocessing": config.preprocessing,
        "sampling": config.sampling,
        "augmentation": sooner(config.augmentation),
        "tuning": config.tuning,
        "rates": config.rates,
        "loss": config.loss,
        "optimizer": config.optimizer,
        "schedule": earlier(config.schedule),
        "averaging": config.averaging,
        "selection": config.selection,
    }


OTHERS = ("deit3", "convnext", "vit")
"""Made of parts that the others run, too."""


@pytest.mark.parametrize(
    ("name", "options"),
    [("system_b", ("--tuning.kind", "HeadOnly")), ("system_c", ("--loss.kind", "MultiTask"))],
)
def test_a_variant_of_a_system_runs_end_to_end_when_it_is_shrunken(name, options, masks, root, tmp_path):
    config = parse_config(["--config", str(root / "configs" / f"{name}.py"), *options])
    text = do_run(tmp_path / "run", **shrink(config, name, masks))
    assert "done in" in text
    assert ("by task: mask " in text) == (name == "system_c")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in OTHERS else []) for name in SMALL_MODELS]
)
def test_a_configuration_runs_end_to_end_when_it_is_shrunken(name, masks, root, tmp_path):
    config = read_config(root / "configs" / f"{name}.py")
    text = do_run(tmp_path / "run", **shrink(config, name, masks))
    assert "done in" in text
    assert (tmp_path / "run" / "predictions" / "test.npz").is_file()
