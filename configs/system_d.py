"""System D (2022): ResNet50 on masked faces, rare classes drawn more often.

python -m sketch_jax.main --config configs/system_d.py --source.root DIR
    --model.pretrained timm/vgg16_bn.tv_in1k        the other backbone

Source: the contest's write-up: Adam 1e-4, the rate halved every 20 epochs, perspective 0.2, rotations of 20
degrees, a hidden layer with dropout 0.7 and Xavier-uniform starts, early stopping. Factors of the sampling,
the hidden width, the patience and the number of epochs are ours. Needs: a GPU with 8 GB. Expected: macro-F1
0.73 with its ensemble. Unmeasured here: all of it at full size; the shrunken run is tested.
"""

from sketch_jax.augment.operation_options import Perspective
from sketch_jax.augment.options import Augmentation
from sketch_jax.config import Config
from sketch_jax.data.mask_folders import MaskFolders
from sketch_jax.data.sampling import Oversampled
from sketch_jax.data.splits import HoldOut
from sketch_jax.losses.options import CrossEntropy
from sketch_jax.models.head_options import HeadOptions
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.optim.options import Adam
from sketch_jax.optim.schedule_options import Step
from sketch_jax.train.options import Selection


def get_config() -> Config:
    return Config(
        name="system_d",
        epochs=60,
        batch_size=64,
        image_size=224,
        source=MaskFolders(root="data"),
        split=HoldOut(fraction=0.2),
        model=ModelOptions(
            pretrained="timm/resnet50.a1_in1k",
            head=HeadOptions(hidden=(512,), dropout=0.7, start="xavier_uniform"),
        ),
        sampling=Oversampled(classes=(("age=old", 5.0),)),
        augmentation=Augmentation(
            horizontal_flip=0.5,
            rotation_degrees=20.0,
            perspective=Perspective(distortion=0.2, probability=0.7),
        ),
        loss=CrossEntropy(label_smoothing=0.1),
        optimizer=Adam(learning_rate=1e-4),
        schedule=Step(every_epochs=20.0, factor=0.5),
        selection=Selection(metric="macro_f1", patience=8),
    )
