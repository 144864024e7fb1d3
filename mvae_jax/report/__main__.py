"""Reports on run folders: python -m mvae_jax.report PATH... [--out DIR] [--no-figures]

--samples=FILE adds the paper's Figure 1, --document=FILE writes the page that REPRODUCTION.md is;
--tensorboard=DIR writes the training curves as event files; --export=DIR writes what the tables
need of every scored run, a few kilobytes each, and the figures. No report is written with these.
"""

import argparse
import sys

from mvae_jax import escape, paths
from mvae_jax.report import tensorboard
from mvae_jax.report.export import export
from mvae_jax.report.render import render, tell
from mvae_jax.store import files
from mvae_jax.terminal import command, exit_with


def main() -> None:
    """Exit with 0: complete, 1: rows are missing or failed, 2: usage."""
    parser = argparse.ArgumentParser(prog="python -m mvae_jax.report", description=__doc__)
    parser.add_argument(
        "path", nargs="+", type=paths.from_user, help="a run folder, or a root of them"
    )
    parser.add_argument(
        "--out", type=paths.from_user, help="where to write; by default PATH/report"
    )
    parser.add_argument("--no-figures", action="store_true", help="tables and pages alone")
    parser.add_argument(
        "--samples", type=paths.from_user, help="of `mvae_jax.datasets --samples`: draws Figure 1"
    )
    parser.add_argument(
        "--document",
        type=paths.from_user,
        help="writes all of it as one Markdown file, with the errata",
    )
    parser.add_argument(
        "--tensorboard", type=paths.from_user, metavar="DIR", help="write event files there"
    )
    parser.add_argument(
        "--export", type=paths.from_user, metavar="DIR", help="write scores and figures there"
    )
    args = parser.parse_args()
    for path in args.path:
        if not path.is_dir():
            exit_with(f"path: got '{path}', which is no folder")
    try:
        files.as_paths(args.path)
    except ValueError as error:
        exit_with(error)
    if args.tensorboard:
        sys.exit(_write_events(args))
    if args.export:
        if args.out or args.document or args.samples or args.no_figures:
            exit_with("--export: writes no report; give it alone")
        try:
            exported, problems = export(args.path, args.export)
        except (OSError, ValueError) as error:
            exit_with(error, status=1)
        print(escape.plain(f"{args.export}: {len(exported)} runs"))
        tell(problems)
        sys.exit(int(bool(problems)))
    if args.out is None and len(args.path) > 1:
        exit_with("--out: needed where there is more than one PATH")
    out = args.out or args.path[0] / "report"
    if out.resolve() in [path.resolve() for path in args.path]:
        exit_with(f"--out: got '{out}', which holds the runs; choose another folder")
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        exit_with(f"--out: {error}", status=1)
    try:
        draw = not args.no_figures
        complete = render(args.path, out, draw=draw, samples=args.samples, page=args.document)
        if is_new and not any(out.iterdir()):  # of no run there is no report
            out.rmdir()
    except OSError as error:  # what is read is checked: this is of what is written
        exit_with(error, status=1)
    sys.exit(0 if complete else 1)


def _write_events(args: argparse.Namespace) -> int:
    """Write the event files of --tensorboard; return the exit status."""
    try:
        events = tensorboard.EventFiles(args.path, args.tensorboard)
        events.update()
    except ImportError:
        exit_with("--tensorboard: there is no tensorboardX; pip install tensorboardX")
    except OSError as error:
        exit_with(f"--tensorboard: {error}", status=1)
    print(escape.plain(f"wrote {args.tensorboard}; tensorboard --logdir {args.tensorboard}"))
    return int(not tell(events.problems))


if __name__ == "__main__":
    command(main)
