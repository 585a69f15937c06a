"""Generated doodles and a small network from scratch: nothing is downloaded. A minute on two CPU cores.

python -m sketch_jax.main --config configs/quickstart.py
"""

from sketch_jax.augment.options import Augmentation
from sketch_jax.config import Config
from sketch_jax.data.doodles import Doodles
from sketch_jax.data.splits import HoldOut
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.optim.options import AdamW
from sketch_jax.optim.schedule_options import WarmupCosine


def get_config() -> Config:
    return Config(
        name="quickstart",
        epochs=10,
        batch_size=64,
        image_size=64,
        source=Doodles(train_per_class=100, test_per_class=25),
        split=HoldOut(fraction=0.1),
        model=ModelOptions(name="test_resnet"),
        augmentation=Augmentation(horizontal_flip=0.5, rotation_degrees=10.0, shift=0.05, scale=(0.9, 1.1)),
        optimizer=AdamW(learning_rate=3e-3, weight_decay=0.05),
        schedule=WarmupCosine(warmup_epochs=1.0),
    )
