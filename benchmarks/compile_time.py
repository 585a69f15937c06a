"""Seconds to trace and compile a training step, with single blocks and with stacked ones.

    python benchmarks/compile_time.py --model eva_giant_patch14_336 --image-size 336

Prints one JSON line a layout and one with the ratio. No parameter is made. Processor seconds count: they
depend less on what else the machine does.
"""

import argparse
import json
import time
from typing import Any

import jax
import numpy as np
import optax
from jax import numpy as jnp

from sketch_jax.data.records import Batch
from sketch_jax.losses.create import create_loss
from sketch_jax.losses.options import CrossEntropy
from sketch_jax.models.architectures import create_model, default_image_size
from sketch_jax.optim.optimizer import create_optimizer
from sketch_jax.optim.options import AdamW
from sketch_jax.preprocessing import Preprocessing
from sketch_jax.train.compile import compile_for
from sketch_jax.train.state import create_state
from sketch_jax.train.step import make_train_step
from sketch_jax.trees import stack_blocks


def measure(name: str, image_size: int, batch_size: int, stacked: bool) -> dict[str, Any]:
    """Processor and wall seconds of tracing and of compiling."""
    model = create_model(name, class_count=1000, image_size=image_size, drop_path=0.1, dtype=jnp.bfloat16)
    schedule = optax.constant_schedule(1e-3)
    optimizer = create_optimizer(AdamW(), schedule)

    def start(key: Any):
        params, statistics = model.init(key)
        return create_state(stack_blocks(params) if stacked else params, statistics, optimizer)

    def augment(_key: Any, _step: Any, images: jax.Array, labels: jax.Array, *_mask_and_rows: jax.Array):
        return images.astype(jnp.float32) / 255.0, jax.nn.one_hot(labels, 1000)

    loss = create_loss(CrossEntropy(), np.ones(1000, np.int64)).loss
    step = make_train_step(model, Preprocessing(image_size=image_size), augment, optimizer, schedule, loss)
    state = jax.eval_shape(start, jax.random.key(0))
    batch = Batch(
        images=np.broadcast_to(np.uint8(0), (batch_size, image_size, image_size, 3)),
        labels=np.zeros(batch_size, np.int32),
        mask=np.zeros(batch_size, bool),
        rows=np.zeros(batch_size, np.int32),
    )
    began, wall = time.process_time(), time.perf_counter()
    lowered = jax.jit(step, donate_argnums=0).lower(state, {}, batch, jax.random.key(0))
    traced = time.process_time()
    compile_for(jax.default_backend(), lowered)
    return {
        "model": name,
        "image_size": image_size,
        "blocks": "stacked" if stacked else "single",
        "trace_seconds": round(traced - began, 2),
        "compile_seconds": round(time.process_time() - traced, 2),
        "wall_seconds": round(time.perf_counter() - wall, 2),
    }


def main() -> None:
    """Reads the command line, measures both layouts, prints JSON lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="timm's name of the architecture")
    parser.add_argument("--image-size", type=int, help="pixels; without it the model's own")
    parser.add_argument("--batch-size", type=int, default=1, help="images a step")
    options = parser.parse_args()
    size = options.image_size or default_image_size(options.model)
    lines = [measure(options.model, size, options.batch_size, stacked) for stacked in (True, False)]
    stacked, single = (line["trace_seconds"] + line["compile_seconds"] for line in lines)
    for line in [*lines, {"model": options.model, "single_over_stacked": round(single / stacked, 2)}]:
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
