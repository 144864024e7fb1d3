"""The command line: the configuration file, its fields as flags, and one line for each mistake.

Nothing here imports jax: a mistake is answered before any device is touched.
"""

import os
import re
import sys
import textwrap
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from mvae_jax import paths
from mvae_jax.config import ARGUMENTS_OF, Argument, defaults, num_replicates, validate
from mvae_jax.escape import shown
from mvae_jax.rules import MEANINGS, RULES, SWEPT, ConfigError, refusal, unknown
from mvae_jax.terminal import exit_with

HELP = {f"{dashes}{name}" for dashes in ("-", "--") for name in ("help", "helpshort", "helpfull")}
LONGEST = 500  # characters of a library's message


def find_config_file(name: str) -> Path:
    """Return the file itself or, where there is none, the shipped config of that name."""
    try:
        path = paths.from_user(name)
    except paths.PathError as error:
        raise ConfigError(f"config file: {error}") from error
    if os.path.isfile(path):
        try:
            compile(path.read_bytes(), str(path), "exec")
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ConfigError(f"config file: got {shown(name)}, no Python ({error})") from error
        return path
    package = Path(__file__).parent
    shipped = next(d for d in (package / "configs", package.parent / "configs") if d.is_dir())
    if path.parent == Path("configs") and (shipped / path.name).is_file():
        return shipped / path.name
    known = ", ".join(f"configs/{file.name}" for file in sorted(shipped.glob("[!_]*.py")))
    raise ConfigError(f"config file: got {shown(name)}, which is no file; shipped: {known}")


def _locate(argv: Sequence[str]) -> list[str]:
    """Return argv with the config file's path resolved; raise ConfigError where it is missing."""
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
            raise ConfigError(f"{shown(arg)}: write it behind --config=FILE.py:model,latent")
        located.append(prefix + value)
        expect_path = re.fullmatch(r"--?config", arg) is not None
    return located


def define_config(values: flags.FlagValues, argv: list[str] | None = None) -> Any:
    """Define --config, with a flag for each field, of a command line; by default the program's."""
    try:
        return config_flags.DEFINE_config_file(
            "config",
            None,
            "FILE.py:model,latent[,protocol]",
            flag_values=values,
            sys_argv=argv,
            lock_config=False,
            accept_new_attributes=True,  # as --config.optimizer_args.b1; `parse` refuses others
        )
    except flags.Error as error:  # of a --flagfile, into which this looks at once
        exit_with(_one_line(error))


class _PathParser(flags.ArgumentParser[Path]):
    """Of a flag whose value is a path."""

    syntactic_help = "a path"

    def parse(self, argument: str) -> Path:
        try:
            return paths.from_user(argument)
        except paths.PathError as error:
            raise ValueError(str(error)) from error

    def flag_type(self) -> str:
        return "path"


def define_path(name: str, what: str, values: flags.FlagValues = flags.FLAGS) -> Any:
    """Define a flag whose value is a path, by default None; `~` is expanded."""
    serializer: Any = flags.ArgumentSerializer()
    return flags.DEFINE(_PathParser(), name, None, what, values, serializer=serializer)


def parse_flags(argv: Sequence[str], about: str = "") -> list[str]:
    """Parse the command line into absl's FLAGS; exit with status 2 and one line on a mistake.

    --help prints the flags and the fields of a configuration, and exits with 0.

    about: the command's own docstring, for --help
    """
    if HELP & {*argv[1:]}:
        print(help_text(about, flags.FLAGS))
        sys.exit(0)
    try:
        return parse(argv, flags.FLAGS)
    except ConfigError as error:
        exit_with(error)


def help_text(about: str, values: flags.FlagValues) -> str:
    """Return what --help prints.

    about: the command's own docstring
    values: the flags; those of this package are shown
    """
    of_module = values.flags_by_module_dict().items()
    own = [f for module, defined in of_module if "mvae_jax" in module for f in defined]
    shown = [flag for flag in own if not flag.name.startswith("config.")]
    rows = [
        (f"--{flag.name}", " ".join((flag.help or "").split(";\n")[0].split())) for flag in shown
    ]
    fields = [(f"--config.{name}={_default(name)}", _meaning(name)) for name in MEANINGS]
    parts = (("Flags:", sorted(rows)), ("Fields of a configuration, with their defaults:", fields))
    wrap = partial(textwrap.fill, width=96, initial_indent=" " * 6, subsequent_indent=" " * 6)
    sections = ["\n".join([head, *(f"  {a}\n{wrap(b)}" for a, b in of)]) for head, of in parts]
    return "\n\n".join([about.strip(), *sections])


def _default(field: str) -> str:
    """Return a field's default in the release protocol, as a flag takes it."""
    match defaults()[field]:
        case bool() as value:
            return str(value).lower()
        case str() | int() | float() as value if field not in ("dataset", *Argument._fields):
            return str(value)
    return "..."  # what --config=FILE.py:model,latent gives, the data set, or several values


def _meaning(field: str) -> str:
    allowed = f"; allowed: {RULES[field].allowed}" if field in RULES else ""
    return MEANINGS[field] + allowed


def title(config: ConfigDict) -> str:
    """Return in a line what a run of this configuration is."""
    number = num_replicates(config.num_seeds, config.sweep)
    what = f"{config.num_seeds} seed" + ("s" if config.num_seeds > 1 else "")
    what += f", {number} replicates" if number != config.num_seeds else ""
    of = f"{config.model} z={config.latent_size} on {config.dataset}, {config.protocol} protocol"
    return f"{of}: {what}, {config.num_epochs} epochs"


def parse(argv: Sequence[str], values: flags.FlagValues) -> list[str]:
    """Parse a command line, the program's name first; raise ConfigError."""
    try:
        located = _locate(argv)
        if unknown := _unknown_field(argv):
            raise unknown
        rest: list[str] = values(located)
    except ConfigError:
        raise
    except Exception as error:  # absl and ml_collections raise many kinds, a config file any
        raise _mistake(argv, error) from error
    if len(rest) > 1:
        raise ConfigError(f"argument: got {shown(rest[1])}; allowed: flags only, as --name=value")
    if values["config"].value is None:
        raise ConfigError("--config: missing; write --config=configs/digits.py:mvae,16")
    validate(values["config"].value)
    return rest


def _mistake(argv: Sequence[str], error: BaseException) -> ConfigError:
    """Return the one line for what kept flags and configuration file from being read."""
    said = _one_line(error)
    match = re.match(r"flag --config\.([\w.]+)=(.*?): ", said)
    if match and match[1].removeprefix("sweep.") in RULES:
        return refusal(match[1], match[2])
    if match := re.match(r"flag (--\w+)=.*?: (got .*)", said):  # of a path
        return ConfigError(f"{match[1]}: {match[2]}")
    while error.__context__ is not None:  # ml_collections wraps what a config file raises
        error = error.__context__
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if any(re.match(rf"(--?config=)?{re.escape(frame.filename)}(:|$)", arg) for arg in argv):
            where = f"{frame.filename}, line {frame.lineno}"
            return ConfigError(f"{where}: {type(error).__name__}: {_one_line(error)}")
    cut = said if len(said) <= LONGEST else f"{said[:LONGEST]}..."
    return ConfigError(cut)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _unknown_field(argv: Sequence[str]) -> ConfigError | None:
    """Return the error for the first --config.FIELD that no configuration has."""
    fields = [field for field in defaults() if field != "sweep"]
    fields += [f"sweep.{field}" for field in SWEPT]
    arguments = rf"({'|'.join(ARGUMENTS_OF)})_args\.\w+"
    names = [match[1] for arg in argv if (match := re.match(r"--?(?:no)?config\.([^=]*)", arg))]
    known = (name in fields or re.fullmatch(arguments, name) for name in names)
    return next(
        (unknown(n) for n, is_known in zip(names, known, strict=True) if not is_known), None
    )
