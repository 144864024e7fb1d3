"""The grid of a sweep: its configurations, sweep.jsonl, and which of them are left to run.

sweep.jsonl has a line for each configuration, with its run folder below the root, its command, and
its cost relative to the others. Anything that runs commands can execute it.
"""

import collections
import fcntl
import itertools
import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from mvae_jax import command_line, datasets, paths, records, sources
from mvae_jax import config as config_lib
from mvae_jax.config import ConfigError
from mvae_jax.datasets.catalogue import CATALOGUE
from mvae_jax.escape import shown
from mvae_jax.runs import workdir as workdir_lib
from mvae_jax.runs.workdir import Workdir
from mvae_jax.store import config_file, files, origins, run_folder
from mvae_jax.store.names import is_plain
from mvae_jax.sweep.arguments import ACCEPT

OWN_DATA = (49_600, 784)  # what a user's own data are taken to be
# What a run folder may say against a command.
NOT_TO_RUN = (ConfigError, datasets.DataError, workdir_lib.RunError, run_folder.RunFolderError)


class PlannedRun(NamedTuple):
    """One configuration of the grid: a line of sweep.jsonl.

    workdir: the run folder, relative to the folder of sweep.jsonl
    cost:    approximate multiplications of its training
    num_epochs, num_replicates: what the command asks for
    """

    workdir: str
    command: list[str]
    cost: float
    num_epochs: int = 0
    num_replicates: int = 0


def expand(
    root: Path, choices: Iterable[tuple[str, str, str, str]], passed: list[str]
) -> list[PlannedRun]:
    """Return the grid; raise ConfigError at the first configuration that is not valid.

    choices: (data set, protocol, latent size, model) as on the command line
    passed:  flags that every run is given
    """
    planned = [plan(root, passed, *choice) for choice in choices]
    for workdir, number in collections.Counter(run.workdir for run in planned).items():
        if number > 1:
            raise ConfigError(f"{workdir}: {number} configurations of the grid; give each once")
    return planned


def add(root: Path, planned: list[PlannedRun], order: str) -> int:
    """Add the runs to ROOT/sweep.jsonl, in place of those of the same folders.

    Return how many runs the file lists now.
    """
    root.mkdir(parents=True, exist_ok=True)
    path = root / "sweep.jsonl"
    with files.open_own(root / ".sweep.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another sweep may add its own
        known = {run.workdir: run for run in read(path)} if path.is_file() else {}
        known |= {run.workdir: run for run in planned}
        files.write_text(path, to_lines(in_order(known.values(), order)))
    return len(known)


def in_order(planned: Iterable[PlannedRun], order: str) -> list[PlannedRun]:
    """Return the runs, the cheapest or the longest first."""
    return sorted(planned, key=lambda run: run.cost, reverse=order == "longest")


def to_lines(planned: list[PlannedRun]) -> str:
    """Return the text of a sweep.jsonl."""
    return "".join(json.dumps(run._asdict()) + "\n" for run in planned)


def read(manifest: Path) -> list[PlannedRun]:
    """Return what a sweep.jsonl lists; raise RunFolderError where a line is not a planned run."""
    if not manifest.exists():
        raise run_folder.RunFolderError(
            f"{manifest}: does not exist; python -m mvae_jax.sweep writes it"
        )
    planned = []
    for line in run_folder.read_entries(manifest, torn=False):
        if PlannedRun._field_defaults.keys() | line.keys() != {*PlannedRun._fields}:
            fields = ", ".join(PlannedRun._fields)
            raise run_folder.RunFolderError(
                f"{manifest}: a line has {shown([*line])}; allowed: {fields}"
            )
        run = PlannedRun(**line)
        if not all(isinstance(word, str) and is_plain(word) for word in run.command):
            raise run_folder.RunFolderError(
                f"{manifest}: 'command' is {shown(run.command)}; allowed: a list of printable text"
            )
        planned.append(run)
    return planned


def plan(
    root: Path, passed: list[str], dataset: str, protocol: str, latent: str, model: str
) -> PlannedRun:
    """Return one configuration of the grid, checked as its own command line would be."""
    file = f"configs/{dataset}.py"
    if dataset.endswith(".py"):  # absolute, since the command may be run from another folder
        file = str(Path(dataset).absolute()) if Path(dataset).is_file() else dataset
    arguments = [f"--config={file}:{model},{latent},{protocol}", *passed]
    config = resolve(arguments)
    below = config_lib.default_workdir(config).relative_to("runs")
    command = [sys.executable, "-m", "mvae_jax.main", *arguments]
    command.append(f"--workdir={root.absolute() / below}")
    number = len(config_lib.replicates(config_lib.seeds(config), config.sweep))
    return PlannedRun(str(below), command, number * cost(config), config.num_epochs, number)


def resolve(arguments: list[str]) -> Any:
    """Return the configuration that a command line asks for; raise ConfigError."""
    values, argv = flags.FlagValues(), ["sweep", *arguments]
    command_line.define_config(values, argv)
    flags.DEFINE_string("data_dir", None, "", flag_values=values)
    flags.DEFINE_multi_string("tracker", [], "", flag_values=values)
    flags.DEFINE_bool(ACCEPT.removeprefix("--"), False, "", flag_values=values)
    command_line.parse(argv, values)
    config = config_lib.validate(values["config"].value)
    return config_lib.replace(config, source=datasets.find_source(config))


def training_size(dataset: str) -> tuple[int, int]:
    """Return the training images of a data set in the release protocol, and the pixels of each."""
    if dataset not in CATALOGUE:
        return OWN_DATA
    number, *shape = CATALOGUE[dataset].shape
    return number * 4 // 5, math.prod(shape)


def cost(config: Any) -> float:
    """Return the approximate multiplications of training one replicate: an order, not a time."""
    images, pixels = training_size(config.dataset)
    sizes, latent = config_lib.hidden_sizes(config), config.latent_size
    between = sum(a * b for a, b in itertools.pairwise(sizes))
    per_image = 2 * pixels * sizes[0] + 3 * latent * sizes[-1] + 2 * between
    if config.model != "vae":
        per_image += 2 * latent**2 + 2 * latent**3 / config.batch_size
    return 3.0 * per_image * images * config.num_epochs


def sort_out(
    root: Path, planned: list[PlannedRun], overwrite: bool
) -> tuple[list[PlannedRun], list[tuple[str, str]]]:
    """Return the runs to start, and (folder, reason) of those that starting does not help.

    The reason is that their folder holds another run, or that a seed has failed.

    overwrite: move the folder of another run aside, and start this one
    """
    missing, refused, older = [], [], []
    now = sources.hashes(map(records.module_of, config_lib.MODELS))
    for run in planned:
        path = root / run.workdir
        try:
            left = remaining(run, path) if path.exists() else "training"
            changed = [] if ACCEPT in run.command else origins.changed_files(path, now)
            if changed and (overwrite or left == "training"):
                said = f"was trained with other code ({', '.join(changed)})"
                raise ConfigError(f"{said}; {origins.WAY_OUT}")
            older += [run.workdir] if changed else []
            done = {} if left else workdir_lib.read_done(path)
            failed = {name: r["failed"] for name, r in done.items() if "failed" in r}
            reason = "; ".join(f"{name}: {why}" for name, why in failed.items())
        except NOT_TO_RUN as error:
            left, reason = "training", str(error)
            if overwrite and (path / "config.json").is_file():
                try:
                    workdir_lib.move_aside(path)
                    reason = ""
                except workdir_lib.LockedError as held:
                    reason = str(held)
        if reason:
            refused.append((run.workdir, reason))
        elif left:
            missing.append(run)
    if older:
        said = f"note: {len(older)} trained runs are of other code, {older[0]} the first of them"
        print(f"{said}; --overwrite trains them again", file=sys.stderr)
    return missing, refused


def remaining(run: PlannedRun, path: Path) -> str:
    """Return what a run lacks: training, scoring or nothing; raise ConfigError of another run."""
    arguments = [flag for flag in run.command[3:] if not flag.startswith("--workdir=")]
    config, is_run = resolve(arguments), (path / "config.json").is_file()
    if is_run:
        config = _with_data(config, config_file.read(path / "config.json"), arguments)
    config = workdir_lib.settle(config, path)
    if not is_run or workdir_lib.cohorts(Workdir(path), config):
        return "training"
    trained = workdir_lib.read_done(path)
    return "scoring" if run_folder.unscored(path, config.to_dict(), trained) else ""


def _with_data(config: Any, stored: Any, arguments: list[str]) -> Any:
    """Return the configuration with its data's SHA-256 where their path is spelled differently.

    That alone says whether the run in the folder is of the same data.
    """
    differing = [f for f in config_lib.PATHS if config[f] != stored.get(f, config[f])]
    own = paths.is_data(config.dataset) and paths.is_data(stored.dataset)
    if not differing or ("dataset" in differing and not own):
        return config
    given = [Path(flag.partition("=")[2]) for flag in arguments if flag.startswith("--data_dir=")]
    photographs = Path(config.photographs) if config.photographs else None
    data_dir = given[0] if given else None
    data = datasets.load(config.dataset, config.protocol, config.source, data_dir, photographs)
    return config_lib.replace(config, data_sha256=datasets.digest(data))
