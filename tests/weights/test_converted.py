"""Converted copies of large weights: the same values, kept under what the weights hold."""

import os

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from sketch_jax.keys import stream
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.preprocessing import PreprocessingChanges
from sketch_jax.train.start import create_start
from sketch_jax.weights import converted
from sketch_jax.weights.converted import open_converted
from sketch_jax.weights.load import fit
from sketch_jax.weights.sources import open_weights
from sketch_jax.weights.tensors import StoredTensors


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(converted, "SMALLEST_BYTES", 0)
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


def copies(cache):
    return [path for path in cache.iterdir() if path.is_dir()]


def is_converted(weights):
    assert isinstance(weights.tensors, StoredTensors)
    return weights.tensors.are_ours


def test_large_weights_are_converted_once_and_read_from_the_copy_ever_after(tmp_path, cache):
    source = write_weights(tmp_path / "weights")
    written = set()
    for _ in range(2):
        weights = open_converted(source)
        assert is_converted(weights)
        assert_same(weights, source)
        (copy,) = copies(cache)
        written.add((copy / "flax_model.safetensors").stat().st_mtime_ns)
    assert len(written) == 1


def test_other_weights_at_the_same_place_have_a_copy_of_their_own(tmp_path, cache):
    open_converted(write_weights(tmp_path / "weights"))
    source = write_weights(tmp_path / "weights", seed=1)
    assert_same(open_converted(source), source)
    assert len(copies(cache)) == 2


def test_small_weights_leave_no_copy(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(converted, "SMALLEST_BYTES", 1000)
    source = write_weights(tmp_path / "weights")
    weights = open_converted(source)
    assert not is_converted(weights)
    assert_same(weights, source)
    assert not cache.exists()


def test_a_damaged_copy_is_made_anew(tmp_path, cache):
    source = write_weights(tmp_path / "weights")
    open_converted(source)
    (copy,) = copies(cache)
    whole = (copy / "flax_model.safetensors").read_bytes()
    (copy / "flax_model.safetensors").write_bytes(whole[:-10])
    assert_same(open_converted(source), source)
    assert (copy / "flax_model.safetensors").read_bytes() == whole


def test_where_no_copy_can_be_written_the_weights_are_taken_as_they_are(tmp_path, cache):
    cache.parent.parent.write_text("a file in the way of the cache")
    source = write_weights(tmp_path / "weights")
    weights = open_converted(source)
    assert not is_converted(weights)
    assert_same(weights, source)


def test_a_run_starts_from_the_copy_with_the_values_of_the_weights(tmp_path, cache, mobilenet_weights):
    source = f"local-dir:{mobilenet_weights}"

    def start():
        options = ModelOptions(name=None, pretrained=source)
        classes, key = ("cat", "dog"), jax.random.key(0)
        return create_start(options, PreprocessingChanges(), 64, classes, key, np.asarray)

    first = start()
    assert len(copies(cache)) == 1
    second = start()
    plain = fit_directly(source, first)
    for found in (first, second):
        assert found.fingerprint == open_weights(source).fingerprint
        assert found.weights == first.weights
        jax.tree.map(np.testing.assert_array_equal, found.params, plain)


def fit_directly(source, start):
    fresh = jax.tree.map(np.asarray, jax.jit(start.model.init)(stream(jax.random.key(0), "parameters"))[0])
    return fit(
        open_weights(source),
        jax.eval_shape(start.model.init, jax.random.key(0)),
        architecture=start.model.name,
        classifier=start.model.classifier,
        fresh=fresh,
    ).params


def test_what_killed_processes_left_and_the_oldest_copies_go_when_one_is_made(tmp_path, cache, monkeypatch):
    sources = [write_weights(tmp_path / f"weights{seed}", seed) for seed in range(3)]
    open_converted(sources[0])
    (first,) = copies(cache)
    open_converted(sources[1])
    (second,) = set(copies(cache)) - {first}
    os.utime(first, (1, 1))
    open_converted(sources[0])  # used again: now the second is the oldest
    os.utime(second, (2, 2))
    (cache / ".left.partial").mkdir()
    size = sum(file.stat().st_size for file in first.iterdir())
    monkeypatch.setattr(converted, "MOST_BYTES", 2 * size)
    open_converted(sources[2])
    assert first.is_dir()
    assert not second.exists()
    assert not (cache / ".left.partial").exists()
    assert len(copies(cache)) == 2
