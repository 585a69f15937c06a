"""What each optimizer makes of gradients, at a rate that is known."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
import optax.contrib

from sketch_jax.optim.madgrad import scale_by_madgrad
from sketch_jax.optim.muon import muon_directions
from sketch_jax.optim.options import (
    Adam,
    AdamP,
    AdamW,
    BaseOptimizer,
    Lion,
    Madgrad,
    Muon,
    ScheduleFreeAdamW,
    Sgd,
    Sgdp,
)
from sketch_jax.optim.projection import adamp_steps, sgdp_steps
from sketch_jax.optim.treatments import own_rate
from sketch_jax.trees import Tree

Core = Callable[[Any, Tree, Any], optax.GradientTransformation]
"""(options, treatments, learning rate of this step) -> gradients to updates."""


def core_of(options: BaseOptimizer, treatments: Tree, rate: Any) -> optax.GradientTransformation:
    """The transformation from gradients to updates at one step.

    Args:
        options: which one.
        treatments: a tree like the parameters'.
        rate: learning rate of this step; the state does not depend on it.
    """
    return CORES[type(options)](options, treatments, rate)


def decay(options: BaseOptimizer, treatments: Tree) -> optax.GradientTransformation:
    """Adds the decayed weights times the strength of their decay."""
    if options.weight_decay == 0.0:
        return optax.identity()
    mask = jax.tree.map(lambda treatment: treatment.decays, treatments)
    return optax.add_decayed_weights(options.weight_decay, mask)


def descend(treatments: Tree, rate: Any) -> optax.GradientTransformation:
    """Directions -> updates against them, at each leaf's own rate."""

    def updates(directions: Any, _: Any) -> Any:
        return jax.tree.map(
            lambda treatment, direction: -own_rate(treatment, rate, direction) * direction,
            treatments,
            directions,
        )

    return optax.stateless(updates)


def _adamw(options: AdamW, treatments: Tree, rate: Any) -> optax.GradientTransformation:
    """Loshchilov and Hutter, Decoupled Weight Decay Regularization (2019), algorithm 2."""
    adam = optax.scale_by_adam(options.beta1, options.beta2, options.epsilon)
    return optax.chain(adam, decay(options, treatments), descend(treatments, rate))


def _adam(options: Adam, treatments: Tree, rate: Any) -> optax.GradientTransformation:
    """Kingma and Ba, Adam (2015), algorithm 1."""
    adam = optax.scale_by_adam(options.beta1, options.beta2, options.epsilon)
    return optax.chain(decay(options, treatments), adam, descend(treatments, rate))


def _sgd(options: Sgd, treatments: Tree, rate: Any) -> optax.GradientTransformation:
    """The algorithm of torch/optim/sgd.py, without dampening."""
    momentum = optax.trace(options.momentum, options.nesterov)
    return optax.chain(decay(options, treatments), momentum, descend(treatments, rate))


def _adamp(options: AdamP, treatments: Tree, rate: Any) -> optax.GradientTransformation:
    return optax.chain(adamp_steps(options, treatments), descend(treatments, rate))


def _sgdp(options: Sgdp, treatments: Tree, rate: Any) -> optax.GradientTransformation:
    return optax.chain(sgdp_steps(options, treatments), descend(treatments, rate))


def _madgrad(options: Madgrad, treatments: Tree, rate: Any) -> optax.GradientTransformation:
    return optax.chain(decay(options, treatments), scale_by_madgrad(options, treatments, rate))


def _lion(options: Lion, treatments: Tree, rate: Any) -> optax.GradientTransformation:
    """Chen et al., Symbolic Discovery of Optimization Algorithms (2023), program 1."""
    lion = optax.scale_by_lion(options.beta1, options.beta2)
    return optax.chain(lion, decay(options, treatments), descend(treatments, rate))


def _muon(options: Muon, treatments: Tree, rate: Any) -> optax.GradientTransformation:
    own = jax.tree.map(
        lambda treatment: treatment if treatment.hidden else _slowed(treatment, options.fallback_rate),
        treatments,
    )
    return optax.chain(muon_directions(options, treatments), decay(options, treatments), descend(own, rate))


def _slowed(treatment: Any, factor: float) -> Any:
    rates = treatment.rate
    slowed = tuple(rate * factor for rate in rates) if isinstance(rates, tuple) else rates * factor
    return dataclasses.replace(treatment, rate=slowed)


def _schedule_free_adamw(
    options: ScheduleFreeAdamW, treatments: Tree, rate: Any
) -> optax.GradientTransformation:
    """Defazio et al., The Road Less Scheduled (2024), algorithm 1; steps weigh by the square of their rate.

    Rates of their own leave the weights of a leaf's mean as they are: a constant factor cancels in them.
    """
    base = optax.chain(
        optax.scale_by_rms(options.beta2, options.epsilon, eps_in_sqrt=False, bias_correction=True),
        decay(options, treatments),
        descend(treatments, rate),
    )
    return optax.contrib.schedule_free(base, rate, b1=options.beta1)


CORES: Mapping[type, Core] = {
    AdamW: _adamw,
    Adam: _adam,
    Sgd: _sgd,
    AdamP: _adamp,
    Sgdp: _sgdp,
    Madgrad: _madgrad,
    Lion: _lion,
    Muon: _muon,
    ScheduleFreeAdamW: _schedule_free_adamw,
}
