import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sketch_jax.errors import InputError
from sketch_jax.weights.tensors import StoredTensors, read_stored, write_tensors


def tensors() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "conv.weight": generator.standard_normal((4, 3, 2, 2), np.float32),
        "norm.weight": generator.standard_normal(5, np.float32),
        "counter": np.array(7, np.int64),
        "mask": np.array([True, False, True]),
        "nothing": np.zeros((0, 3), np.float32),
    }


def test_the_safetensors_library_reads_what_is_written(tmp_path):
    written = tensors() | {"turned": np.arange(12, dtype=np.float32).reshape(3, 4).T}
    write_tensors(tmp_path / "x.safetensors", written, "pt")
    read = load_file(tmp_path / "x.safetensors")
    assert read.keys() == written.keys()
    for name, tensor in written.items():
        assert read[name].dtype == tensor.dtype
        np.testing.assert_array_equal(read[name], tensor)


def test_what_the_safetensors_library_writes_is_read(tmp_path):
    save_file(tensors(), tmp_path / "x.safetensors")
    read = StoredTensors(read_stored(tmp_path / "x.safetensors"))
    assert read.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert read[name].dtype == tensor.dtype
        np.testing.assert_array_equal(read[name], tensor)


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float64", "float8_e4m3fn"])
def test_every_floating_type_arrives_as_float32_with_the_values_torch_reads(tmp_path, kind):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    stored = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)).to(getattr(torch, kind))
    save_torch({"x": stored}, tmp_path / "x.safetensors")
    read = StoredTensors(read_stored(tmp_path / "x.safetensors"))["x"]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, stored.float().numpy())


def test_numbers_start_at_multiples_of_their_size(tmp_path):
    write_tensors(tmp_path / "x.safetensors", tensors(), "pt")
    for name, stored in read_stored(tmp_path / "x.safetensors").items():
        assert stored.offset % stored.dtype.itemsize == 0, name


def damaged_files() -> dict[str, bytes]:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    whole = len(header).to_bytes(8, "little") + header + bytes(8)
    return {
        "truncated": whole[:-3],
        "truncated inside the header": whole[:30],
        "empty": b"",
        "a web page": b"<html><body>404: Not Found</body></html>",
        "header no JSON": whole[:8] + b"[" + whole[9:],
        "header too long": b"\xff" * 8 + whole[8:],
        "bytes after the end": whole + b"123",
    }


@pytest.mark.parametrize("damage", damaged_files())
def test_a_damaged_file_is_named_with_what_to_do(tmp_path, damage):
    path = tmp_path / "model.safetensors"
    path.write_bytes(damaged_files()[damage])
    with pytest.raises(InputError) as raised:
        read_stored(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: not a whole safetensors file (")
    assert f"{path.stat().st_size:,} bytes): it is truncated, damaged or of another format" in message
    assert message.endswith("download or copy it again")


def test_an_unknown_number_type_is_refused(tmp_path):
    header = json.dumps({"a": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(InputError, match="tensors of type C64 are not supported; save them as F32"):
        read_stored(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        InputError, match=r"x\.safetensors: no such file; name a \.safetensors file that exists"
    ):
        read_stored(tmp_path / "x.safetensors")
