"""System A (first place of 2024) with a perceptron of 1,024 on frozen EVA02-L.

python -m sketch_jax.main --config configs/system_a_mlp3.py --source.root DIR --folds 5
    --model.pretrained timm/eva_giant_patch14_336.clip_ft_in1k --model.head.activation gelu --epochs 15
    --schedule.every-epochs 5        the other backbone of the contest's ensemble

Source: the contest's write-up; one of five stratified folds, 30 epochs, Adam 1e-3 without decay, cross-
entropy, batch 64. Two things differ: images are normalised as the weights ask (the contest's run took
ImageNet's), and compute is bfloat16. Needs: a GPU with 16 GB; the frozen backbone is bfloat16. Expected:
0.932 of the contest's test (five folds voting). Unmeasured here: all of it at full size; the shrunken run
is tested.
"""

from sketch_jax.augment.options import Augmentation
from sketch_jax.config import Config
from sketch_jax.data.csv_table import Csv
from sketch_jax.data.splits import KFold
from sketch_jax.losses.options import CrossEntropy
from sketch_jax.models.head_options import HeadOptions
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.models.tuning_options import HeadOnly
from sketch_jax.optim.options import Adam
from sketch_jax.optim.schedule_options import Step


def get_config() -> Config:
    return Config(
        name="system_a_mlp3",
        seed=42,
        epochs=30,
        batch_size=64,
        source=Csv(root="data"),
        split=KFold(count=5, fold=0, seed=42),
        model=ModelOptions(
            pretrained="timm/eva02_large_patch14_448.mim_m38m_ft_in22k_in1k",
            head=HeadOptions(hidden=(1024,), activation="relu"),
            frozen_precision="bfloat16",
        ),
        augmentation=Augmentation(horizontal_flip=0.5, vertical_flip=0.5, rotation_degrees=15.0),
        tuning=HeadOnly(),
        loss=CrossEntropy(label_smoothing=0.0),
        optimizer=Adam(learning_rate=1e-3),
        schedule=Step(every_epochs=10.0, factor=0.1),
    )
