"""System C (2023, 4th): ConvNeXt-S on masked faces, one head of 18 classes.

python -m sketch_jax.main --config configs/system_c.py --source.root DIR
    --loss.kind MultiTask        mask, gender and age apart, a head each

Source: the contest's write-up: mixup with alpha 1 on every third batch, Adam 1e-4, batch 32, 25 epochs,
stopped after 5 without a better one, people kept whole. Images are squares of 384 px here, 512 x 384 there;
rate and warm-up of the schedule are ours. Needs: a GPU with 8 GB. Expected: macro-F1 0.75 with its ensemble.
Unmeasured here: all of it at full size; the shrunken runs are tested.
"""

from sketch_jax.augment.mixing_options import Mixing
from sketch_jax.augment.operation_options import Clahe
from sketch_jax.augment.options import Augmentation
from sketch_jax.config import Config
from sketch_jax.data.mask_folders import MaskFolders
from sketch_jax.data.splits import HoldOut
from sketch_jax.losses.options import Focal
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.optim.options import Adam
from sketch_jax.optim.schedule_options import WarmupCosine
from sketch_jax.train.options import Selection


def get_config() -> Config:
    return Config(
        name="system_c",
        epochs=25,
        batch_size=32,
        image_size=384,
        source=MaskFolders(root="data"),
        split=HoldOut(fraction=0.2),
        model=ModelOptions(pretrained="timm/convnext_small.fb_in22k_ft_in1k"),
        augmentation=Augmentation(
            horizontal_flip=0.5,
            clahe=Clahe(probability=0.3),
            mixing=Mixing(mixup_alpha=1.0, cutmix=None, every_batches=3),
        ),
        loss=Focal(gamma=2.0),
        optimizer=Adam(learning_rate=1e-4),
        schedule=WarmupCosine(warmup_epochs=1.0),
        selection=Selection(metric="macro_f1", patience=5),
    )
