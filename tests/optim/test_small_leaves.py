import jax
import numpy as np
import pytest
from jax import numpy as jnp

from sketch_jax.optim import small_leaves
from sketch_jax.optim.optimizer import group_by
from sketch_jax.optim.small_leaves import pack, pack_treatments, unpack
from sketch_jax.optim.treatments import rate_of_one


def parameters():
    generator = np.random.default_rng(0)
    return {
        "pos_embed": jnp.asarray(generator.normal(size=(1, 4, 3)), jnp.float32),
        "norm": {"scale": jnp.ones(3), "bias": jnp.asarray(generator.normal(size=3), jnp.float32)},
        "stem": {"kernel": jnp.asarray(generator.normal(size=(2, 2)), jnp.float32)},
        "head": {"kernel": jnp.asarray(generator.normal(size=(3, 2)), jnp.float32), "bias": jnp.ones(2)},
    }


@pytest.mark.parametrize("small_elements", [0, 5, 10**6])
def test_packed_leaves_come_back_whatever_is_small(small_elements, monkeypatch):
    monkeypatch.setattr(small_leaves, "SMALL_ELEMENTS", small_elements)
    params, group_of = parameters(), group_by(rate_of_one)
    packed = pack(params, group_of)
    sizes = {group: vector.size for group, vector in packed["small"].items()}
    assert (
        sizes
        == {0: {}, 5: {"undecayed": 8, "decayed": 4}, 10**6: {"undecayed": 20, "decayed": 10}}[small_elements]
    )
    back = unpack(packed, params, group_of)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_leaves_of_unequal_rates_are_packed_apart_and_those_of_stacked_rates_stay_as_they_are():
    def rate_of(path):
        return {"head/kernel": 0.5, "stem/kernel": 0.1, "norm/scale": (1.0, 2.0, 3.0)}.get(path, 1.0)

    packed = pack(parameters(), group_by(rate_of))
    assert {group: vector.size for group, vector in packed["small"].items()} == {
        "decayed_0.5": 6,
        "decayed_0.1": 4,
        "undecayed": 17,
    }
    assert packed["large"].keys() == {"norm"}
    jax.tree.map(np.testing.assert_array_equal, unpack(packed, parameters(), group_by(rate_of)), parameters())


def test_what_is_known_of_leaves_is_packed_like_them():
    params, group_of = parameters(), group_by(rate_of_one)
    known = pack_treatments(params, group_of, lambda path, leaf: group_of(path, leaf))
    assert known == {"small": {"decayed": "decayed", "undecayed": "undecayed"}, "large": {}}
