"""EVA02-L at 448 px, whole, with layer decay: the strongest single model for sketches.

python -m sketch_jax.main --config configs/eva02.py --source.root DIR

Source: the EVA-02 fine-tuning recipe (arXiv:2303.11331), rate for batches of 64. Needs: a GPU with 80 GB,
or more accumulation. Expected: unknown; teams of the first contest had 0.936 to 0.937 with parts of EVA02-L
trained. Unmeasured here: the accuracy at full size.
"""

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
        name="eva02",
        epochs=10,
        batch_size=64,
        accumulation_steps=4,
        source=Csv(root="data"),
        model=ModelOptions(
            pretrained="timm/eva02_large_patch14_448.mim_m38m_ft_in22k_in1k",
            drop_path=0.15,
            remat="dots",
        ),
        augmentation=Augmentation(horizontal_flip=0.5, policy=RandAugment(magnitude=9.0, magnitude_std=0.5)),
        rates=Rates(layer_decay=0.8),
        loss=CrossEntropy(label_smoothing=0.2),
        optimizer=AdamW(learning_rate=1e-5, weight_decay=0.05, clip_norm=1.0),
        schedule=WarmupCosine(warmup_epochs=1.0),
        averaging=Ema(decay=0.999),
    )
