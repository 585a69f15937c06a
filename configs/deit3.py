"""DeiT3-B at 224 px, whole.

python -m sketch_jax.main --config configs/deit3.py --source.root DIR

Source: the DeiT-III fine-tuning recipe (arXiv:2204.07118): AdamW 1e-5, decay 0.1, three augmentations,
mixup 0.8, cutmix 1. Needs a GPU with 16 GB. Unmeasured here: the accuracy at full size.
"""

from sketch_jax.augment.mixing_options import Mixing
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.policies.options import ThreeAugment
from sketch_jax.config import Config
from sketch_jax.data.csv_table import Csv
from sketch_jax.losses.options import CrossEntropy
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.models.tuning_options import Rates
from sketch_jax.optim.options import AdamW
from sketch_jax.optim.schedule_options import WarmupCosine
from sketch_jax.train.options import Ema


def get_config() -> Config:
    return Config(
        name="deit3",
        epochs=20,
        batch_size=128,
        accumulation_steps=1,
        source=Csv(root="data"),
        model=ModelOptions(
            pretrained="timm/deit3_base_patch16_224.fb_in22k_ft_in1k",
            drop_path=0.2,
        ),
        augmentation=Augmentation(horizontal_flip=0.5, policy=ThreeAugment(), mixing=Mixing()),
        rates=Rates(layer_decay=1.0),
        loss=CrossEntropy(label_smoothing=0.1),
        optimizer=AdamW(learning_rate=2e-5, weight_decay=0.1, clip_norm=1.0),
        schedule=WarmupCosine(warmup_epochs=2.0),
        averaging=Ema(decay=0.999),
    )
