"""Checkpoints come back bit for bit; the last and the best stay."""

import json
import logging
from functools import partial

import jax
import numpy as np
import pytest
from checkpoint_cases import (
    LARGE,
    abstract,
    assert_same_bits,
    create_tree,
    directories,
    refuse_reports,
    restored_step,
    run_script,
    save_steps,
    truncate,
)
from jax import numpy as jnp

from sketch_jax.errors import InputError
from sketch_jax.train import checkpoint_arrays
from sketch_jax.train.checkpoint_arrays import create_checkpointer, read_leaves
from sketch_jax.train.checkpoints import Checkpoints
from sketch_jax.train.packing import leaves_by_path


def test_a_state_comes_back_bit_for_bit(tmp_path):
    state = create_tree(3)
    position = {"epoch": 2, "rows": [1, 2]}
    with Checkpoints(tmp_path / "checkpoints", report=refuse_reports) as checkpoints:
        assert checkpoints.restore_latest(state) is None
        checkpoints.save(7, state, extra={"position": position}, metric=0.5)
        position["rows"].append(99)
    with Checkpoints(tmp_path / "checkpoints", report=refuse_reports) as checkpoints:
        found = checkpoints.restore_latest(abstract(state))
    assert found is not None
    assert_same_bits(found.state, state)
    assert found[1:] == ({"position": {"epoch": 2, "rows": [1, 2]}}, 7, 0.5)


def test_buffers_may_be_given_up_right_after_a_save(tmp_path):
    @partial(jax.jit, donate_argnums=0)
    def advance(tree):
        return jax.tree.map(lambda leaf: leaf + jnp.asarray(1, leaf.dtype), tree)

    state = advance({"small": jnp.zeros(10), "large": jnp.zeros(4 * LARGE)})
    with Checkpoints(tmp_path, report=refuse_reports) as checkpoints:
        for step in range(3):
            value = float(state["small"][0])
            checkpoints.save(step, state)
            for _ in range(5):
                state = advance(state)
            jax.block_until_ready(state)
            found = checkpoints.restore_latest(abstract(state))
            assert found is not None
            assert all(np.all(np.asarray(leaf) == value) for leaf in found.state.values())
            state = advance(found.state)


def test_the_last_ones_and_the_best_stay(tmp_path):
    save_steps(tmp_path, {10: 0.2, 20: 0.9, 30: 0.5, 40: 0.9, 50: float("nan"), 60: None}, keep_last=2)
    assert directories(tmp_path) == ["40", "50", "60"]
    with Checkpoints(tmp_path, report=refuse_reports) as checkpoints:
        assert checkpoints.steps() == (40, 50, 60)
        assert checkpoints.best() == (40, 0.9)
    assert restored_step(tmp_path) == (60, [])
    assert restored_step(tmp_path, best=True) == (40, [])


def test_the_best_may_be_the_lowest(tmp_path):
    save_steps(tmp_path, {1: 0.4, 2: 0.1, 3: 0.1, 4: 0.6}, keep_last=1, higher_is_better=False)
    assert directories(tmp_path) == ["3", "4"]


def test_without_any_metric_the_newest_is_the_best(tmp_path):
    save_steps(tmp_path, {1: None, 2: None, 3: None})
    assert restored_step(tmp_path, best=True) == (3, [])


def test_no_checkpoint_at_all_cannot_be_asked_for(tmp_path):
    with pytest.raises(InputError, match="keep_last 0: the newest checkpoint must be kept"):
        Checkpoints(tmp_path, report=refuse_reports, keep_last=0)


def test_a_step_that_is_saved_again_gets_the_new_metric_and_keeps_its_arrays(tmp_path):
    with Checkpoints(tmp_path, report=refuse_reports) as checkpoints:
        for extra, metric in (({"n": 1}, None), ({"n": 2}, 0.25), ({"n": 3}, None)):
            checkpoints.save(5, {"value": jnp.full(4, 5)}, extra=extra, metric=metric)
        found = checkpoints.restore_best({"value": jnp.zeros(4, jnp.int32)})
    assert found is not None
    assert found[1:] == ({"n": 3}, 5, 0.25)


def test_steps_only_go_forward(tmp_path):
    save_steps(tmp_path, {10: None})
    with (
        Checkpoints(tmp_path, report=refuse_reports) as checkpoints,
        pytest.raises(ValueError, match="step 9 is saved after step 10"),
    ):
        checkpoints.save(9, {"value": jnp.zeros(4)})


def test_values_that_json_lacks_are_refused_at_once(tmp_path):
    with Checkpoints(tmp_path, report=refuse_reports) as checkpoints:
        with pytest.raises(TypeError, match="not JSON serializable"):
            checkpoints.save(1, {"value": jnp.zeros(4)}, extra={"position": {1, 2}})
        assert checkpoints.steps() == ()


def test_what_orbax_logs_is_not_shown_but_what_others_log_is(tmp_path, caplog):
    checkpointer = create_checkpointer()
    try:
        checkpointer.restore(tmp_path / "absent")
    except Exception as error:
        logging.getLogger("asyncio").error("orbax failed", exc_info=error)
    else:
        pytest.fail("orbax found what is not there")
    checkpointer.close()
    try:
        int("x")
    except ValueError as error:
        logging.getLogger("asyncio").error("another failed", exc_info=error)
    logging.getLogger("absl").error("a word of grain")
    assert [record.message for record in caplog.records] == ["another failed", "a word of grain"]


OTHER_DEVICES = """
import sys
import jax, numpy as np
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from sketch_jax.train.checkpoints import Checkpoints

assert len(jax.devices()) == 8
mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "fsdp"))
spec = {"table": P("data", "fsdp"), "bias": P("fsdp"), "scale": P()}
shapes = {"table": (512, 400), "bias": (16,), "scale": ()}
template = {
    name: jax.ShapeDtypeStruct(shapes[name], jnp.float32, sharding=NamedSharding(mesh, spec[name]))
    for name in spec
}
with Checkpoints(sys.argv[1], report=print) as checkpoints:
    found = checkpoints.restore_latest(template)
    for name, leaf in found.state.items():
        assert leaf.sharding == template[name].sharding, name
    checkpoints.save(2, jax.tree.map(lambda leaf: leaf * 2, found.state))
print("done")
"""


def test_a_state_moves_between_one_device_and_a_mesh_of_eight_without_a_word(tmp_path):
    numbers = np.random.default_rng(0)
    shapes = {"table": (512, 400), "bias": (16,), "scale": ()}
    state = {name: jnp.asarray(numbers.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
    with Checkpoints(tmp_path, report=refuse_reports) as checkpoints:
        checkpoints.save(1, state)
    assert run_script(OTHER_DEVICES, tmp_path, devices=8) == "done\n"
    with Checkpoints(tmp_path, report=refuse_reports) as checkpoints:
        found = checkpoints.restore_latest(state)
    assert found is not None
    assert found.step == 2
    assert_same_bits(found.state, jax.tree.map(lambda leaf: leaf * 2, state))


def test_a_state_of_other_shapes_is_refused_leaf_by_leaf(tmp_path):
    with Checkpoints(tmp_path, report=refuse_reports) as checkpoints:
        checkpoints.save(
            1, {"head": {"kernel": jnp.zeros((4, 3)), "bias": jnp.zeros(3)}, "old": jnp.zeros(1)}
        )
        other = {"head": {"kernel": jnp.zeros((4, 5)), "bias": jnp.zeros(3)}, "new": jnp.zeros((), jnp.int32)}
        with pytest.raises(InputError) as caught:
            checkpoints.restore_latest(other)
    assert str(caught.value).splitlines() == [
        f"{tmp_path / '1'}: this checkpoint is of another model or optimizer; stored → expected (3):",
        '  head/kernel: "float32[4,3]" → "float32[4,5]"',
        '  old: "float32[1]" → (absent)',
        '  new: (absent) → "int32[]"',
        "give the configuration that it was made with, or write to another directory",
    ]


def test_what_is_needed_to_use_the_arrays_alone_stands_beside_them(tmp_path):
    state = create_tree(5)
    record = {"model": {"name": "resnet18", "arguments": {}}, "class_names": ["Hund", "Schäfchen"]}
    with Checkpoints(tmp_path, report=refuse_reports, record=record) as checkpoints:
        checkpoints.save(3, state, metric=0.1)
    with Checkpoints(tmp_path, report=refuse_reports) as checkpoints:
        assert checkpoints.record() == record
    seal = json.loads((tmp_path / "3" / "checkpoint.json").read_text())
    assert (seal["step"], seal["metric"], seal["record"]) == (3, 0.1, record)
    leaves = read_leaves(tmp_path / "3", ["trainable/", "flags"])
    expected = {
        path: leaf for path, leaf in leaves_by_path(state).items() if path.startswith(("trainable/", "flags"))
    }
    assert set(leaves) == set(expected)
    assert len(leaves) == 5
    for path, leaf in leaves.items():
        assert isinstance(leaf, np.ndarray)
        assert_same_bits(leaf, expected[path])
    assert set(read_leaves(tmp_path / "3", ["trainable/table"])) == {"trainable/table"}
    truncate(tmp_path / "3")
    with pytest.raises(InputError, match="damaged or unfinished"):
        read_leaves(tmp_path / "3", ["trainable/"])


def test_arrays_are_read_some_at_a_time(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    sizes = {"a": 300, "b": 300, "large": 900, "c": 300, "d": 300, "small": 4}
    arrays = {
        name: jnp.asarray(generator.normal(size=(size, 600)), jnp.float32) for name, size in sizes.items()
    }
    with Checkpoints(tmp_path, report=refuse_reports) as checkpoints:
        checkpoints.save(1, {"trainable": arrays}, metric=None)
    monkeypatch.setattr(checkpoint_arrays, "PART_BYTES", 2 * 300 * 600 * 4)
    asked = []

    def read(checkpointer, directory, seal, wanted):
        asked.append([path.removeprefix("trainable/") for path in wanted])
        return read_arrays(checkpointer, directory, seal, wanted)

    read_arrays = checkpoint_arrays.read_arrays
    monkeypatch.setattr(checkpoint_arrays, "read_arrays", read)
    leaves = read_leaves(tmp_path / "1", ["trainable/"])
    assert {path: leaf.tobytes() for path, leaf in leaves.items()} == {
        f"trainable/{name}": np.asarray(array).tobytes() for name, array in arrays.items()
    }
    assert sorted(map(len, asked)) == [1, 2, 3], "the large one alone, two, and two with the packed one"
    assert ["large"] in asked


def test_checkpoints_of_another_model_are_refused(tmp_path):
    with Checkpoints(
        tmp_path, report=refuse_reports, record={"model": "resnet18", "classes": ["a"]}
    ) as checkpoints:
        checkpoints.save(1, {"value": jnp.zeros(4)})
    with pytest.raises(InputError) as caught:
        Checkpoints(tmp_path, report=refuse_reports, record={"model": "resnet34", "classes": ("a",)})
    assert str(caught.value).splitlines() == [
        f"{tmp_path}: the checkpoints there were made with other values; stored → given (1):",
        '  model: "resnet18" → "resnet34"',
        "write to another directory, or remove this one to start over",
    ]


def test_importing_does_not_load_orbax():
    script = "import sys, sketch_jax.train.checkpoints; print([m for m in sys.modules if 'orbax' in m])"
    assert run_script(script) == "[]\n"
