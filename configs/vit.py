"""ViT-B at 224 px, whole, with layer decay.

python -m sketch_jax.main --config configs/vit.py --source.root DIR

Source: timm's augreg2 fine-tuning: AdamW, layer decay 0.75, RandAugment, mixing. Needs: a GPU with 12 GB.
Expected: unknown. Unmeasured here: the accuracy at full size.
"""

from sketch_jax.augment.mixing_options import Mixing
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.policies.options import RandAugment
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
        name="vit",
        epochs=20,
        batch_size=64,
        accumulation_steps=1,
        source=Csv(root="data"),
        model=ModelOptions(
            pretrained="timm/vit_base_patch16_224.augreg2_in21k_ft_in1k",
            drop_path=0.1,
        ),
        augmentation=Augmentation(
            horizontal_flip=0.5, policy=RandAugment(magnitude=9.0, magnitude_std=0.5), mixing=Mixing()
        ),
        rates=Rates(layer_decay=0.75),
        loss=CrossEntropy(label_smoothing=0.1),
        optimizer=AdamW(learning_rate=5e-5, weight_decay=0.05, clip_norm=1.0),
        schedule=WarmupCosine(warmup_epochs=2.0),
        averaging=Ema(decay=0.999),
    )
