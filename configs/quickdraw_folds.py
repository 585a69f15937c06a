"""quickdraw24 by five models, each with another fifth held out; their mean answers the test images.

python -m sketch_jax.main --config configs/quickdraw_folds.py --source.root DIR

Source: docs/ensembles.md. Needs: 2 cores, 3 minutes a fold, and the weights' place by --model.pretrained
local-dir:PATH. Expected, out of fold: 0.935 (quickdraw_tuned.py: 0.905), one seed.
"""

from sketch_jax.augment.options import Augmentation
from sketch_jax.config import Config
from sketch_jax.data.csv_table import Csv
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.optim.options import AdamW
from sketch_jax.optim.schedule_options import WarmupCosine
from sketch_jax.preprocessing import PreprocessingChanges
from sketch_jax.train.options import Ema


def get_config() -> Config:
    return Config(
        name="quickdraw_folds",
        epochs=20,
        batch_size=64,
        image_size=128,
        source=Csv(root="data/quickdraw24"),
        folds=5,
        model=ModelOptions(name="mobilenetv2_035", pretrained="local-dir:weights/mobilenetv2_035.keras_in1k"),
        preprocessing=PreprocessingChanges(crop_mode="squash", crop_fraction=1.0),
        augmentation=Augmentation(horizontal_flip=0.5, rotation_degrees=15.0, shift=0.1, scale=(0.8, 1.2)),
        optimizer=AdamW(learning_rate=4e-3, weight_decay=0.05),
        schedule=WarmupCosine(warmup_epochs=1.0),
        averaging=Ema(),
    )
