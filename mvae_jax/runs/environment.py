"""What a run depends on besides its configuration: devices, processes, caches, versions."""

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import jax
import joblib
from jax.experimental import multihost_utils
from jax.extend import backend
from ml_collections import ConfigDict

from mvae_jax import __version__, datasets, numerics, records, replicas, sources, terminal
from mvae_jax.config import ConfigError
from mvae_jax.datasets import Dataset
from mvae_jax.store.origins import LIBRARIES, Origin

HEARTBEAT_SECONDS = 30  # after which the processes of a dead one's run give up


def prepare_jax(num_seeds: int) -> None:
    """Set what must be set before JAX first looks for its devices.

    A CPU's cores are divided among the seeds, and compiled programs kept on disk, so that the
    second run of a configuration starts at once. They are machine code: each kind of processor and
    jaxlib has a folder of its own, and it is the user's, not one that is shared as data may be.
    $JAX_COMPILATION_CACHE_DIR stands.
    """
    replicas.split_cores(num_seeds)
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        cache = datasets.cache.user_folder()
        str(cache).encode()  # JAX takes no other
    except (datasets.DataError, UnicodeEncodeError):  # without a folder, every run compiles
        return
    instructions = _cpuinfo("flags") or _cpuinfo("Features") or platform.machine()
    made_for = f"{importlib.metadata.version('jaxlib')} {instructions}"
    folder = cache / "programs" / hashlib.sha256(made_for.encode()).hexdigest()[:16]
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def check_platform() -> None:
    """Raise ConfigError where JAX has no device on the platforms that were asked for."""
    try:
        jax.local_devices()
        return
    except (RuntimeError, AssertionError):  # JAX's answers to names it knows not, and knows
        asked = jax.config.values["jax_platforms"]
    jax.config.update("jax_platforms", None)
    there = ", ".join(backend.backends())
    raise ConfigError(f"JAX_PLATFORMS: got '{asked}'; allowed on this machine: {there}")


def connect(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Join the processes of one run, as SLURM, a TPU pod or Open MPI started them.

    Where nothing started them, all three are needed: the address (host:port) of process 0, how many
    processes there are, and which of them this is. Raise ValueError where something is lacking.
    """
    given = {
        "--coordinator": coordinator,
        "--num_processes": num_processes,
        "--process_id": process_id,
    }
    lacking = [flag for flag, value in given.items() if value is None]
    if 0 < len(lacking) < len(given):
        raise ValueError(f"{lacking[0]}: missing; give all of {', '.join(given)}, or none")
    if process_id is not None and not 0 <= process_id < (num_processes or 0):
        raise ValueError(f"--process_id: got {process_id}; allowed: 0 to --num_processes less one")
    try:
        jax.distributed.initialize(
            coordinator, num_processes, process_id, heartbeat_timeout_seconds=HEARTBEAT_SECONDS
        )
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"--distributed: the processes do not find each other ({reason}); start them by SLURM, "
            f"Open MPI or a TPU pod, or give {', '.join(given)}"
        ) from error


def processes() -> tuple[int, int]:
    """Return which process this is, and of how many."""
    if not jax.distributed.is_initialized():
        return 0, 1  # and no device need be touched to say so
    return jax.process_index(), jax.process_count()


def wait_for_all(name: str) -> None:
    """Return when every process has come to the point of that name."""
    if jax.distributed.is_initialized():
        multihost_utils.sync_global_devices(name)


def disconnect() -> None:
    """Leave the processes of the run, once all have come here: what follows may take its time."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def exit_process(error: Exception, status: int) -> NoReturn:
    """End this process. One of several does not wait for the others: they give up without it."""
    terminal.say(f"error: {error}")
    if jax.distributed.is_initialized():
        os._exit(status)
    sys.exit(status)


def _cpuinfo(field: str) -> str:
    """Return what Linux says of the first core; empty where it says nothing."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def describe(config: ConfigDict, dataset: Dataset) -> dict[str, Any]:
    """Return what else a result depends on: versions, revision, devices, precision, data."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    versions = {package: importlib.metadata.version(package) for package in packages}
    return {
        "versions": {"python": platform.python_version(), "mvae_jax": __version__, **versions},
        "platform": platform.platform(),
        "processor": processor(),
        "git_revision": _git_revision(),
        "backend": jax.default_backend(),
        "devices": [device.device_kind for device in jax.local_devices()],
        "matmul_precision": config.matmul_precision,
        "data": dataset.provenance,
    }


def origin(config: ConfigDict) -> Origin:
    """Return what decides the numbers of what this process trains (`mvae_jax.store.origins`)."""
    return {
        "sources": sources.hashes(records.modules(config)),
        "settings": numerics.settings(),
        "device": jax.local_devices()[0].device_kind,
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def processor() -> str:
    """Return the host's processor and the number of its cores that this process may use."""
    return f"{_cpuinfo('model name') or platform.machine()}, {joblib.cpu_count()} cores"


def _git_revision() -> str | None:
    """Return the revision of the checkout that the package runs from, if it is one."""
    source = Path(__file__).parent.parent
    if not (source / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=40"]
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
