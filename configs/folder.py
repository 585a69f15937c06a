"""Your own images, one folder a class, fine-tuning a ViT-S from timm's hub.

python -m sketch_jax.main --config configs/folder.py --source.root my_images
"""

from sketch_jax.augment.options import Augmentation
from sketch_jax.config import Config
from sketch_jax.data.folder import Folder
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.optim.options import AdamW
from sketch_jax.optim.schedule_options import WarmupCosine


def get_config() -> Config:
    return Config(
        name="folder",
        epochs=20,
        batch_size=64,
        source=Folder(root="my_images"),
        model=ModelOptions(
            name="vit_small_patch16_224",
            pretrained="timm/vit_small_patch16_224.augreg_in21k_ft_in1k",
            drop_path=0.1,
        ),
        augmentation=Augmentation(
            horizontal_flip=0.5,
            rotation_degrees=15.0,
            shift=0.1,
            scale=(0.8, 1.2),
            brightness=0.2,
            contrast=0.2,
        ),
        optimizer=AdamW(learning_rate=5e-5, weight_decay=0.05, clip_norm=1.0),
        schedule=WarmupCosine(warmup_epochs=0.5),
    )
