"""Converted copies of large weights: the same values, kept under what the weights hold."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from sketch_jax.weights.converted import open_converted
from sketch_jax.weights.sources import open_weights
from sketch_jax.weights.tensors import StoredTensors


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sketch_jax" / "weights"


def write_weights(directory, seed=0):
    generator = np.random.default_rng(seed)
    shapes = {
        "blocks.0.attn.qkv.weight": (12, 4),
        "blocks.0.attn.qkv.bias": (12,),
        "stem.conv.weight": (4, 3, 2, 2),
        "stem.bn.running_mean": (4,),
        "stem.bn.running_var": (4,),
    }
    tensors = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    directory.mkdir(exist_ok=True)
    save_file(tensors | {"stem.bn.num_batches_tracked": np.array(7)}, directory / "model.safetensors")
    (directory / "config.json").write_text('{"architecture": "tiny"}')
    return f"local-dir:{directory}"


def assert_same(weights, source):
    expected = open_weights(source)
    assert (weights.origin, weights.fingerprint) == (expected.origin, expected.fingerprint)
    assert weights.config == {"architecture": "tiny"}
    for name in expected.tensors:
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(weights.tensors[name], expected.tensors[name])


def is_converted(weights):
    assert isinstance(weights.tensors, StoredTensors)
    return weights.tensors.are_ours


def test_large_weights_are_converted_once_and_read_from_the_copy_ever_after(tmp_path, cache):
    source = write_weights(tmp_path / "weights")
    written = set()
    for _ in range(2):
        weights = open_converted(source, smallest_bytes=0)
        assert is_converted(weights)
        assert_same(weights, source)
        (copy,) = cache.iterdir()
        written.add((copy / "flax_model.safetensors").stat().st_mtime_ns)
    assert len(written) == 1


def test_other_weights_at_the_same_place_have_a_copy_of_their_own(tmp_path, cache):
    open_converted(write_weights(tmp_path / "weights"), smallest_bytes=0)
    source = write_weights(tmp_path / "weights", seed=1)
    assert_same(open_converted(source, smallest_bytes=0), source)
    assert len(list(cache.iterdir())) == 2


def test_small_weights_leave_no_copy(tmp_path, cache):
    source = write_weights(tmp_path / "weights")
    weights = open_converted(source)
    assert not is_converted(weights)
    assert_same(weights, source)
    assert not cache.exists()


def test_a_damaged_copy_is_made_anew(tmp_path, cache):
    source = write_weights(tmp_path / "weights")
    open_converted(source, smallest_bytes=0)
    (copy,) = cache.iterdir()
    whole = (copy / "flax_model.safetensors").read_bytes()
    (copy / "flax_model.safetensors").write_bytes(whole[:-10])
    assert_same(open_converted(source, smallest_bytes=0), source)
    assert (copy / "flax_model.safetensors").read_bytes() == whole


def test_where_no_copy_can_be_written_the_weights_are_taken_as_they_are(tmp_path, cache):
    cache.parent.parent.write_text("a file in the way of the cache")
    source = write_weights(tmp_path / "weights")
    weights = open_converted(source, smallest_bytes=0)
    assert not is_converted(weights)
    assert_same(weights, source)
