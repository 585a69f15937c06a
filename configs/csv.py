"""A contest: train.csv, test.csv and sample_submission.csv beside train/ and test/; DeiT3-B from timm's hub.

python -m sketch_jax.main --config configs/csv.py --source.root data
"""

from sketch_jax.augment.mixing_options import Mixing, RandomBox
from sketch_jax.augment.options import Augmentation
from sketch_jax.config import Config
from sketch_jax.data.csv_table import Csv
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.optim.options import AdamW
from sketch_jax.optim.schedule_options import WarmupCosine


def get_config() -> Config:
    return Config(
        name="csv",
        epochs=20,
        batch_size=64,
        source=Csv(root="data"),
        model=ModelOptions(
            name="deit3_base_patch16_224",
            pretrained="timm/deit3_base_patch16_224.fb_in22k_ft_in1k",
            drop_path=0.1,
        ),
        augmentation=Augmentation(
            horizontal_flip=0.5,
            vertical_flip=0.5,
            rotation_degrees=15.0,
            mixing=Mixing(mixup_alpha=0.8, cutmix=RandomBox(alpha=1.0)),
        ),
        optimizer=AdamW(learning_rate=3e-5, weight_decay=0.05, clip_norm=1.0),
        schedule=WarmupCosine(warmup_epochs=0.5),
    )
