"""Train, embed, evaluate and print the table of one configuration.

python -m mvae_jax.main --config=configs/digits.py:mvae,16
"""

import sys
import time
from collections.abc import Sequence
from functools import partial

from absl import app, flags, logging

from mvae_jax import command_line
from mvae_jax import config as config_lib
from mvae_jax.config import ConfigError
from mvae_jax.terminal import INTERRUPTED, command, exit_with, importing, say

START = time.perf_counter()
ABOUT = __doc__ or ""
CONFIG = command_line.define_config(flags.FLAGS)
WORKDIR = command_line.define_path("workdir", "the run folder; by default under ./runs")
DATA_DIR = command_line.define_path("data_dir", "data files that are there, read before others")
PROFILE = command_line.define_path("profile", "a folder for a trace of a few training steps")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "move an earlier run's folder aside")
ACCEPT = flags.DEFINE_bool("accept_changes", False, "go on with a run of other code or settings")
METRIC = flags.DEFINE_multi_string("metric", [], "dotted paths of metrics of your own")
TRACKER = flags.DEFINE_multi_string(
    "tracker",
    [],
    "tensorboard, wandb, mlflow, or a dotted path of yours, told of every epoch; may be repeated",
)
ALL = flags.DEFINE_bool("all", False, "print every metric, not the main ones alone")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "one of several processes of this run")
COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0, if not in SLURM")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "how many, if not in SLURM")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "which of them this is, if not in SLURM")


def main(_argv: Sequence[str]) -> None:
    """Run the three stages.

    Exit status 0: complete, 1: a seed, a checkpoint or the disk failed, 2: usage or data,
    3: another process is training in the folder, 130: interrupted.
    """
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    for flag in (COORDINATOR, NUM_PROCESSES, PROCESS_ID):
        if flag.present and not DISTRIBUTED.value:
            exit_with(f"--{flag.name}: got {flag.value!r} without --distributed; add it")
    if not PROCESS_ID.value:
        say(command_line.title(CONFIG.value))
    with importing():  # here, so that a mistake in the flags is answered at once
        from mvae_jax.evaluate import own

        try:
            metrics = own.load(METRIC.value)
        except ValueError as error:
            exit_with(error)
        from mvae_jax import datasets, stages
        from mvae_jax.runs import environment, run, trackers
        from mvae_jax.runs.checkpoint import CheckpointError
        from mvae_jax.runs.stop import Interrupted
        from mvae_jax.runs.workdir import LockedError, RunError, Workdir, log_time
        from mvae_jax.store.status import time_summary

    imported = time.perf_counter()
    try:
        config = stages.prepare(CONFIG.value)
        if DISTRIBUTED.value:
            try:
                environment.connect(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
            except ValueError as error:
                exit_with(error)
        path = WORKDIR.value or config_lib.default_workdir(config)
        if PROFILE.value:
            PROFILE.value.mkdir(parents=True, exist_ok=True)
        process, _ = environment.processes()
        run.run(
            config,
            path,
            DATA_DIR.value,
            OVERWRITE.value,
            PROFILE.value,
            ACCEPT.value,
            trackers.find(TRACKER.value),
        )
        environment.disconnect()
    except (ConfigError, datasets.DataError) as error:
        exit_with(error)
    except LockedError as error:
        environment.exit_process(error, 3)
    except (CheckpointError, RunError, OSError) as error:
        environment.exit_process(error, 1)
    except Interrupted as error:
        exit_with(error, status=INTERRUPTED)
    if process:
        return  # process 0 alone scores
    log_time(Workdir(path), "import", imported - START)
    scored = stages.score(path, metrics)
    print(time_summary(path), file=sys.stderr)
    rendered = stages.report(path, ALL.value)
    sys.exit(0 if scored and rendered else 1)


def entry_point() -> None:
    """Run `main` on the command line, with mistakes answered in one line."""
    command(lambda: app.run(main, flags_parser=partial(command_line.parse_flags, about=ABOUT)))


if __name__ == "__main__":
    entry_point()
