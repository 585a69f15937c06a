"""Attention beside torch, and what the plain function promises."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from sketch_jax.models import attention
from sketch_jax.models.attention import (
    Attention,
    attend,
    attend_in_pieces,
    flash_attention_runs,
    merge_heads,
    split_heads,
)


def random_heads(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


@pytest.mark.parametrize(("asking", "asked", "value_width"), [(5, 5, 8), (1, 7, 8), (4, 6, 3)])
def test_attention_is_torchs(asking, asked, value_width):
    torch = pytest.importorskip("torch")
    query, key = random_heads(2, asking, 3, 8), random_heads(2, asked, 3, 8, seed=1)
    value = random_heads(2, asked, 3, value_width, seed=2)
    theirs = [torch.tensor(np.asarray(part)).transpose(1, 2) for part in (query, key, value)]
    expected = torch.nn.functional.scaled_dot_product_attention(*theirs).transpose(1, 2)
    np.testing.assert_allclose(attend(query, key, value), expected, rtol=0, atol=2e-6)


def test_the_softmax_of_half_precision_attention_is_float32():
    heads = [random_heads(1, 300, 2, 16, seed=seed, dtype=jnp.bfloat16) for seed in range(3)]
    outputs = attend(*heads)
    precise = attend(*(part.astype(jnp.float32) for part in heads))
    assert outputs.dtype == jnp.bfloat16
    assert np.abs(outputs.astype(jnp.float32) - precise).max() < 2**-8 * np.abs(precise).max()
    text = str(jax.make_jaxpr(attend)(*heads))
    assert "exp" in text
    assert all("f32[" in line for line in text.splitlines() if " exp " in line)


def test_heads_split_and_merge():
    tokens = random_heads(2, 5, 12)
    heads = split_heads(tokens, 3)
    np.testing.assert_array_equal(heads[1, 2, 1], tokens[1, 2, 4:8])
    np.testing.assert_array_equal(merge_heads(heads), tokens)


def test_flash_attention_is_left_alone_without_a_gpu():
    assert not flash_attention_runs(jnp.bfloat16, 64)


@pytest.mark.parametrize(
    ("capability", "dtype", "head_width", "runs"),
    [
        ("9.0", jnp.bfloat16, 64, True),
        ("8.0", jnp.float16, 72, True),
        ("10.3", jnp.bfloat16, 128, True),
        ("7.5", jnp.bfloat16, 64, False),
        ("gfx942", jnp.bfloat16, 64, False),
        ("9.0", jnp.float32, 64, False),
        ("9.0", jnp.bfloat16, 136, False),
        ("9.0", jnp.bfloat16, 36, True),
    ],
)
def test_flash_attention_runs_where_cudnn_has_it(monkeypatch, capability, dtype, head_width, runs):
    class Device:
        compute_capability = capability

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [Device()])
    assert flash_attention_runs(dtype, head_width) is runs


def test_flash_attention_gets_half_precision_self_attention_and_nothing_else(monkeypatch):
    monkeypatch.setattr(attention, "flash_attention_runs", lambda dtype, _width: dtype == jnp.bfloat16)
    asked = []

    def note(query, _key, _value, *, scale, implementation):
        del scale
        asked.append(implementation)
        return query

    monkeypatch.setattr(jax.nn, "dot_product_attention", note)
    heads = random_heads(2, 4, 3, 8, dtype=jnp.bfloat16)
    attend(heads.astype(jnp.float32), heads.astype(jnp.float32), heads.astype(jnp.float32))
    attend(heads[:, :1], heads, heads)
    attend(heads, heads, heads, lambda weights: weights)
    assert asked == []
    attend(heads, heads, heads)
    assert asked == ["cudnn"]


@pytest.mark.parametrize(("head_width", "value_width"), [(8, 8), (6, 6), (9, 12), (8, 16)])
def test_heads_are_widened_to_what_flash_attention_takes_without_a_change(
    monkeypatch, head_width, value_width
):
    widths = []

    def by_xla(query, key, value, scale, _):
        widths.append({part.shape[-1] for part in (query, key, value)})
        return attend_in_pieces(query, key, value, scale, "xla")

    query, key = (random_heads(2, 5, 3, head_width, seed=seed) for seed in range(2))
    value, cotangent = (random_heads(2, 5, 3, value_width, seed=seed) for seed in (2, 3))

    def total(*parts):
        return (attend(*parts) * cotangent).sum()

    expected = jax.value_and_grad(total, (0, 1, 2))(query, key, value)
    monkeypatch.setattr(attention, "flash_attention_runs", lambda _dtype, width: width <= 128)
    monkeypatch.setattr(attention, "attend_in_pieces", by_xla)
    found = jax.value_and_grad(total, (0, 1, 2))(query, key, value)
    assert widths == [{16 if value_width > 8 else 8}]
    jax.tree.map(lambda ours, theirs: np.testing.assert_allclose(ours, theirs, atol=5e-6), found, expected)


@pytest.mark.parametrize("tokens", [4, 7])
def test_attention_in_pieces_is_attention_with_an_even_and_an_odd_number_of_tokens(tokens):
    heads = [random_heads(2, tokens, 3, 8, seed=seed) for seed in range(4)]

    def total(attended):
        return lambda *parts: (attended(*parts) * heads[3]).sum()

    def in_pieces(query, key, value):
        return attend_in_pieces(query, key, value, 0.3, "xla")

    def plainly(query, key, value):
        return attend(query, key, value, scale=0.3)

    np.testing.assert_allclose(in_pieces(*heads[:3]), plainly(*heads[:3]), rtol=0, atol=2e-6)
    found, expected = (jax.grad(total(part), (0, 1, 2))(*heads[:3]) for part in (in_pieces, plainly))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-6)


def test_cudnns_attention_of_an_odd_number_of_tokens_can_be_differentiated(pretended_cudnn):
    del pretended_cudnn
    heads = [random_heads(2, 197, 3, 64, seed=seed, dtype=jnp.bfloat16) for seed in range(3)]

    def total(query, key, value):
        return attend_in_pieces(query, key, value, 0.125, "cudnn").sum()

    text = str(jax.make_jaxpr(jax.grad(total, (0, 1, 2)))(*heads))
    assert "dot_product_attention_bwd" in text


def test_dropped_attention_weights_keep_the_expectation():
    layer = Attention(12, 3, attention_dropout=0.5)
    tokens = random_heads(1, 5, 12)
    params = layer.init(jax.random.key(0), tokens, False)
    params = jax.tree.map(lambda leaf: leaf + random_heads(*leaf.shape, seed=3), params)
    expected = layer.apply(params, tokens, False)
    many = jnp.repeat(tokens, 2000, axis=0)
    draws = layer.apply(params, many, True, rngs={"dropout": jax.random.key(1)})
    assert draws.std(0).min() > 0.05
    error = np.abs(draws.mean(0) - expected[0]) / (draws.std(0) / 2000**0.5)
    assert error.max() < 5
