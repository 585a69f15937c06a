"""Batches computed in parts against the same batch as a whole."""

import re

import jax
import numpy as np
import optax
import pytest
from tuning_cases import batch_of, begun, step_of

from sketch_jax.config import Config
from sketch_jax.errors import InputError
from sketch_jax.models.tuning_options import AttentionOnly, Everything
from sketch_jax.train.accumulation import cut_rows
from sketch_jax.train.mesh import check_batch_size, create_mesh
from sketch_jax.trees import flatten

VIT = "vit_tiny_patch16_224"


def after_a_step(parts, tuning, batch, name=VIT):
    optimizer = optax.sgd(1.0)
    division, model, state, frozen = begun(name, tuning, optimizer)
    step = step_of(model, division, optimizer, accumulation_steps=parts)
    return step(state, frozen, batch, jax.random.key(0))


@pytest.mark.parametrize("tuning", [Everything(), AttentionOnly()], ids=lambda tuning: type(tuning).__name__)
@pytest.mark.parametrize("masked", [0, 21])
def test_four_parts_of_sixteen_are_a_batch_of_sixty_four(tuning, masked):
    batch = batch_of(64, masked)
    whole_state, whole_metrics = after_a_step(1, tuning, batch)
    state, metrics = after_a_step(4, tuning, batch)
    np.testing.assert_allclose(metrics["loss"], whole_metrics["loss"], rtol=2e-6)
    expected = flatten(whole_state.trainable)
    for path, leaf in flatten(state.trainable).items():
        np.testing.assert_allclose(leaf, expected[path], rtol=0, atol=2e-6, err_msg=path)
    assert metrics["gradient_norm"] > 0.1


def test_a_part_without_a_counted_row_adds_nothing():
    batch = batch_of(8)
    batch = batch._replace(mask=np.arange(8) % 4 == 1)
    whole_state, _ = after_a_step(1, Everything(), batch)
    state, _ = after_a_step(4, Everything(), batch)
    for path, leaf in flatten(state.trainable).items():
        np.testing.assert_allclose(
            leaf, flatten(whole_state.trainable)[path], rtol=0, atol=2e-6, err_msg=path
        )


def test_running_statistics_move_once_for_each_part():
    name, batch, momentum = "test_resnet", batch_of(8), 0.1
    state, _ = after_a_step(2, Everything(), batch, name)
    parts = [type(batch)(*(leaf[first::2] for leaf in batch)) for first in (0, 1)]
    first, second = (flatten(after_a_step(1, Everything(), part, name)[0].statistics) for part in parts)
    start = flatten(begun(name, Everything(), optax.sgd(1.0))[2].statistics)
    for path, leaf in flatten(state.statistics).items():
        of_second = second[path] - (1.0 - momentum) * start[path]
        np.testing.assert_allclose(
            leaf, (1.0 - momentum) * first[path] + of_second, rtol=1e-5, atol=1e-5, err_msg=path
        )
        assert not np.allclose(leaf, first[path], atol=1e-4)


def test_rows_are_dealt_out_so_that_each_part_has_some_of_every_device():
    assert cut_rows(np.arange(8), 2).tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_parts_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(InputError, match=re.escape("--accumulation-steps 3: must divide --batch-size 64")):
        Config(name="run", batch_size=64, accumulation_steps=3)
    with pytest.raises(InputError, match=re.escape("--accumulation-steps 0: must be at least 1")):
        Config(name="run", accumulation_steps=0)
    mesh = create_mesh([jax.devices()[0]])
    with pytest.raises(
        InputError, match=re.escape("--accumulation-steps 4: 6 images cannot be split evenly")
    ):
        check_batch_size(6, mesh, 4)
