"""The grid of a sweep: its configurations, sweep.jsonl, and which of them are left to run.

sweep.jsonl has a line per configuration, with its run folder below the root, its command, and what
it costs relative to the others. Whatever runs commands can execute it.
"""

import argparse
import collections
import fcntl
import itertools
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from mvae_jax import command_line, datasets, sources
from mvae_jax import config as config_lib
from mvae_jax.config import ConfigError
from mvae_jax.escape import shown
from mvae_jax.runs import workdir as workdir_lib
from mvae_jax.runs.workdir import Workdir
from mvae_jax.store import config_file, files, origins, run_folder
from mvae_jax.store.names import is_plain

# Training examples of the release protocol and pixels, for the order of the runs alone.
SIZES = {
    **dict.fromkeys(("cifar10", "cifar100"), (48_000, 3072)),
    "fashion_mnist": (56_000, 784),
    "frey_face": (1_572, 560),
    "digits": (1_437, 64),
}
USUAL_SIZE = (49_600, 784)
ACCEPT = "--accept_changes"
# What a run folder may say against a command.
NOT_TO_RUN = (ConfigError, datasets.DataError, workdir_lib.RunError, run_folder.RunFolderError)


class Entry(NamedTuple):
    """One configuration of the grid: a line of sweep.jsonl.

    workdir: the run folder, as seen from that of sweep.jsonl
    cost:    of the training, in multiplications, about
    num_epochs, num_replicates: what the command asks for
    """

    workdir: str
    command: list[str]
    cost: float
    num_epochs: int = 0
    num_replicates: int = 0


def expand(args: argparse.Namespace, passed: list[str]) -> list[Entry]:
    """Returns the grid in the order asked for; raises ConfigError at the first that cannot be."""
    choices = itertools.product(args.dataset, args.protocol, args.latent, args.model)
    entries = [entry(args, passed, *choice) for choice in choices]
    for workdir, number in collections.Counter(e.workdir for e in entries).items():
        if number > 1:
            raise ConfigError(f"{workdir}: {number} configurations of the grid; give each once")
    return in_order(entries, args.order)


def add(args: argparse.Namespace, entries: list[Entry]) -> int:
    """Adds the entries to ROOT/sweep.jsonl, in place of those of the same folders.

    Returns how many there are now.
    """
    args.root.mkdir(parents=True, exist_ok=True)
    path = args.root / "sweep.jsonl"
    with files.open_own(args.root / ".sweep.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another sweep may add its own
        known = {e.workdir: e for e in read(path)} if path.is_file() else {}
        known |= {e.workdir: e for e in entries}
        files.write_text(path, to_lines(in_order(known.values(), args.order)))
    return len(known)


def in_order(entries: Iterable[Entry], order: str) -> list[Entry]:
    """Returns the entries, the cheapest or the most expensive first."""
    return sorted(entries, key=lambda e: e.cost, reverse=order == "longest")


def to_lines(entries: list[Entry]) -> str:
    """Returns the text of a sweep.jsonl."""
    return "".join(json.dumps(entry._asdict()) + "\n" for entry in entries)


def read(manifest: Path) -> list[Entry]:
    """Return what a sweep.jsonl lists; raise RunFolderError where a line is not an entry."""
    if not manifest.exists():
        raise run_folder.RunFolderError(f"{manifest}: does not exist; sweep.py writes it")
    return [_checked(manifest, line) for line in run_folder.read_entries(manifest, torn=False)]


def _checked(manifest: Path, line: dict[str, Any]) -> Entry:
    """Return a line as an entry: the names, and a command of printable words."""
    if Entry._field_defaults.keys() | line.keys() != {*Entry._fields}:
        fields = ", ".join(Entry._fields)
        raise run_folder.RunFolderError(
            f"{manifest}: a line has {shown([*line])}; allowed: {fields}"
        )
    entry = Entry(**line)
    if not all(isinstance(word, str) and is_plain(word) for word in entry.command):
        raise run_folder.RunFolderError(
            f"{manifest}: 'command' is {shown(entry.command)}; allowed: a list of printable text"
        )
    return entry


def entry(
    args: argparse.Namespace,
    passed: list[str],
    dataset: str,
    protocol: str,
    latent: str,
    model: str,
) -> Entry:
    """Returns one configuration's entry, checked as its own command line would be."""
    file = f"configs/{dataset}.py"
    if dataset.endswith(".py"):  # absolute, since the command may be run from another folder
        file = str(Path(dataset).absolute()) if Path(dataset).is_file() else dataset
    command = [f"--config={file}:{model},{latent},{protocol}", *passed]
    config = resolve(command)
    below = config_lib.default_workdir(config).relative_to("runs")
    workdir = args.root.absolute() / below
    start = [sys.executable, "-m", "mvae_jax.main"]
    number = len(config_lib.replicates(config_lib.seeds(config), config.sweep))
    full = [*start, *command, f"--workdir={workdir}"]
    return Entry(str(below), full, number * cost(config), config.num_epochs, number)


def resolve(command: list[str]) -> Any:
    """Returns the configuration that a command line asks for; raises ConfigError."""
    values, argv = flags.FlagValues(), ["sweep", *command]
    command_line.define_config(values, argv)
    flags.DEFINE_string("data_dir", None, "", flag_values=values)
    flags.DEFINE_bool(ACCEPT.removeprefix("--"), False, "", flag_values=values)
    command_line.parse(argv, values)
    config = config_lib.validate(values["config"].value)
    return config_lib.replace(config, source=datasets.find_source(config))


def cost(config: Any) -> float:
    """Returns the multiplications of training one replicate, about; an order, not a time."""
    examples, pixels = SIZES.get(config.dataset, USUAL_SIZE)
    hidden, latent = config.hidden_size, config.latent_size
    per_example = hidden * (2 * pixels + 3 * latent + 2 * (config.num_hidden_layers - 1) * hidden)
    if config.model == "mvae":
        per_example += 2 * latent**2 + 3 * latent**3 / config.batch_size
    return 3.0 * per_example * examples * config.num_epochs


def sort_out(
    root: Path, entries: list[Entry], overwrite: bool
) -> tuple[list[Entry], list[tuple[str, str]]]:
    """Returns the entries to run, and (folder, reason) of those that running does not help.

    Their folder is another run's, or a seed has failed.

    overwrite: move another run's folder aside, and run the entry
    """
    missing, refused, older = [], [], []
    now = sources.hashes()
    for e in entries:
        path = root / e.workdir
        try:
            left = remaining(e, path) if path.exists() else "training"
            changed = [] if ACCEPT in e.command else origins.changed_files(path, now)
            if changed and (overwrite or left == "training"):
                said = f"was trained with other code ({', '.join(changed)})"
                raise ConfigError(f"{said}; {origins.WAY_OUT}")
            older += [e.workdir] if changed else []
            if left:
                missing.append(e)
                continue
            replicates = workdir_lib.read_done(path)
            failed = [f"{name}: {r['failed']}" for name, r in replicates.items() if "failed" in r]
            refused += [(e.workdir, "; ".join(failed))] if failed else []
        except NOT_TO_RUN as error:
            refused.append((e.workdir, str(error)))
            if overwrite and (path / "config.json").is_file():
                try:
                    workdir_lib.move_aside(path)
                    missing.append(e)
                    refused.pop()
                except workdir_lib.LockedError as locked:
                    refused[-1] = (e.workdir, str(locked))
    if older:
        said = f"note: {len(older)} trained runs are of other code, {older[0]} the first of them"
        print(f"{said}; --overwrite trains them again", file=sys.stderr)
    return missing, refused


def remaining(entry: Entry, path: Path) -> str:
    """Return what a run lacks: training, scoring or nothing; raise ConfigError of another run."""
    flags = [flag for flag in entry.command[3:] if not flag.startswith("--workdir=")]
    config, is_run = resolve(flags), (path / "config.json").is_file()
    if is_run:
        config = _with_data(config, config_file.read(path / "config.json"), flags)
    config = workdir_lib.settle(config, path)
    if not is_run or workdir_lib.cohorts(Workdir(path), config):
        return "training"
    trained = workdir_lib.read_done(path)
    return "scoring" if run_folder.unscored(path, config.to_dict(), trained) else ""


def _with_data(config: Any, stored: Any, flags: list[str]) -> Any:
    """Return the configuration with its data's SHA-256 where their path is spelled differently.

    That alone says whether the run in the folder is of the same data.
    """
    differing = [f for f in config_lib.PATHS if config[f] != stored.get(f, config[f])]
    own = config.dataset.endswith(".npz") and stored.dataset.endswith(".npz")
    if not differing or ("dataset" in differing and not own):
        return config
    given = [Path(flag.partition("=")[2]) for flag in flags if flag.startswith("--data_dir=")]
    photographs = Path(config.photographs) if config.photographs else None
    data_dir = given[0] if given else None
    data = datasets.load(config.dataset, config.protocol, config.source, data_dir, photographs)
    return config_lib.replace(config, data_sha256=datasets.digest(data))
