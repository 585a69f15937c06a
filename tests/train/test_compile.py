import jax
import pytest
from jax import numpy as jnp

from sketch_jax.train import compile as compiling
from sketch_jax.train.compile import compile_for, compile_step, processor_features


def lowered():
    return jax.jit(lambda values: values * 2).lower(jnp.ones(3))


def test_a_step_compiled_ahead_computes_and_tells_its_cost():
    compiled = compile_step(lambda left, right: left @ right, jnp.ones((4, 8)), jnp.ones((8, 2)))
    assert compiled.call(jnp.ones((4, 8)), jnp.ones((8, 2))).tolist() == [[8.0, 8.0]] * 4
    assert compiled.flops == 2 * 4 * 8 * 2
    assert compiled.seconds > 0
    assert compiled.peak_bytes >= 4 * (32 + 16 + 8)


def test_an_option_that_this_xla_does_not_know_is_left_out(monkeypatch):
    monkeypatch.setattr(compiling, "CPU_OPTIONS", {"xla_cpu_option_of_another_time": 1})
    assert compile_for("cpu", lowered())(jnp.ones(3)).tolist() == [2.0] * 3


def test_an_unknown_option_takes_no_known_one_with_it(monkeypatch):
    options = {"xla_cpu_option_of_another_time": 1, **compiling.CPU_OPTIONS}
    monkeypatch.setattr(compiling, "CPU_OPTIONS", options)
    monkeypatch.setattr(compiling, "processor_features", set)
    tried = []

    class Recorded:
        def compile(self, compiler_options=None):
            tried.append(dict(compiler_options or {}))
            return lowered().compile(compiler_options=compiler_options)

    compile_for("cpu", Recorded())
    assert [sorted(given) for given in tried] == [sorted(options), ["xla_cpu_experimental_ynn_fusion_type"]]


def test_this_xla_knows_every_option_of_the_cpu():
    options = compiling.CPU_OPTIONS | compiling.WIDE_VECTORS
    assert lowered().compile(compiler_options=options)(jnp.ones(3)).tolist() == [2.0] * 3


def test_another_failure_of_the_compiler_is_not_hidden(monkeypatch):
    class Failing:
        def compile(self, **options):
            raise jax.errors.JaxRuntimeError("INTERNAL: out of registers")

    with pytest.raises(jax.errors.JaxRuntimeError, match="out of registers"):
        compile_for("cpu", Failing())


def test_instruction_sets_are_read_where_linux_tells_them(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16\n\nprocessor\t: 1\n")
    assert {"avx512f", "avx512_bf16"} <= processor_features(str(file))
    assert processor_features(str(tmp_path / "absent")) == set()
