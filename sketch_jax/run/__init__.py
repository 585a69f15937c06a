"""A run, from configuration to submission: the stages in order, each fed by the values of the one before."""

from sketch_jax.run.stages import Result, run

__all__ = ["Result", "run"]
