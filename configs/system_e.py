"""System E (2021, 11th): EfficientNet-B4 on masked faces, AdamP and weighted cross-entropy.

python -m sketch_jax.main --config configs/system_e.py --source.root DIR --split.fold 0

Source: the contest's write-up: dropout 0.7, constant rate, centre crops, rotations of 10 degrees, people
kept whole. Crops are squares of 320 px here, 384 x 320 and 300 x 256 there; `--source.age-threshold-old 58`
counts people near the border as old, as that team tried. Needs: a GPU with 8 GB. Expected: macro-F1 0.76 to
0.78 with ten such models. Unmeasured here: all of it at full size; the shrunken run is tested.
"""

from sketch_jax.augment.options import Augmentation
from sketch_jax.config import Config
from sketch_jax.data.mask_folders import MaskFolders
from sketch_jax.data.splits import KFold
from sketch_jax.losses.options import CrossEntropy, InverseFrequency
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.optim.options import AdamP
from sketch_jax.optim.schedule_options import Constant
from sketch_jax.preprocessing import PreprocessingChanges
from sketch_jax.train.options import Selection


def get_config() -> Config:
    return Config(
        name="system_e",
        epochs=20,
        batch_size=64,
        image_size=320,
        source=MaskFolders(root="data"),
        split=KFold(count=5, fold=0),
        model=ModelOptions(pretrained="timm/efficientnet_b4.ra2_in1k", dropout=0.7),
        preprocessing=PreprocessingChanges(crop_mode="center", crop_fraction=0.9),
        augmentation=Augmentation(horizontal_flip=0.5, rotation_degrees=10.0),
        loss=CrossEntropy(label_smoothing=0.0, class_weights=InverseFrequency(exponent=0.5)),
        optimizer=AdamP(learning_rate=1e-4),
        schedule=Constant(),
        selection=Selection(metric="macro_f1"),
    )
