"""Which configuration a run goes on with, in a folder where one has begun.

Nothing here imports jax: a mistake is answered before any device is touched.
"""

from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

from mvae_jax import config as config_lib
from mvae_jax.rules import ConfigError


def settle(requested: ConfigDict, stored: ConfigDict) -> FrozenConfigDict:
    """Return `requested` with what an earlier run resolved; raise ConfigError if they differ.

    Harmless fields are no difference, nor are more epochs and more seeds. What was left open
    (`auto`, data facts) takes the stored value, so that a resumed run compiles the same program.
    So does a path of the same data, so that the run keeps its name in tables.
    """
    settled = ConfigDict(requested.to_dict())
    unset = config_lib.defaults()  # of fields that were not known when the run was made
    data = requested.data_sha256
    same_data = data is not None and data == stored.get("data_sha256")
    differing = []
    for field in sorted({*requested.keys(), *stored.keys()}):
        new, old = requested.get(field), stored.get(field, unset.get(field))
        if new is None or (field in ("seed_mode", "seeds_per_program") and new == "auto"):
            settled[field] = old
        elif new == old or _may_change(requested, field, old):
            continue
        elif field in config_lib.PATHS and same_data:
            settled[field] = old
        elif isinstance(new, ConfigDict):  # `sweep`, or arguments
            differing += [
                f"{field}.{k} ({old.get(k)!r} stored, {new.get(k)!r} asked for)"
                for k in sorted({*new.keys(), *old.keys()})
                if new.get(k) != old.get(k)
            ]
        else:
            differing.append(f"{field} ({old!r} stored, {new!r} asked for)")
    if differing:
        raise ConfigError(
            f"config: differs from the stored run's in {', '.join(differing)}; "
            "restore the values, choose another folder by --config.tag, --workdir or (of a sweep) "
            "--root, or pass --overwrite, which moves the old one aside"
        )
    return FrozenConfigDict(settled)


def _may_change(requested: ConfigDict, field: str, old: Any) -> bool:
    """Return whether a resume may change this field from `old`.

    With a schedule, which may end with the last epoch, the epochs do not grow.
    """
    if field == "num_epochs" and requested.schedule:
        return False
    grows = field in config_lib.GROWING and old is not None and requested[field] >= old
    return field in config_lib.HARMLESS or grows
