"""DeiT3-B at 224 px, whole.

python -m sketch_jax.main --config configs/deit3.py --source.root DIR

Source: the DeiT-III fine-tuning command for 224 px (arXiv:2204.07118, README of its code): AdamW 1e-5, decay
0.1, 20 epochs of which 5 warm up, RandAugment, mixup 0.8, cutmix 1, drop path 0.2. Batches of 64, not 512,
as small sets would have too few steps; the average and the clipping are ours. Needs: a GPU with 16 GB.
Expected: unknown; 0.900 on the first contest's sketches with DeiT3-L and voting (system B). Unmeasured here:
the accuracy at full size.
"""

from sketch_jax.augment.mixing_options import Mixing
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.policies.options import RandAugment
from sketch_jax.config import Config
from sketch_jax.data.csv_table import Csv
from sketch_jax.losses.options import CrossEntropy
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.optim.options import AdamW
from sketch_jax.optim.schedule_options import WarmupCosine
from sketch_jax.train.options import Ema


def get_config() -> Config:
    return Config(
        name="deit3",
        epochs=20,
        batch_size=64,
        source=Csv(root="data"),
        model=ModelOptions(
            pretrained="timm/deit3_base_patch16_224.fb_in22k_ft_in1k",
            drop_path=0.2,
        ),
        augmentation=Augmentation(
            horizontal_flip=0.5,
            policy=RandAugment(magnitude=9.0, magnitude_std=0.5, increasing=True),
            mixing=Mixing(),
        ),
        loss=CrossEntropy(label_smoothing=0.1),
        optimizer=AdamW(learning_rate=1e-5, weight_decay=0.1, clip_norm=1.0),
        schedule=WarmupCosine(warmup_epochs=5.0),
        averaging=Ema(decay=0.999),
    )
