"""quickdraw24 with the learning rate that folds of the training set chose: four times that of quickdraw.py.

python -m sketch_jax.main --config configs/quickdraw_tuned.py --source.root DIR --folds 5

Source: docs/log.md, 2026-11-27. Needs: 2 cores, 5 minutes for five folds, and the weights' place by
--model.pretrained local-dir:PATH. Expected, out of fold: 0.905 and 0.903 (quickdraw.py: 0.873
and 0.883), two seeds.
"""

from sketch_jax.augment.options import Augmentation
from sketch_jax.config import Config
from sketch_jax.data.csv_table import Csv
from sketch_jax.data.splits import HoldOut
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.optim.options import AdamW
from sketch_jax.optim.schedule_options import WarmupCosine
from sketch_jax.preprocessing import PreprocessingChanges


def get_config() -> Config:
    return Config(
        name="quickdraw_tuned",
        epochs=10,
        batch_size=64,
        image_size=96,
        source=Csv(root="data/quickdraw24"),
        split=HoldOut(fraction=0.1),
        model=ModelOptions(name="mobilenetv2_035", pretrained="local-dir:weights/mobilenetv2_035.keras_in1k"),
        preprocessing=PreprocessingChanges(crop_mode="squash", crop_fraction=1.0),
        augmentation=Augmentation(horizontal_flip=0.5, rotation_degrees=15.0, shift=0.1, scale=(0.8, 1.2)),
        optimizer=AdamW(learning_rate=4e-3, weight_decay=0.05),
        schedule=WarmupCosine(warmup_epochs=1.0),
    )
