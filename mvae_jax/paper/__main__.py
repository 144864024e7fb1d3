"""Report on runs of this paper: python -m mvae_jax.paper PATH... [--document FILE]

The report of mvae_jax.report, with the paper's corrections for multiple tests, its released and
printed figures and its claims. --document=FILE writes the page that REPRODUCTION.md is.
"""

import argparse
from pathlib import Path

from mvae_jax.paper import audit, document
from mvae_jax.paper.study import STUDY
from mvae_jax.report import __main__ as command
from mvae_jax.report.problems import Problem, isolated
from mvae_jax.report.study import Drawn, Report
from mvae_jax.terminal import command as run


def main() -> None:
    """Exit with 0: complete, 1: rows are missing or failed, 2: usage."""
    parser = argparse.ArgumentParser(prog="python -m mvae_jax.paper", description=__doc__)
    command.add_arguments(parser)
    command.add_folder(parser, "--document", help="write all of it as one Markdown page")
    args = parser.parse_args()
    command.check(args)

    def write_document(report: Report, drawn: list[Drawn], problems: list[Problem]) -> None:
        with isolated(problems, str(args.document)):
            document.write(Path(args.document), report, drawn, audit.findings(report.scores))

    command.report(args, STUDY._replace(finish=write_document) if args.document else STUDY)


if __name__ == "__main__":
    run(main)
