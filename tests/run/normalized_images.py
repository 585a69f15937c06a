"""What a run's model was given."""

import json
from pathlib import Path

import numpy as np
from jax import numpy as jnp

from sketch_jax.data.doodles import Doodles, load_doodles
from sketch_jax.data.pipeline import evaluation_batches
from sketch_jax.preprocessing import Preprocessing
from sketch_jax.train.step import normalize


def normalized_test_images(run: Path, source: Doodles) -> np.ndarray:
    """The images of the test set in order, as the model of a run takes them."""
    record = json.loads(next((run / "checkpoints").glob("*/checkpoint.json")).read_text())["record"]
    stated = {key: value for key, value in record["preprocessing"].items() if key != "type"}
    stated |= {name: tuple(stated[name]) for name in ("mean", "std")}
    preprocessing = Preprocessing(**stated)
    test = load_doodles(source).test
    assert test is not None
    batches = evaluation_batches(test, np.arange(len(test)), preprocessing, batch_size=len(test))
    images = next(iter(batches)).images
    return np.asarray(normalize(jnp.asarray(images, jnp.float32) / 255.0, preprocessing))
