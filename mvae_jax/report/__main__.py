"""Report on run folders: python -m mvae_jax.report PATH... [--out DIR] [--no-figures]

Every model is compared with the one that --baseline names. --samples=FILE adds a figure of the data
sets, --section=MODULE.NAME a section of your own. --export=DIR writes the scores of all runs as one
archive without arrays, and the figures, but no report. --figure=PATTERN chooses the figures that go
along, as '*-release-differences'.
"""

import argparse
import importlib.util
import sys
from functools import partial
from typing import Any, NoReturn

from mvae_jax import escape, paths, records
from mvae_jax.report import parquet
from mvae_jax.report.export import export
from mvae_jax.report.problems import tell
from mvae_jax.report.study import Section, Study
from mvae_jax.report.writing import render
from mvae_jax.rules import ConfigError
from mvae_jax.store import files
from mvae_jax.terminal import command, exit_with


def main() -> None:
    """Exit with 0: complete, 1: rows are missing or failed, 2: usage."""
    parser = argparse.ArgumentParser(prog="python -m mvae_jax.report", description=__doc__)
    add_arguments(parser)
    args = parser.parse_args()
    check(args)
    report(args, Study())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every report."""
    add, folder = parser.add_argument, partial(add_folder, parser)
    folder("path", nargs="+", help="a run folder, or a root of them")
    folder("--out", help="where to write; by default PATH/report")
    add("--baseline", metavar="MODEL", help="which all others are compared with; by default vae")
    add("--no-figures", action="store_true", help="tables and pages alone")
    add("--all", action="store_true", help="print every metric of a single run")
    said = "a section of your own, by its dotted path; may be repeated"
    add("--section", action="append", default=[], metavar="MODULE.NAME", help=said)
    folder("--samples", help="of `mvae_jax.datasets --samples`: draws them")
    folder("--export", metavar="DIR", help="write scores and figures there")
    add("--parquet", action="store_true", help="of --export: scores and embeddings as Parquet, too")
    add("--figure", action="append", metavar="PATTERN", help="of --export: which, by name")


def add_folder(parser: argparse.ArgumentParser, name: str, **options: Any) -> None:
    """Add an argument that is a path."""
    parser.add_argument(name, type=paths.from_user, **options)


def check(args: argparse.Namespace) -> None:
    """Exit with 2 where a path holds no runs to look for."""
    try:
        files.check_folders(args.path)
    except ValueError as error:
        exit_with(error)
    if args.figure and not args.export:
        exit_with("--figure: chooses among the figures of --export; name its folder")
    if args.parquet and not args.export:
        exit_with("--parquet: is what --export writes besides; name its folder")
    if args.parquet and importlib.util.find_spec("pyarrow") is None:
        exit_with("--parquet: pyarrow is not installed; pip install 'mvae_jax[publish]'")


def report(args: argparse.Namespace, study: Study) -> NoReturn:
    """Write the report, or what --export asks for, and exit with its status."""
    if args.export:
        _export(args, study)
    if args.out is None and len(args.path) > 1:
        exit_with("--out: needed where there is more than one PATH")
    out = args.out or args.path[0] / "report"
    if out.resolve() in [path.resolve() for path in args.path]:
        exit_with(f"--out: got '{out}', which holds the runs; choose another folder")
    try:
        is_complete = render(
            *(args.path, out),
            baseline=args.baseline,
            study=study,
            sections=[records.load("--section", path, Section) for path in args.section],
            draw=not args.no_figures,
            samples=args.samples,
            every=args.all,
        )
    except (ConfigError, ValueError) as error:
        exit_with(error)
    except OSError as error:  # what is read is checked: this is of what is written
        exit_with(f"--out: {error}", status=1)
    sys.exit(0 if is_complete else 1)


def _export(args: argparse.Namespace, study: Study) -> NoReturn:
    """Write the export of --export, and exit with its status."""
    if args.out or args.samples or args.no_figures or args.baseline or args.section:
        exit_with("--export: writes no report; give it alone")
    try:
        exported, problems = export(args.path, args.export, args.figure or ("*",), study)
        if args.parquet:
            count = parquet.write(args.path, args.export)
            print(
                escape.plain(f"{args.export}: {parquet.SCORES}, embeddings of {count} replicates")
            )
    except (OSError, ValueError) as error:
        exit_with(error, status=1)
    print(escape.plain(f"{args.export}: {len(exported)} cells"))
    sys.exit(0 if tell(problems) else 1)


if __name__ == "__main__":
    command(main)
