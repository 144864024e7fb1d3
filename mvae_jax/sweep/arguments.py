"""What the commands of this room share of their command lines."""

import argparse
import math

from mvae_jax import paths

ACCEPT = "--accept_changes"  # a flag of every run


def number(text: str) -> int:
    """Return an integer above 0; raise argparse's error for anything else."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"got {text}; allowed: an integer above 0")
    return int(text)


def numbers(text: str) -> list[int]:
    """Return the integers of a list such as 2,16."""
    return [number(part) for part in text.split(",")]


def minutes(text: str) -> float:
    """Return a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: a number above 0")
    return value


def words(text: str) -> list[str]:
    """Return the words of a list such as vae,mvae."""
    found = [part for part in text.split(",") if part]
    if not found or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: one value or more, each once")
    return found


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of a command, whose help shows the module's docstring as it is."""
    return argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def parse(command: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
    """Return a command's arguments, those that all have among them, and the flags of every run."""
    command.add_argument(
        "--root", type=paths.from_user, default="runs", help="holds the run folders; ./runs"
    )
    command.add_argument("--data_dir", type=paths.from_user, help="data files, for every run")
    command.add_argument(
        "--jobs", type=number, help="runs at a time; by default one for each GPU or core"
    )
    args, passed = command.parse_known_args()
    for flag in passed:
        if flag != ACCEPT and not flag.startswith("--config."):
            command.error(
                f"got {flag!r}; allowed beside those above: --config.FIELD=VALUE and {ACCEPT}, "
                "which every run is given; lists have commas, as in --latent=2,16"
            )
    try:
        passed = [_absolute(flag) for flag in passed]
    except paths.PathError as error:
        command.error(str(error))
    if args.data_dir:
        passed.append(f"--data_dir={args.data_dir.absolute()}")
    return args, passed


def _absolute(flag: str) -> str:
    """Return a flag whose value is a path as it may be given in any folder."""
    name, _, value = flag.partition("=")
    is_data = name == "--config.dataset" and paths.is_data(value)
    if is_data or (name == "--config.photographs" and value):
        return f"{name}={paths.from_user(value).absolute()}"
    return flag
