"""Every setting of JAX is fixed, recorded, or changes no number; so are XLA's flags."""

import jax

from mvae_jax import numerics

FIXED = {
    *("jax_enable_x64", "jax_default_prng_impl", "jax_threefry_partitionable"),
    *("jax_numpy_dtype_promotion", "jax_disable_jit"),
    "jax_random_seed_offset",  # by train.seed_key
    "jax_default_matmul_precision",  # by config.matmul_precision
}
# Beginnings of the others: checks, caches, logs, devices, and functions that are not called here.
HARMLESS = """
    allow_f16_reductions array_garbage auto_pcast backend_target bcoo_ captured_ check_
    collectives_common_ compilation_cache_ compiler_detailed_ cpu_ cross_host_ cuda_visible_
    custom_vjp_disable_ debug_ default_device disable_bwd_ disable_vmap_ disallow_ distributed_
    dump_ eager_constant_folding embedded_ enable_checks enable_compilation_cache
    enable_custom_prng enable_preemption_ enable_recoverability error_checking_
    experimental_unsafe_ explain_ explicit_x64_ export_ force_dcn_ high_dynamic_range_ hlo_source_
    include_ jax2tf_ legacy_prng_key log_ logging_ mock_ mosaic_ mtls_ mutable_ no_execution
    no_tracing num_cpu_devices numpy_rank_promotion oneapi_visible_ pallas_ persistent_cache_
    pgle_ pjrt_client_ platform pmap_ pprint_ ragged_dot_ raise_ refs_to_pins remove_
    rocm_visible_ send_traceback_ serialization_ share_binary_ sort_devices_ source_url_
    thread_guard traceback_ tracer_error_ transfer_guard use_cpp_ use_emit_pipeline_ use_magma
    use_rgv3 use_shardy_ use_simplified_ xla_
"""


def test_every_setting_of_this_version_of_jax_is_known():
    names = {name.removeprefix("jax_") for name in {*jax.config.values} - FIXED}
    names -= {name.removeprefix("jax_") for name in numerics.RECORDED}
    unknown = sorted(name for name in names if not name.startswith(tuple(HARMLESS.split())))
    assert not unknown, "may it change numbers? then add it to numerics.RECORDED, else here"


def test_a_setting_that_may_be_changed_is_recorded_as_it_is(monkeypatch):
    before = numerics.settings()
    assert before["jax_use_direct_linearize"] is True
    jax.config.update("jax_use_direct_linearize", False)
    try:
        assert numerics.settings() == before | {"jax_use_direct_linearize": False}
    finally:
        jax.config.update("jax_use_direct_linearize", True)


def test_flags_of_xla_are_recorded_in_any_order_from_a_file_too(tmp_path, monkeypatch):
    def recorded(flags):
        monkeypatch.setenv("XLA_FLAGS", str(flags))
        return numerics.settings()["XLA_FLAGS"]

    both = "--xla_a=1 --xla_b=2"
    assert recorded(both) == recorded("--xla_b=2  --xla_dump_to=x --xla_a=1") == both
    assert recorded("--xla_force_host_platform_device_count=8") == ""
    (tmp_path / "flags").write_text(f"{both}\n")
    assert recorded(tmp_path / "flags") == both
