"""Mixing beside timm's `Mixup`, to which the draws of numpy's generator are given; ours get the same."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from sketch_jax.augment.mixing import Draws, Partners, groups, mix_as_drawn
from sketch_jax.augment.mixing_options import Mixing, RandomBox, SizedBox
from sketch_jax.augment.mixing_strengths import create_mixing

torch = pytest.importorskip("torch")
Mixup = pytest.importorskip("timm.data.mixup").Mixup

COUNT, HEIGHT, WIDTH, CLASSES = 8, 26, 37, 5
IMAGES = np.random.default_rng(0).uniform(size=(COUNT, HEIGHT, WIDTH, 3)).astype(np.float32)
LABELS = np.arange(COUNT) % CLASSES


class Recorder:
    """Stands for numpy's random functions in timm, and keeps what they gave, in the order of the calls."""

    def __init__(self, seed: int):
        self.generator = np.random.RandomState(seed)
        self.calls: list[tuple[str, tuple, np.ndarray]] = []

    def _keep(self, name: str, limits: tuple, value):
        self.calls.append((name, limits, np.asarray(value)))
        return value

    def rand(self, *shape):
        return self._keep("rand", (), self.generator.rand(*shape))

    def beta(self, alpha, other, size=None):
        return self._keep("beta", (alpha,), self.generator.beta(alpha, other, size))

    def randint(self, low, high, size=None):
        return self._keep("randint", (low, high), self.generator.randint(low, high, size))

    def values(self, name: str) -> list[np.ndarray]:
        return [value for kind, _, value in self.calls if kind == name]

    def places(self) -> list[tuple[float, int]]:
        """The whole numbers as shares of their ranges, in the middle of what gives the same number."""
        return [
            ((value - limits[0] + 0.5) / (limits[1] - limits[0]), int(value))
            for kind, limits, value in self.calls
            if kind == "randint"
        ]


def timm_mixed(monkeypatch, seed: int, mode: str, **options):
    recorder = Recorder(seed)
    for name in ("rand", "beta", "randint"):
        monkeypatch.setattr(np.random, name, getattr(recorder, name))
    mixer = Mixup(mode=mode, label_smoothing=0.0, num_classes=CLASSES, **options)
    images = torch.from_numpy(IMAGES.copy()).permute(0, 3, 1, 2).contiguous()
    mixed, targets = mixer(images, torch.from_numpy(LABELS))
    monkeypatch.undo()
    return mixed.permute(0, 2, 3, 1).numpy(), targets.numpy(), recorder


def own_mixed(draws: Draws, mixing: Mixing):
    layout, stages = create_mixing([mixing], CLASSES, 10)
    strengths = jax.tree.map(lambda values: values[0], stages)
    partners = Partners(jnp.arange(COUNT)[::-1], jnp.ones(COUNT, bool))
    targets = jax.nn.one_hot(LABELS, CLASSES)
    return mix_as_drawn(draws, partners, strengths, layout, jnp.asarray(IMAGES), targets)


def draws_of(recorder: Recorder, mode: str, sized: bool, switch: float) -> Draws:
    """timm's draws as ours: each mixed group in turn took its place, and its lengths where they are drawn."""
    mode = {"elem": "element"}.get(mode, mode)
    drawn = {"batch": 1, "pair": COUNT // 2, "element": COUNT}[mode]
    randoms = [np.atleast_1d(value) for value in recorder.values("rand")]
    betas = [np.atleast_1d(value) for value in recorder.values("beta")]
    # timm asks whether mixing happens first for a batch, and last for elements.
    cut = (randoms[1] if mode == "batch" else randoms[0]) < switch
    share = betas[0] if mode == "batch" else np.where(cut, betas[0], betas[1])
    places = iter(recorder.places())
    names = ("height", "width", "row", "column") if sized else ("row", "column")
    shares = {name: np.full(drawn, 0.5) for name in ("row", "column", "height", "width")}
    for group in np.flatnonzero(cut):
        for name in names:
            shares[name][group] = next(places)[0]
    assert next(places, None) is None
    sharers = groups(mode, COUNT)
    floats = {name: jnp.asarray(value[sharers], jnp.float32) for name, value in shares.items()}
    return Draws(
        happens=jnp.ones(COUNT, bool),
        cut=jnp.asarray(cut[sharers]),
        share=jnp.asarray(share[sharers], jnp.float32),
        **floats,
    )


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize(
    "box", [RandomBox(alpha=1.0), SizedBox(least=0.2, most=0.8)], ids=["random", "sized"]
)
def test_the_same_draws_give_timms_images_and_targets(monkeypatch, mode, box):
    sized = isinstance(box, SizedBox)
    options = {"cutmix_minmax": (0.2, 0.8)} if sized else {"cutmix_alpha": 1.0}
    for seed in range(8):
        images, targets, recorder = timm_mixed(
            monkeypatch, seed, mode, mixup_alpha=0.8, prob=1.0, switch_prob=0.5, **options
        )
        draws = draws_of(recorder, mode, sized, 0.5)
        own_images, own_targets = own_mixed(draws, Mixing(mixup_alpha=0.8, cutmix=box))
        np.testing.assert_allclose(own_images, images, atol=1e-6)
        np.testing.assert_allclose(own_targets, targets, atol=1e-6)
