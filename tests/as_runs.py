"""Programs compiled as runs compile them, where the tests' own way (conftest.py) hides what is seen."""

import functools

import jax

AS_RUNS = {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}
jit_as_runs_do = functools.partial(jax.jit, compiler_options=AS_RUNS)
