"""What decides a replicate's numbers besides its configuration: its origin.

    sources    file -> hash of the code in it that decides numbers
    settings   name -> value of JAX's and XLA's settings that change numbers
    device     its kind, as "cpu"
    versions   of jax, jaxlib, flax and optax

environment.json holds every origin of a run under `origins`, by its identifier. The record of a
replicate has the identifiers of all that trained it, and a checkpoint those of its cohort.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mvae_jax import terminal
from mvae_jax.config import ConfigError
from mvae_jax.store import json_file, run_folder

Origin = dict[str, Any]
WAY_OUT = (
    "restore them, choose another folder by --config.tag, --workdir or (of a sweep) --root, pass "
    "--overwrite, which moves the old one aside, or --accept_changes, which goes on and marks the "
    "run in every report"
)
ORIGIN = {"sources": dict, "settings": dict, "device": str, "versions": dict}  # a schema
LIBRARIES = ("jax", "jaxlib", "flax", "optax")  # that decide numbers


class Difference(NamedTuple):
    """In what two origins differ: the files, and settings and machine with both values."""

    sources: list[str]
    settings: list[str]
    machine: list[str]


def identify(origin: Origin) -> str:
    """Return the identifier of an origin: 12 hex digits."""
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:12]


def read(folder: Path) -> dict[str, Origin]:
    """Return the origins of a run folder by identifier; none where it does not hold them.

    Each process of a run has written its own. Raise ConfigError where a file of them is damaged.
    """
    found: dict[str, Origin] = {}
    for path in sorted(folder.glob("environment*.json")):
        try:
            environment = json_file.read_json(path, sealed=run_folder.is_own(folder))
        except run_folder.RunFolderError as error:
            raise ConfigError(f"{error}; restore it, or pass --overwrite") from error
        found |= in_environment(environment)
    return found


def in_environment(environment: Mapping[str, Any]) -> dict[str, Origin]:
    """Return the origins that an environment.json holds; none of an older or a foreign run."""
    found = environment.get("origins")
    if not isinstance(found, dict):
        return {}
    return {k: v for k, v in found.items() if not json_file.find_fault(v, ORIGIN)}


def named_by(replicates: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the identifiers of all origins of the replicates' records."""
    named = (origin for replicate in replicates for origin in replicate.get("origins", ()))
    return {origin for origin in named if isinstance(origin, str)}


def trained_by(
    environment: Mapping[str, Any], replicates: Iterable[Mapping[str, Any]]
) -> list[Origin]:
    """Return the origins of the replicates' records, as far as environment.json knows them.

    Of an older run only the machine is known; of a foreign one, nothing.
    """
    known = in_environment(environment)
    if named := sorted(named_by(replicates)):
        return [known[name] for name in named if name in known]
    devices, found = environment.get("devices"), environment.get("versions")
    if not devices or not found:
        return []
    versions = {name: found[name] for name in LIBRARIES if name in found}
    return [{"sources": {}, "settings": {}, "device": devices[0], "versions": versions}]


def differ(one: Origin, other: Origin) -> Difference:
    """Return in what two origins differ.

    A file that one of them lacks is no difference by itself: what imports it differs, or it is the
    family that the configuration names.
    """
    files = _unequal_names(one["sources"], other["sources"])
    # A setting that one version of JAX lacks is the other's default or a matter of the version.
    machines = ({"device": origin["device"], **origin["versions"]} for origin in (one, other))
    return Difference(files, _unequal(one["settings"], other["settings"]), _unequal(*machines))


def _unequal(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return [f"{n} ({one[n]!r} and {other[n]!r})" for n in _unequal_names(one, other)]


def _unequal_names(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in one.keys() & other.keys() if one[name] != other[name])


def check(folder: Path, earlier: Iterable[str], now: Origin, trains: bool, accepted: bool) -> None:
    """Raise ConfigError where a run would go on with other code than it was trained by.

    Say it on stderr where that is accepted, where nothing is trained, and where the machine is
    another one.

    earlier: the identifiers of the origins of what is there
    trains:  whether something is to be trained or embedded
    """
    known, others = read(folder), sorted(set(earlier) - {identify(now)})
    found = [differ(known[name], now) for name in others if name in known]
    lost = [f"{n}, which its environment.json does not hold" for n in others if n not in known]
    code = dict.fromkeys([*(c for one in found for c in one.sources + one.settings), *lost])
    machine = dict.fromkeys(name for one in found for name in one.machine)
    said = f"{folder}: was trained with other code or settings ({', '.join(code)})"
    if code and trains and not accepted:
        raise ConfigError(f"{said}; {WAY_OUT}")
    if code:
        stays = "its results stay, because nothing is left to train; --overwrite trains"
        terminal.say(f"note: {said}; {'it goes on, and reports mark it' if trains else stays}")
    if machine and trains:
        what = f"another {', another '.join(machine)}"
        terminal.say(f"note: {folder}: goes on with {what}: other rounding")


def changed_files(folder: Path, now: Mapping[str, str]) -> list[str]:
    """Return the files in which the sources are others than in some start of a run.

    Needs no jax, and so no device, but does not know what of a start was saved.
    """
    of_starts = [origin["sources"] for origin in read(folder).values()]
    return sorted({file for old in of_starts for file in _unequal_names(old, now)})
