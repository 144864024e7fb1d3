"""The room's door: from run folders to every table of the report."""

import sys
from collections.abc import Iterable
from pathlib import Path

from mvae_jax import files
from mvae_jax.report import audit, comparisons, formats, reproduction, runs, tables


def render(paths: Iterable[Path], out: Path) -> bool:
    """Prints the tables and writes the report to `out`.

    One run gives one table of its metrics; several give the paper's tables. Returns whether
    nothing is missing: every run scored, every seed there, every pair of models comparable.
    """
    found = runs.read(paths)
    if not found.cells and not found.problems:
        print("error: path: no folder with embeddings/ or metrics.json there", file=sys.stderr)
        return False
    compared = comparisons.compare_all(found)
    if len(found.cells) == 1:
        grids = [tables.run_table(*cell) for cell in found.cells.items()]
    else:
        grids = list(tables.tables(found, compared))
    print(formats.write(out, "tables", grids), end="")
    files.write_text(out / "tables.csv", formats.to_csv(tables.records(found)))
    if compared.found:
        overview = comparisons.overview(compared)
        print("\n" + formats.to_text(overview), end="")
        formats.write(out, "comparisons", [overview, *comparisons.details(compared)])
        files.write_text(out / "comparisons.csv", formats.to_csv(comparisons.records(compared)))
    formats.write(out, "reproduction", reproduction.tables(found))
    files.write_text(out / "reproduction.csv", formats.to_csv(reproduction.records(found)))
    formats.write(out, "claims", [audit.table(found)])
    for problem in (*found.problems, *compared.problems):
        print(f"error: {problem.where}: {problem.reason}", file=sys.stderr)
    return not found.problems and not compared.problems
