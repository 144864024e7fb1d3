"""`--tensorboard`: the training curves as TensorBoard event files."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from mvae_jax import escape
from mvae_jax.report.problems import Problem, tell
from mvae_jax.store import files, run_folder
from mvae_jax.store.files import PathLike
from mvae_jax.terminal import exit_with

Line = dict[str, Any]  # of a log
NOT_CURVES = ("seed", "epoch")


def command(
    paths: Iterable[Path], out: Path, follow: Callable[[Callable[[], None]], None] = lambda f: f()
) -> NoReturn:
    """Write the event files of --tensorboard, and exit with its status.

    follow: calls what it is given, which writes the epochs that are new, as often as it likes
    """
    try:
        events = EventFiles(paths, out)
        follow(events.update)
    except ImportError:
        exit_with("--tensorboard: tensorboardX is not installed; pip install tensorboardX")
    except OSError as error:
        exit_with(f"--tensorboard: {error}", status=1)
    print(escape.plain(f"wrote {out}; tensorboard --logdir {out}"))
    sys.exit(0 if tell(events.problems) else 1)


class EventFiles:
    """Event files below `out`, a folder per run and replicate, by their path below the root given.

    problems: the logs that the last update could not read

    Raises ImportError where there is no tensorboardX.
    """

    def __init__(self, paths: PathLike | Iterable[PathLike], out: PathLike) -> None:
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter
        self.paths, self.out = files.as_paths(paths), Path(out)
        self.epochs: dict[Path, int] = {}  # folder -> the last one that is written
        self.problems: list[Problem] = []

    def update(self) -> None:
        """Write the epochs that were logged since the last call; at the first, all of them."""
        self.problems.clear()
        for path in self.paths:
            out = self.out / path.resolve().relative_to("/") if len(self.paths) > 1 else self.out
            for run in files.find_runs([path], holding=("config.json",)):
                for log in run_folder.epoch_logs(run):
                    try:
                        lines = list(run_folder.read_epochs(log))  # which checks the log's name
                    except run_folder.RunFolderError as error:
                        self.problems.append(Problem(str(run), str(error)))
                    else:
                        folder = out / run.relative_to(path) / log.stem
                        self._append(folder, lines, log.stat().st_mtime)

    def _append(self, folder: Path, lines: list[Line], written_at: float) -> None:
        if folder not in self.epochs:  # what an earlier call has left
            for path in folder.glob("events.out.tfevents.*"):
                path.unlink()
        last = self.epochs.get(folder, 0)
        lines = [line for line in lines if line["epoch"] > last]
        if not lines:
            return
        first = lines[0]["epoch"]  # in the name, which else is the same within a second
        with self.writer(str(folder), filename_suffix=f".{first}") as writer:
            for line in lines:
                for tag, value in line.items():
                    if tag not in NOT_CURVES and isinstance(value, int | float):
                        writer.add_scalar(tag, value, line["epoch"], walltime=written_at)
        self.epochs[folder] = lines[-1]["epoch"]
