"""`--tensorboard`: the training curves as TensorBoard event files."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from mvae_jax import escape
from mvae_jax.report.problems import Problem, isolated, tell
from mvae_jax.store import files, run_folder
from mvae_jax.store.files import PathLike
from mvae_jax.terminal import exit_with

NOT_CURVES = ("seed", "epoch")


def command(paths: Iterable[Path], out: Path) -> NoReturn:
    """Write the event files of --tensorboard, and exit with its status."""
    try:
        problems = write(paths, out)
    except ImportError:
        exit_with("--tensorboard: tensorboardX is not installed; pip install tensorboardX")
    except OSError as error:
        exit_with(f"--tensorboard: {error}", status=1)
    print(escape.plain(f"wrote {out}; tensorboard --logdir {out}"))
    sys.exit(0 if tell(problems) else 1)


def write(paths: PathLike | Iterable[PathLike], out: PathLike) -> list[Problem]:
    """Write event files below `out`, in place of an earlier call's; return what cannot be read.

    A run and replicate has a folder, by its path below the root given. Raise ImportError where
    there is no tensorboardX.
    """
    from tensorboardX import SummaryWriter

    problems: list[Problem] = []
    roots = files.as_paths(paths)
    for root in roots:
        below = Path(out) / (root.resolve().relative_to("/") if len(roots) > 1 else "")
        for run in files.find_runs([root], holding=("config.json",)):
            for log in run_folder.epoch_logs(run):
                lines = []
                with isolated(problems, str(run)):
                    lines = list(run_folder.read_epochs(log))  # which checks the log's name
                if not lines:
                    continue
                folder = below / run.relative_to(root) / log.stem
                for path in folder.glob("events.out.tfevents.*"):
                    path.unlink()
                with SummaryWriter(str(folder)) as writer:
                    for line in lines:
                        for tag, value in line.items():
                            if tag not in NOT_CURVES and isinstance(value, int | float):
                                at = {"walltime": log.stat().st_mtime}
                                writer.add_scalar(tag, value, line["epoch"], **at)
    return problems
