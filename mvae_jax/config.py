"""The configuration of a run: fields, the `mvae,16` argument, config.json, replicates.

Nothing here imports jax: a mistake is answered before any device is touched.
"""

import itertools
import math
import numbers
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict, FrozenConfigDict, config_dict

from mvae_jax import paths
from mvae_jax.escape import shown
from mvae_jax.rules import MODELS, PROTOCOLS, RULES, SWEPT, ConfigError, refusal, unknown

MAX_REPLICATES = 10_000  # of one run: seeds times the grid of swept values
# Fields that change no number of a replicate. A resume may change them, and runs that differ in
# them may be compared.
HARMLESS = ("checkpoint_every", "keep_embeddings", "seeds_per_program", "tag")
# Fields of which a resume may ask for more: epochs that are trained on, seeds that are added.
GROWING = ("num_epochs", "num_seeds")
# Fields that name something which is made with arguments, in the field of the name with _args.
ARGUMENTS_OF = ("encoder", "decoder", "optimizer", "schedule")
# Paths, which may be spelled in many ways: data_sha256 says whether the data are the same.
PATHS = ("dataset", "photographs")


class Argument(NamedTuple):
    """What stands behind the colon of `--config=configs/digits.py:mvae,16,paper`."""

    model: str
    latent_size: int
    protocol: str


def parse_argument(argument: str) -> Argument:
    """Parse `model,latent[,protocol]`, strictly; raise ConfigError."""
    usage = "write model,latent[,protocol] behind the colon, e.g. --config=FILE.py:mvae,16"
    parts = argument.split(",") if argument else []
    if len(parts) not in (2, 3):
        missing = ("model and latent", "latent")[len(parts)] if len(parts) < 2 else None
        problem = f"{missing} missing" if missing else "too many parts"
        raise ConfigError(f"config argument: got {shown(argument)}, {problem}; {usage}")
    model, latent, protocol = (*parts, PROTOCOLS[0])[:3]
    if not (rule := RULES["model"]).holds(model):
        raise ConfigError(f"model: got {shown(model)}; allowed: {rule.allowed}; {usage}")
    if not re.fullmatch(r"[1-9][0-9]{0,5}", latent):
        allowed = "an integer of at least 1"
        raise ConfigError(f"latent: got {shown(latent)}; allowed: {allowed}; {usage}")
    if protocol not in PROTOCOLS:
        allowed = ", ".join(PROTOCOLS)
        raise ConfigError(f"protocol: got {shown(protocol)}; allowed: {allowed}; {usage}")
    return Argument(model, int(latent), protocol)


def base_config(dataset: str, argument: str, source: str = "") -> ConfigDict:
    """Return the protocol's configuration of one model on one data set; see rules.MEANINGS."""
    model, latent_size, protocol = parse_argument(argument)
    return ConfigDict(
        {
            "dataset": dataset,
            "source": source,
            "photographs": "",
            "protocol": protocol,
            "model": model,
            "posterior": "",
            "latent_size": latent_size,
            # Encoder and decoder.
            "hidden_size": 500,
            "num_hidden_layers": 1,
            "hidden_sizes": (),
            "activation": "tanh",
            "encoder": "",
            "encoder_args": {},
            "decoder": "",
            "decoder_args": {},
            "couple_mean": protocol == "release",
            "likelihood": "bernoulli",
            "likelihood_variance": 0.1,
            # Optimiser.
            "batch_size": 100,
            "num_epochs": 200,
            "learning_rate": 1e-3,
            "weight_decay": 1e-2,
            "optimizer": "optax.adamw",
            "optimizer_args": {},
            "schedule": "",
            "schedule_args": {},
            "clip_norm": 0.0,
            "beta": 1.0,
            # Replicates.
            "sweep": {field: () for field in SWEPT},
            "num_seeds": 5,
            "first_seed": 777,
            "seed_mode": "auto",
            "seeds_per_program": "auto",
            # Running.
            "matmul_precision": "default",
            "checkpoint_every": 20,
            "select": "last",
            "patience": 0,
            "iwae_samples": 50,
            "keep_embeddings": True,
            "tag": "",
            # Facts of the data set: filled in by the run where not given.
            "pixel_scale": config_dict.placeholder(float),
            "image_shape": config_dict.placeholder(tuple),
            "data_sha256": config_dict.placeholder(str),
        }
    )


def defaults() -> ConfigDict:
    """Return every field with its default."""
    return base_config("", f"{MODELS[0]},1")


class Replicate(NamedTuple):
    """What one training is: a seed, and the values of the fields that are swept."""

    seed: int
    swept: dict[str, float]

    @property
    def name(self) -> str:
        """The stem of its files: seed_777, or seed_777__learning_rate=0.001."""
        return "__".join([f"seed_{self.seed}", *(f"{k}={v!r}" for k, v in self.swept.items())])


def validate(config: ConfigDict) -> FrozenConfigDict:
    """Return the configuration, frozen; raise ConfigError at the first impossible value."""
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"get_config: returned {type(config).__name__}; allowed: a ConfigDict")
    missing = set(defaults().keys()) - set(config.keys())
    if missing:
        raise ConfigError(f"config.{min(missing)}: missing; start from mvae_jax.config.base_config")
    for field, rule in RULES.items():
        if not rule.holds(config[field]):
            raise refusal(field, config[field])
    if config.model not in MODELS and not config.posterior:
        raise ConfigError(
            f"config.model: got {shown(config.model)}; allowed: {', '.join(MODELS)}, or any name "
            "with --config.posterior=my_module.my_family"
        )
    if config.hidden_sizes and config.num_hidden_layers != 1:
        raise ConfigError(
            f"config.hidden_sizes: got {shown(config.hidden_sizes)} and num_hidden_layers "
            f"{config.num_hidden_layers}; allowed: one of the two"
        )
    for field in ARGUMENTS_OF:
        if config[f"{field}_args"] and not config[field]:
            raise ConfigError(
                f"config.{field}_args: got {shown(config[f'{field}_args'].to_dict())}; allowed: "
                f"nothing, because config.{field} is empty"
            )
    validate_sweep(config)
    if config.first_seed + config.num_seeds > 2**31:
        raise ConfigError(
            f"config.num_seeds: got {config.num_seeds} from first_seed {config.first_seed}; "
            "allowed: seeds up to 2147483647"
        )
    if (number := num_replicates(config.num_seeds, config.sweep)) > MAX_REPLICATES:
        raise ConfigError(
            f"config.num_seeds: got {config.num_seeds}, which with config.sweep are {number:,} "
            f"replicates; allowed: at most {MAX_REPLICATES:,}"
        )
    return replace(config, **{field: _expanded(field, config[field]) for field in PATHS})


def num_replicates(num_seeds: int, sweep: ConfigDict | Mapping[str, Sequence[float | int]]) -> int:
    """Return how many replicates these seeds are with every combination of the swept values."""
    return num_seeds * math.prod(len(sweep.get(field) or ()) or 1 for field in SWEPT)


def _expanded(field: str, value: str) -> str:
    """Return a field's path with `~` expanded; a data set's name stays as it is."""
    if not value or (field == "dataset" and not paths.is_data(value)):
        return value
    try:
        expanded = str(paths.from_user(value))
    except paths.PathError as error:
        raise ConfigError(f"config.{field}: {error}") from error
    is_folder = field == "dataset" and not paths.is_data(expanded)  # of ./flowers is left flowers
    return f"{expanded}/" if is_folder else expanded


def validate_sweep(config: ConfigDict) -> None:
    """Raise ConfigError where the swept fields, or a value of theirs, are impossible."""
    if not isinstance(config.sweep, ConfigDict):
        raise ConfigError(f"config.sweep: got {shown(config.sweep)}; write --config.sweep.FIELD=")
    for field, values in config.sweep.items():
        name = f"config.sweep.{field}"
        if field not in SWEPT:
            raise ConfigError(f"{name}: no such field; allowed: {', '.join(SWEPT)}")
        if not isinstance(values, tuple | list):
            raise ConfigError(f"{name}: got {shown(values)}; allowed: values with commas between")
        for value in values:
            if not RULES[field].holds(value):
                raise refusal(f"sweep.{field}", value)
        if len({float(value) for value in values}) < len(values):
            raise ConfigError(f"{name}: got {shown(values)}; allowed: every value once")
    if config.sweep.likelihood_variance and config.likelihood != "gaussian":
        raise ConfigError(
            f"config.sweep.likelihood_variance: got {shown(config.sweep.likelihood_variance)}; "
            f"allowed: nothing, because the likelihood is {config.likelihood}, not gaussian"
        )


def change(config: ConfigDict, fields: Mapping[str, Any]) -> FrozenConfigDict:
    """Return the configuration with fields of a user's changed; raise ConfigError.

    fields: may hold numbers of numpy and paths; `sweep` is values by field
    """
    changed = config.to_dict()
    for field, value in fields.items():
        if field not in changed:
            raise unknown(field)
        value, before = _plain(value), changed[field]
        if type(value) is int and isinstance(before, float):
            value = float(value)
        changed[field] = before | value if field == "sweep" and isinstance(value, dict) else value
    return validate(ConfigDict(changed))


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, with tuples, whatever its number's type and its container."""
    match value:
        case None | bool() | str():
            return value
        case os.PathLike():
            return os.fspath(value)
        case numbers.Integral():
            return int(value)
        case numbers.Real():
            return float(value)
        case Mapping():
            return {key: _plain(inside) for key, inside in value.items()}
        case Iterable():
            return tuple(map(_plain, value))
    return value


def replace(config: ConfigDict, **fields: Any) -> FrozenConfigDict:
    """Return the configuration with some fields changed."""
    return FrozenConfigDict({**config.to_dict(), **fields})


def of_program(config: ConfigDict) -> FrozenConfigDict:
    """Return the configuration that a compiled program depends on, equal for all of a run's."""
    others = {*HARMLESS, *GROWING, "first_seed"}
    if config.schedule:  # it may end with the last epoch
        others -= {"num_epochs"}
    return replace(config, **dict.fromkeys(others))


def hidden_sizes(config: ConfigDict) -> tuple[int, ...]:
    """Return the sizes of the encoder's hidden layers."""
    return tuple(config.hidden_sizes) or (config.hidden_size,) * config.num_hidden_layers


def seeds(config: ConfigDict) -> range:
    """Return the seeds that the configuration asks for."""
    return range(config.first_seed, config.first_seed + config.num_seeds)


def replicates(
    seeds: Iterable[int], sweep: ConfigDict | Mapping[str, Sequence[float | int]]
) -> list[Replicate]:
    """Return what is trained of these seeds: each with every combination of the swept values."""
    fields = [field for field in SWEPT if sweep.get(field)]
    grid = list(itertools.product(*(map(float, sweep[field]) for field in fields)))
    return [Replicate(s, dict(zip(fields, values, strict=True))) for s in seeds for values in grid]


def default_workdir(config: ConfigDict) -> Path:
    """Return runs/<dataset>[-<source>]/<protocol>/<model>-z<latent>[-<tag>]."""
    dataset = config.dataset
    if paths.is_data(dataset):  # no search for runs enters a folder whose name begins with a dot
        dataset = Path(dataset).stem.lstrip(".") or "data"
    data = "-".join(filter(None, [dataset, config.source]))
    name = "-".join(filter(None, [config.model, f"z{config.latent_size}", config.tag]))
    return Path("runs") / data / config.protocol / name
