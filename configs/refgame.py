"""refgame32: fine-grained drawings by many people, each on one side of the split. 128 px, 12 epochs.

python -m sketch_jax.main --config configs/refgame.py --source.root DIR --model.pretrained local-dir:PATH
"""

from sketch_jax.augment.options import Augmentation
from sketch_jax.config import Config
from sketch_jax.data.csv_table import Csv
from sketch_jax.data.splits import KFold
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.optim.options import AdamW
from sketch_jax.optim.schedule_options import WarmupCosine
from sketch_jax.preprocessing import PreprocessingChanges


def get_config() -> Config:
    return Config(
        name="refgame",
        epochs=12,
        batch_size=64,
        image_size=128,
        source=Csv(root="data/refgame32", group_column="drawer"),
        split=KFold(count=5, fold=0),
        model=ModelOptions(name="mobilenetv2_035", pretrained="local-dir:weights/mobilenetv2_035.keras_in1k"),
        preprocessing=PreprocessingChanges(crop_mode="squash", crop_fraction=1.0),
        augmentation=Augmentation(horizontal_flip=0.5, rotation_degrees=15.0, shift=0.1, scale=(0.8, 1.2)),
        optimizer=AdamW(learning_rate=1e-3, weight_decay=0.05),
        schedule=WarmupCosine(warmup_epochs=1.2),
    )
