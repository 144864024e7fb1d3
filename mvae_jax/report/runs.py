"""Reads run folders into one report's cells, and says what is missing and why.

Nothing is dropped in silence: what cannot be read, lacks a seed or is claimed by two runs becomes
a cell without values and a problem with its reason.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mvae_jax.report.cells import Cell, Cells, Scores, Setting, empty, listed, read_run
from mvae_jax.report.metrics import PAPER
from mvae_jax.report.problems import Problem, isolated
from mvae_jax.store import files, run_folder
from mvae_jax.store.files import PathLike

MARKS = files.RUN_MARKS | {"metrics.json"}  # of a folder that is a run
LATENT_SIZE = 32  # of the paper's pictures
BASELINE, MODEL = "vae", "mvae"  # the two that are compared, seed by seed


class Runs(NamedTuple):
    """Everything found below the paths, by data set, latent size and model."""

    cells: Cells
    problems: list[Problem]

    def tables(self) -> dict[Setting, Cells]:
        """Returns the cells of each table."""
        grouped: dict[Setting, Cells] = {}
        for cell, scores in self.cells.items():
            grouped.setdefault(cell.setting, {})[cell] = scores
        return grouped


def read(paths: PathLike | Iterable[PathLike]) -> Runs:
    """Read every run folder at or below the paths; raise ValueError as `files.as_paths` does."""
    cells: Cells = {}
    problems: list[Problem] = []
    paths = files.as_paths(paths)
    for path in paths:
        if not files.find_runs([path], holding=MARKS):
            reason = (
                "no folder with embeddings/, metrics.json, done/ or manifest.json at or below it"
            )
            problems.append(Problem(str(path), reason))
        problems += _not_begun(path)
    for run in files.find_runs(paths, holding=MARKS):
        found: Cells = {}
        with isolated(problems, str(run)):
            found.update(read_run(run))
        for cell, scores in found.items():
            if cell in cells:
                reason = f"{cells[cell].run} and {run} are the same cell; give one a config.tag"
                scores = empty(run, scores.config, reason)
            cells[cell] = scores
    _mark_other_examples(cells)
    _mark_unequal(cells)
    _leave_out_failed(cells)
    for cell, scores in cells.items():
        problems += _problems(cell, scores)
    return Runs(dict(sorted(cells.items())), problems)


def _not_begun(root: Path) -> Iterator[Problem]:
    """Yields what the root's sweep lists and has not run."""
    try:
        listed = run_folder.read_sweep(root)
    except run_folder.RunFolderError as error:
        yield Problem(str(root / "sweep.jsonl"), str(error))
        return
    lacking = [folder for folder in listed if not (folder / "config.json").is_file()]
    logs = {folder: root / "logs" / f"{folder.relative_to(root)}.txt" for folder in lacking}
    failed = [folder for folder in lacking if run_folder.failure_mark(logs[folder]).is_file()]
    if failed:
        number = f"{len(failed)} of the {len(listed)} runs that it lists failed at their start"
        yield Problem(str(root / "sweep.jsonl"), f"{number}; {logs[failed[0]]} says why")
    lacking = [folder for folder in lacking if folder not in failed]
    if lacking:
        number = f"{len(lacking)} of the {len(listed)} runs that it lists have not begun"
        first = lacking[0].relative_to(root)
        yield Problem(str(root / "sweep.jsonl"), f"{number}, {first} the first of them")


def models_of(cells: Iterable[Cell]) -> list[str]:
    """Returns the models in the order in which they are shown: VAE, MVAE, others by name."""
    first = [BASELINE, MODEL]
    found = {cell.model for cell in cells}
    return [*(model for model in first if model in found), *sorted(found.difference(first))]


def side_by_side(cells: Cells, folder: str) -> tuple[int, dict[str, tuple[Scores, Path]]]:
    """Returns a latent size, and by model the run and its first seed's file in `folder` there.

    Of the sizes at which most models have such a file the one nearest to the paper's pictures.
    """
    found: dict[int, dict[str, tuple[Scores, Path]]] = {}
    for cell, scores in cells.items():
        if scores.first is not None:
            path = scores.run / folder / f"{scores.replicates[scores.first]}.npz"
            if path.is_file():
                found.setdefault(cell.latent_size, {})[cell.model] = (scores, path)
    if not found:
        return 0, {}
    z = min(found, key=lambda z: (-len(found[z]), abs(math.log2(z / LATENT_SIZE))))
    return z, found[z]


def _mark_other_examples(cells: Cells) -> None:
    """Marks a cell as missing whose test examples are not those of the first model of its row."""
    rows: dict[tuple[Setting, int], list[Cell]] = {}
    for cell in cells:
        rows.setdefault((cell.setting, cell.latent_size), []).append(cell)
    for row in rows.values():
        order = models_of(row)
        first, *others = sorted(row, key=lambda cell: order.index(cell.model))
        for cell in others:
            ours, theirs = cells[first].tested_on, cells[cell].tested_on
            numbers = [{number for number, _ in of} for of in (ours, theirs)]
            known = {digest for _, digest in ours | theirs if digest is not None}
            if ours and theirs and (numbers[0] != numbers[1] or len(known) > 1):
                counts = [" and ".join(map(str, sorted(of))) for of in numbers]
                reason = (
                    f"scored on other test examples than {first.model} ({counts[1]}, not "
                    f"{counts[0]}, or other index_test); take index_train and index_test from an "
                    "embeddings file of a run"
                )
                cells[cell] = cells[cell]._replace(missing=cells[cell].missing or reason)


def _mark_unequal(cells: Cells) -> None:
    """Marks both models of a row as missing where they were trained on different seeds.

    Means over different seeds differ by the seeds as well as by the models.
    """
    for cell, other in _pairs(cells):
        ours, theirs = set(cells[cell].replicates), set(cells[other].replicates)
        lacks = [
            f"{model} lacks seed {listed(sorted(seeds))}"
            for model, seeds in ((BASELINE, theirs - ours), (MODEL, ours - theirs))
            if seeds
        ]
        if lacks:
            reason = f"{' and '.join(lacks)}; train and score the same seeds of both"
            cells[cell] = cells[cell]._replace(missing=reason)
            cells[other] = cells[other]._replace(missing=reason)


def _leave_out_failed(cells: Cells) -> None:
    """Leaves a seed whose training failed for one model of a row out of the other's means too."""
    for cell, other in _pairs(cells):
        vae, mvae = cells[cell], cells[other]
        cells[cell] = _without(vae, mvae.failed, MODEL)
        cells[other] = _without(mvae, vae.failed, BASELINE)


def _pairs(cells: Cells) -> list[tuple[Cell, Cell]]:
    """Returns VAE's and MVAE's cell of every row in which both are there to be averaged."""
    pairs = [(c, c._replace(model=MODEL)) for c in cells if c.model == BASELINE]
    return [
        (vae, mvae)
        for vae, mvae in pairs
        if mvae in cells and not cells[vae].missing and not cells[mvae].missing
    ]


def _without(scores: Scores, failed: dict[int, str], model: str) -> Scores:
    """Returns the scores less the seeds that failed for the other model of the row."""
    reasons = {seed: f"{model}'s: {why}" for seed, why in failed.items()}
    values = {
        metric: {seed: value for seed, value in of.items() if seed not in failed}
        for metric, of in scores.values.items()
    }
    return scores._replace(values=values, failed=reasons | scores.failed)


def _problems(cell: Cell, scores: Scores) -> Iterator[Problem]:
    where = f"{cell.setting}, {cell.model} z={cell.latent_size}"
    yield from (Problem(where, note) for note in left_out(scores))
    if scores.missing:
        yield Problem(where, scores.missing)
    else:
        yield from (Problem(where, reason) for reason in partial(scores))


def left_out(scores: Scores) -> list[str]:
    """Returns which seeds are not in the means because their training failed, and why."""
    number = f"means over {len(scores.replicates) - len(scores.failed)} of {len(scores.replicates)}"
    return [f"{number} seeds, {seed} left out: {why}" for seed, why in scores.failed.items()]


def partial(scores: Scores) -> list[str]:
    """Returns why each metric is missing that should be there: some seeds have it, or it is one
    of the paper's and nobody said that it could not be computed."""
    due = [m for m in PAPER if m not in scores.absent or scores.values.get(m)]
    due += [m for m in scores.values if m not in PAPER]
    return [reason for metric in due if (reason := scores.why_missing(metric))]
