"""Our train and inference steps."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from sides.case import Case, Side, random_batch


def prepare_jax(case: Case) -> Side:
    """Our step, compiled ahead of time."""
    import jax
    from jax import numpy as jnp

    from sketch_jax.data.records import Batch
    from sketch_jax.models.architectures import create_model
    from sketch_jax.train.host_memory import keep_freed_memory

    keep_freed_memory()
    on_cpu = jax.default_backend() == "cpu"
    dtype = jnp.float32 if on_cpu else jnp.bfloat16
    model = create_model(
        case.model,
        arguments=case.arguments,
        class_count=case.classes,
        image_size=case.image_size,
        dtype=dtype,
        remat=case.remat,
    )
    params, batch_statistics = jax.jit(model.init)(jax.random.key(0))
    images, labels = random_batch(case)
    rows = np.arange(case.batch_size, dtype=np.int32)
    batch = jax.device_put(Batch(images, labels, np.ones(case.batch_size, bool), rows))
    prepare = prepare_training if case.mode == "train" else prepare_inference
    compiled, once = prepare(case, model, params, batch_statistics, batch)
    facts = jax_facts(compiled, jnp.dtype(dtype).name)
    if case.remat != "none" and case.mode == "train":
        facts["step_flops"] = None  # those that are computed again are not the model's
    return Side(functools.partial(run_paced, once, case.steps), facts)


def prepare_training(
    case: Case, model: Any, params: Any, statistics: Any, batch: Any
) -> tuple[Any, Callable[[], Any]]:
    """The compiled train step, and a call of it that goes on from the last state."""
    import jax
    import optax
    from jax import numpy as jnp

    from sketch_jax.losses.create import create_loss
    from sketch_jax.losses.options import CrossEntropy
    from sketch_jax.models import tuning_options
    from sketch_jax.models.batch_norms import freeze_norms
    from sketch_jax.optim.optimizer import create_optimizer
    from sketch_jax.optim.options import AdamW
    from sketch_jax.preprocessing import Preprocessing
    from sketch_jax.train.compile import compile_step
    from sketch_jax.train.division import begin, divide, whole
    from sketch_jax.train.state import create_state
    from sketch_jax.train.step import make_train_step

    def plain(key, step, images, labels, mask, rows):
        return images.astype(jnp.float32) / 255.0, jax.nn.one_hot(labels, case.classes)

    schedule = optax.constant_schedule(1e-4)
    optimizer = create_optimizer(AdamW(), schedule)
    loss = create_loss(CrossEntropy(), np.ones(case.classes, np.int64)).loss
    preprocessing, key = Preprocessing(image_size=case.image_size), jax.random.key(1)
    division = divide(getattr(tuning_options, case.tuning)(), model, params)
    trainable, frozen = begin(division, params, key)
    del params
    join = functools.partial(whole, division)
    resting = freeze_norms(model, division.is_trained)
    step = make_train_step(resting, preprocessing, plain, optimizer, schedule, loss, whole=join)
    state = create_state(trainable, statistics, optimizer)
    compiled = compile_step(step, state, frozen, batch, key, donate=(0,))

    def once() -> Any:
        nonlocal state
        state, metrics = compiled.call(state, frozen, batch, key)
        return metrics["loss"]

    return compiled, once


def prepare_inference(
    case: Case, model: Any, params: Any, statistics: Any, batch: Any
) -> tuple[Any, Callable[[], Any]]:
    """The compiled prediction, and a call of it."""
    from sketch_jax.preprocessing import Preprocessing
    from sketch_jax.train.compile import compile_step
    from sketch_jax.train.step import make_predict_step

    predict = make_predict_step(model, Preprocessing(image_size=case.image_size))
    compiled = compile_step(predict, params, statistics, batch.images)
    return compiled, lambda: compiled.call(params, statistics, batch.images)


def jax_facts(compiled: Any, dtype: str) -> dict[str, Any]:
    """What is told of our side beside its speed."""
    import jax

    from sketch_jax.data.options import usable_cores
    from sketch_jax.train.devices import device_peak_flops

    device = jax.devices()[0]
    on_cpu = device.platform == "cpu"
    return {
        "system": "sketch_jax",
        "versions": {"jax": jax.__version__},
        "device": f"cpu, {usable_cores()} threads" if on_cpu else device.device_kind,
        "dtype": dtype,
        "compile_seconds": round(compiled.seconds, 2),
        "step_flops": compiled.flops,
        "compiler_peak_bytes": compiled.peak_bytes,
        "peak_flops": device_peak_flops(device.device_kind, dtype),
    }


def run_paced(once: Callable[[], Any], steps: int) -> None:
    """Runs steps as the loop of training does, with as many of them in flight."""
    import jax

    from sketch_jax.train.loop import best_steps_in_flight

    in_flight, results = best_steps_in_flight(jax.default_backend()), []
    for _ in range(steps):
        results.append(once())
        if len(results) > in_flight:
            jax.block_until_ready(results[-1 - in_flight])
    assert all(np.isfinite(result).all() for result in jax.device_get(results))
