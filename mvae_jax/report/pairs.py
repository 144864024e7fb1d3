"""Which models of a row are compared with the baseline, and why the others are not.

A row is a data set, a protocol and a latent size; its models are compared seed by seed.
"""

import json
from collections.abc import Mapping
from itertools import product
from typing import Any

from mvae_jax import config as config_lib
from mvae_jax.report.cells import Cell, Run, Setting, listed
from mvae_jax.report.frame import Scores
from mvae_jax.store import origins

BASELINE = "vae"  # where nobody names another
FIRST = (BASELINE, "mvae")  # of the models that are shown
# Fields in which a pair may differ besides the harmless ones: what makes the model, what the table
# and its row say already, what pairs the seeds, how they share a program, which changes rounding
# alone, and what `comparisons` tells of unlike bounds.
FREE = frozenset(
    {
        *config_lib.HARMLESS,
        *config_lib.PATHS,
        *("model", "posterior", "couple_mean"),
        *("source", "protocol", "latent_size"),
        *("num_seeds", "first_seed", "sweep", "seed_mode"),
        "iwae_samples",
    }
)

DEFAULTS: dict[str, Any] = json.loads(config_lib.defaults().to_json())

Row = dict[str, Cell]  # by model


def models_of(cells: Mapping[Cell, Run]) -> list[str]:
    """Return the models in the order in which they are shown: VAE, MVAE, others by name."""
    found = {cell.model for cell in cells}
    return [*(model for model in FIRST if model in found), *sorted(found.difference(FIRST))]


def rows_of(cells: Mapping[Cell, Run]) -> dict[tuple[Setting, int], Row]:
    """Return the cells of each row by model, in the order in which they are shown."""
    rows: dict[tuple[Setting, int], Row] = {}
    for model in models_of(cells):
        for cell in (cell for cell in cells if cell.model == model):
            rows.setdefault((cell.setting, cell.latent_size), {})[model] = cell
    return dict(sorted(rows.items()))


def mark(found: Scores, baseline: str) -> Scores:
    """Return the scores with every cell marked that may not be shown beside the others of its row.

    Marked are cells that were scored on other test examples, and those of other seeds than the
    baseline's, because means over different seeds differ by the seeds as well as by the models.
    A seed that failed for one model of a row is left out of the others' means too.
    """
    cells = dict(found.cells)
    for row in rows_of(cells).values():
        _mark_other_examples(cells, row)
        if baseline in row and not cells[row[baseline]].missing:
            _mark_unequal(cells, row, baseline)
        _leave_out_failed(cells, row)
    return Scores(found.values, cells, found.problems)


def _mark_other_examples(cells: dict[Cell, Run], row: Row) -> None:
    first, *others = row.values()
    ours = cells[first].tested_on
    for cell in others:
        theirs = cells[cell].tested_on
        numbers, our_numbers = (sorted({number for number, _ in of}) for of in (theirs, ours))
        digests = {digest for _, digest in ours | theirs} - {None}
        if ours and theirs and (numbers != our_numbers or len(digests) > 1):
            counts = ", not ".join(" and ".join(map(str, of)) for of in (numbers, our_numbers))
            reason = (
                f"scored on other test examples than {first.model} ({counts}, or other "
                "index_test); take index_train and index_test from an embeddings file of a run"
            )
            cells[cell] = cells[cell]._replace(missing=cells[cell].missing or reason)


def _mark_unequal(cells: dict[Cell, Run], row: Row, baseline: str) -> None:
    """Mark the cells whose seeds are not the baseline's; the baseline too, if no cell has its."""
    ours = cells[row[baseline]]
    others = [cell for m, cell in row.items() if m != baseline and not cells[cell].missing]
    unequal = 0
    for cell in others:
        theirs = cells[cell]
        lacking = {
            baseline: theirs.replicates.keys() - ours.replicates.keys(),
            cell.model: ours.replicates.keys() - theirs.replicates.keys(),
        }
        said = [f"{m} lacks seed {listed(sorted(seeds))}" for m, seeds in lacking.items() if seeds]
        if said and not is_seedless(ours, theirs):
            reason = f"{' and '.join(said)}; train and score the same seeds of both"
            cells[cell] = theirs._replace(missing=reason)
            unequal += 1
    if others and unequal == len(others):
        cells[row[baseline]] = ours._replace(missing=cells[others[0]].missing)


def is_seedless(ours: Run, theirs: Run) -> bool:
    """Return whether one of the two is a method without seeds, whose one result meets every seed.

    That is a run of another tool with one replicate, whose seed the other does not have.
    """
    disjoint = ours.replicates.keys().isdisjoint(theirs.replicates)
    return disjoint and (ours.has_one_result or theirs.has_one_result)


def _leave_out_failed(cells: dict[Cell, Run], row: Row) -> None:
    there = [cell for cell in row.values() if not cells[cell].missing]
    failed = {cell: dict(cells[cell].failed) for cell in there}
    for cell in there:
        of_others = {
            seed: f"{other.model}'s: {why}"
            for other in there
            if other != cell
            for seed, why in failed[other].items()
            if seed in cells[cell].replicates
        }
        cells[cell] = cells[cell]._replace(failed=of_others | failed[cell])


def unlike(one: Run, other: Run) -> str:
    """Return in what two runs' training differs beyond the model; empty where it does not.

    Every field counts but those of FREE. A run of another tool is taken at its word: it is compared
    with others in the fields that both name.
    """
    a, b = (
        # The default of every field that is newer than the run.
        DEFAULTS | run.config if "data_sha256" in run.config else run.config
        for run in (one, other)
    )
    both_are_ours = "data_sha256" in a and "data_sha256" in b
    named = a.keys() | b.keys() if both_are_ours else a.keys() & b.keys()
    differing = [
        f"{field} is {a.get(field)!r} and {b.get(field)!r}"
        for field in sorted(named - FREE)
        if a.get(field) != b.get(field)
    ]
    of_seeds = (origins.differ(*pair) for pair in product(one.origins, other.origins))
    settings = dict.fromkeys(setting for of in of_seeds for setting in of.settings)
    return ", ".join([*differing, *settings])
