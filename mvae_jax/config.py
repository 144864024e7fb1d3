"""The configuration of a run: its fields, the `mvae,16` argument, validation, and the command line.

Nothing here imports jax: a mistake is answered before any device is touched.
"""

import difflib
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from absl import flags
from ml_collections import ConfigDict, FrozenConfigDict, config_dict

MODELS = ("mvae", "vae")
PROTOCOLS = ("release", "paper")
LIKELIHOODS = ("bernoulli", "gaussian", "gaussian_learned")
ACTIVATIONS = ("tanh", "relu", "gelu", "silu")
SEED_MODES = ("auto", "vmap", "map")
SELECTIONS = ("last", "best_valid")
# Scalars that change no shape: many values of them train in one program.
SWEPT = ("learning_rate", "weight_decay", "beta", "likelihood_variance")
MATMUL_PRECISIONS = ("default", "high", "highest")


class ConfigError(Exception):
    """A mistake of the user's; its message is the one line to print."""


class Argument(NamedTuple):
    """What stands behind the colon of `--config=configs/digits.py:mvae,16,paper`."""

    model: str
    latent_size: int
    protocol: str


def parse_argument(argument: str) -> Argument:
    """Parses `model,latent[,protocol]`, strictly; raises ConfigError."""
    usage = "write model,latent[,protocol] behind the colon, e.g. --config=FILE.py:mvae,16"
    parts = argument.split(",") if argument else []
    if len(parts) not in (2, 3):
        missing = ("model and latent", "latent")[len(parts)] if len(parts) < 2 else None
        problem = f"{missing} missing" if missing else "too many parts"
        raise ConfigError(f"config argument: got '{argument}', {problem}; {usage}")
    model, latent, protocol = (*parts, PROTOCOLS[0])[:3]
    if model not in MODELS:
        raise ConfigError(f"model: got '{model}'; allowed: {', '.join(MODELS)}; {usage}")
    if not re.fullmatch(r"[1-9][0-9]{0,5}", latent):
        raise ConfigError(f"latent: got '{latent}'; allowed: an integer of at least 1; {usage}")
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol: got '{protocol}'; allowed: {', '.join(PROTOCOLS)}; {usage}")
    return Argument(model, int(latent), protocol)


def base_config(dataset: str, argument: str, source: str = "") -> ConfigDict:
    """Returns the protocol's configuration of one model on one data set."""
    model, latent_size, protocol = parse_argument(argument)
    return ConfigDict(
        {
            "dataset": dataset,
            "source": source,  # where the data set has more than one
            "photographs": "",  # a folder of backgrounds for mnist_background_images, regenerated
            "protocol": protocol,
            "model": model,
            "latent_size": latent_size,
            # Encoder and decoder.
            "hidden_size": 500,
            "num_hidden_layers": 1,
            "activation": "tanh",
            "couple_mean": protocol == "release",  # mu = C m(x); the paper's Eqs. 3 to 6: mu = m(x)
            "likelihood": "bernoulli",
            "likelihood_variance": 0.1,  # of a pixel, for likelihood=gaussian
            # Optimiser.
            "batch_size": 100,
            "num_epochs": 200,
            "learning_rate": 1e-3,
            "weight_decay": 1e-2,
            "beta": 1.0,  # of the KL in the loss; the ELBO that is reported has 1
            # More values of a field above, or of likelihood_variance, each trained with every seed.
            "sweep": {field: () for field in SWEPT},
            # Replicates: seeds first_seed, first_seed + 1, ...
            "num_seeds": 5,
            "first_seed": 777,
            "seed_mode": "auto",  # vmap | map; auto: map on a CPU, vmap elsewhere
            "seeds_per_program": "auto",  # at most so many at once; auto: what fits the memory
            # Running.
            "matmul_precision": "default",
            "checkpoint_every": 20,  # epochs
            "select": "last",  # the epoch to embed; best_valid: of the best validation ELBO
            "iwae_samples": 50,  # K of the test split's importance-weighted bound; 0: none
            "keep_embeddings": True,
            "tag": "",  # ends the name of the default run folder
            # Facts of the data set: filled in by the run where not given.
            "pixel_scale": config_dict.placeholder(float),
            "image_shape": config_dict.placeholder(tuple),
            "data_sha256": config_dict.placeholder(str),  # of images, labels and splits
        }
    )


class Replicate(NamedTuple):
    """What one training is: a seed, and the values of the fields that are swept."""

    seed: int
    swept: dict[str, float]

    @property
    def name(self) -> str:
        """The stem of its files: seed_777, or seed_777__learning_rate=0.001."""
        return "__".join([f"seed_{self.seed}", *(f"{k}={v!r}" for k, v in self.swept.items())])


class Rule(NamedTuple):
    """What a field's value must satisfy, and how to say so."""

    holds: Callable[[Any], bool]
    allowed: str


def _one_of(values: Sequence[str]) -> Rule:
    return Rule(lambda value: value in values, ", ".join(values))


_BOOL = Rule(lambda value: isinstance(value, bool), "true, false")
_COUNT = Rule(lambda value: 1 <= value <= 1_000_000, "an integer of at least 1, at most 1000000")
_FACT = Rule(lambda value: value is None, "nothing: the data set says it")
_AT_LEAST_0 = Rule(lambda value: 0 <= value < float("inf"), "a finite number of at least 0")
_POSITIVE = Rule(lambda value: 0 < value < float("inf"), "a finite number above 0")

RULES = {
    "dataset": Rule(bool, "the name of a data set or the path of an .npz file"),
    "protocol": _one_of(PROTOCOLS),
    "model": _one_of(MODELS),
    "latent_size": _COUNT,
    "hidden_size": _COUNT,
    "num_hidden_layers": _COUNT,
    "activation": _one_of(ACTIVATIONS),
    "likelihood": _one_of(LIKELIHOODS),
    "likelihood_variance": _POSITIVE,
    "batch_size": _COUNT,
    "num_epochs": _COUNT,
    "learning_rate": _POSITIVE,
    "weight_decay": _AT_LEAST_0,
    "beta": _AT_LEAST_0,
    "couple_mean": _BOOL,
    "keep_embeddings": _BOOL,
    "num_seeds": _COUNT,
    "first_seed": Rule(lambda value: 0 <= value < 2**31, "an integer from 0 to 2147483647"),
    "seed_mode": _one_of(SEED_MODES),
    "seeds_per_program": Rule(
        lambda value: re.fullmatch(r"auto|[1-9]\d*", value) is not None,
        "auto, or an integer above 0",
    ),
    "matmul_precision": _one_of(MATMUL_PRECISIONS),
    "checkpoint_every": _COUNT,
    "select": _one_of(SELECTIONS),
    "iwae_samples": _AT_LEAST_0,
    "tag": Rule(
        lambda value: re.fullmatch(r"[\w.+-]*", value) is not None, "letters, digits, . _ + -"
    ),
    "image_shape": _FACT,
    "data_sha256": _FACT,
    "pixel_scale": Rule(lambda value: value is None or 0 < value <= 1, "a number in (0, 1]"),
}


def validate(config: ConfigDict) -> FrozenConfigDict:
    """Returns the configuration, frozen; raises ConfigError at the first impossible value."""
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"get_config: returned {type(config).__name__}; allowed: a ConfigDict")
    missing = set(base_config("", "vae,1").keys()) - set(config.keys())
    if missing:
        raise ConfigError(f"config.{min(missing)}: missing; start from mvae_jax.config.base_config")
    for field, rule in RULES.items():
        if not rule.holds(config[field]):
            raise ConfigError(f"config.{field}: got {config[field]!r}; allowed: {rule.allowed}")
    _validate_sweep(config)
    if config.first_seed + config.num_seeds > 2**31:
        raise ConfigError(
            f"config.num_seeds: got {config.num_seeds} from first_seed {config.first_seed}; "
            "allowed: seeds up to 2147483647"
        )
    return FrozenConfigDict(config)


def _validate_sweep(config: ConfigDict) -> None:
    for field, values in config.sweep.items():
        name = f"config.sweep.{field}"
        if field not in SWEPT:
            raise ConfigError(f"{name}: no such field; allowed: {', '.join(SWEPT)}")
        for value in values:
            if not isinstance(value, int | float) or not RULES[field].holds(value):
                raise ConfigError(f"{name}: got {value!r}; allowed: {RULES[field].allowed}")
        if len({float(value) for value in values}) < len(values):
            raise ConfigError(f"{name}: got {values!r}; allowed: every value once")
    if config.sweep.likelihood_variance and config.likelihood != "gaussian":
        raise ConfigError(
            f"config.sweep.likelihood_variance: got {config.sweep.likelihood_variance!r}; allowed: "
            f"nothing, since the likelihood is {config.likelihood}, not gaussian"
        )


def replace(config: ConfigDict, **fields: Any) -> FrozenConfigDict:
    """Returns the configuration with some fields changed."""
    return FrozenConfigDict({**config.to_dict(), **fields})


def seeds(config: ConfigDict) -> range:
    """Returns the seeds that the configuration asks for."""
    return range(config.first_seed, config.first_seed + config.num_seeds)


def replicates(
    seeds: Iterable[int], sweep: ConfigDict | Mapping[str, Sequence[float]]
) -> list[Replicate]:
    """Returns what is trained of these seeds: each with every combination of the swept values."""
    fields = [field for field in SWEPT if sweep.get(field)]
    grid = list(itertools.product(*(map(float, sweep[field]) for field in fields)))
    return [Replicate(s, dict(zip(fields, values, strict=True))) for s in seeds for values in grid]


def default_workdir(config: ConfigDict) -> Path:
    """Returns runs/<dataset>[-<source>]/<protocol>/<model>-z<latent>[-<tag>]."""
    dataset = Path(config.dataset).stem if config.dataset.endswith(".npz") else config.dataset
    data = "-".join(filter(None, [dataset, config.source]))
    name = "-".join(filter(None, [config.model, f"z{config.latent_size}", config.tag]))
    return Path("runs") / data / config.protocol / name


# --- config.json -------------------------------------------------------------------------------


def to_json(config: ConfigDict) -> str:
    """Returns the text of config.json."""
    return json.dumps(config.to_dict(), indent=2) + "\n"


def read(path: Path) -> FrozenConfigDict:
    """Reads config.json; raises ConfigError where it is not one."""
    try:
        fields = json.loads(path.read_text())
        return FrozenConfigDict({key: _with_tuples(value) for key, value in fields.items()})
    except (ValueError, AttributeError, OSError) as error:
        raise ConfigError(f"{path}: not a config.json ({error})") from error


def _with_tuples(value: Any) -> Any:
    """Returns what JSON has made of a field as it was."""
    if isinstance(value, dict):
        return {key: _with_tuples(inside) for key, inside in value.items()}
    return tuple(value) if isinstance(value, list) else value


def settle(requested: ConfigDict, stored: ConfigDict) -> FrozenConfigDict:
    """Returns `requested` with what an earlier run resolved; raises ConfigError if they differ.

    More epochs and more seeds are no difference, nor how many train at once; what was left open
    (`auto`, data facts) takes the stored value, so that a resumed run compiles the same program.
    """
    settled = ConfigDict(requested.to_dict())
    defaults = base_config("", "vae,1")  # of fields that were not known when the run was made
    differing = []
    for field in sorted({*requested.keys(), *stored.keys()}):
        new, old = requested.get(field), stored.get(field, defaults.get(field))
        if new is None or (field in ("seed_mode", "seeds_per_program") and new == "auto"):
            settled[field] = old
        elif field in ("num_epochs", "num_seeds") and old is not None and new >= old:
            continue
        elif new != old and field == "sweep":
            differing += [
                f"sweep.{k} ({old.get(k)!r} stored, {v!r} asked for)"
                for k, v in new.items()
                if v != old.get(k)
            ]
        elif new != old and field != "seeds_per_program":
            differing.append(f"{field} ({old!r} stored, {new!r} asked for)")
    if differing:
        raise ConfigError(
            f"config: differs from the stored run's in {', '.join(differing)}; "
            "restore the values, choose another folder by --config.tag, --workdir or (of a sweep) "
            "--root, or pass --overwrite, which moves the old one aside"
        )
    return FrozenConfigDict(settled)


# --- the command line --------------------------------------------------------------------------


def find_config_file(name: str) -> Path:
    """Returns the file itself or, where there is none, the shipped config of that name."""
    if Path(name).is_file():
        return Path(name)
    package = Path(__file__).parent
    shipped = next(d for d in (package / "configs", package.parent / "configs") if d.is_dir())
    path = Path(name)
    if path.parent == Path("configs") and (shipped / path.name).is_file():
        return shipped / path.name
    known = ", ".join(f"configs/{file.name}" for file in sorted(shipped.glob("[!_]*.py")))
    raise ConfigError(f"config file: got '{name}', which does not exist; shipped: {known}")


def _locate(argv: Sequence[str]) -> list[str]:
    """Returns argv with the config file's path resolved; raises ConfigError where it is missing."""
    located, expect_path = [], False
    for position, arg in enumerate(argv):
        match = re.fullmatch(r"(--?config=)(.*)", arg, re.DOTALL)
        prefix, value = match.groups() if match else ("", arg)
        if match or expect_path:
            path, colon, argument = value.partition(":")
            value = f"{find_config_file(path)}{colon}{argument}"
        elif re.match(r"--?(no)?config\.", arg) and not any(
            re.match(r"--?config(=|$)", earlier) for earlier in argv[:position]
        ):
            raise ConfigError(f"{arg}: write it behind --config=FILE.py:model,latent")
        located.append(prefix + value)
        expect_path = re.fullmatch(r"--?config", arg) is not None
    return located


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses the command line into absl's FLAGS; exits with status 2 and one line on a mistake."""
    try:
        return parse(argv, flags.FLAGS)
    except ConfigError as error:
        exit_with(error)


def parse(argv: Sequence[str], values: flags.FlagValues) -> list[str]:
    """Parses a command line, the program's name first; raises ConfigError."""
    try:
        rest: list[str] = values(_locate(argv))
    except (AttributeError, KeyError) as error:
        raise _unknown_field(argv) or error from error
    except flags.Error as error:
        said = " ".join(str(error).split())
        match = re.match(r"flag --config\.(\w+)=(.*?): ", said)
        if match and match[1] in RULES:
            said = f"config.{match[1]}: got {match[2]!r}; allowed: {RULES[match[1]].allowed}"
        raise ConfigError(said) from error
    if len(rest) > 1:
        raise ConfigError(f"argument: got '{rest[1]}'; allowed: flags only, as --name=value")
    if values["config"].value is None:
        raise ConfigError("--config: missing; write --config=configs/digits.py:mvae,16")
    validate(values["config"].value)
    return rest


def exit_with(error: Exception | str, status: int = 2) -> NoReturn:
    """Prints the error as one line and exits; status 2 is a mistake of usage."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(status)


def _unknown_field(argv: Sequence[str]) -> ConfigError | None:
    """Returns the error for the first --config.FIELD that no configuration has."""
    fields = [field for field in base_config("", "vae,1") if field != "sweep"]
    fields += [f"sweep.{field}" for field in SWEPT]
    for arg in argv:
        match = re.match(r"--?(?:no)?config\.([^=]*)", arg)
        if match and match[1] not in fields:
            if match[1].startswith("sweep."):
                fields = [field for field in fields if field.startswith("sweep.")]
            close = difflib.get_close_matches(match[1], fields, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            return ConfigError(f"config.{match[1]}: no such field; {hint}all: {', '.join(fields)}")
    return None
