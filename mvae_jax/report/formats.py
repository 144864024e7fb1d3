"""One table, four ways: text, Markdown and LaTeX from a Grid, CSV from records.

Titles, headers, cells and notes are plain text, which each format escapes; text shows what is
bold with a leading star.
"""

import functools
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import pandas as pd
from markupsafe import Markup
from tabulate import tabulate

from mvae_jax import escape
from mvae_jax.report.cells import Setting
from mvae_jax.store import files

LATEX_HEAD = "% \\input this in a document that loads array, booktabs, graphicx and longtable.\n\n"
PAGE, LINES = 90, 45  # signs of \footnotesize on a line of a page, and lines on it


class Bold(str):
    """Text whose beginning is bold: the first `length` signs."""

    length: int

    def __new__(cls, bold: str, rest: str = "") -> "Bold":
        """Return both as one text."""
        text = super().__new__(cls, bold + rest)
        text.length = len(bold)
        return text


def escaped(
    text: str, escape_text: Callable[[str], str], bold: Callable[[str], str] = "**{}**".format
) -> str:
    """Return the text escaped, and its beginning as `bold` shows it where that is bold."""
    if not isinstance(text, Bold):
        return escape_text(text)
    start, rest = text[: text.length], text[text.length :]
    return bold(escape_text(start)) + escape_text(rest)


class Grid(NamedTuple):
    """A table to be shown.

    groups: (title, number of columns) above the headers, covering them from the left; () if none
    widths: of columns of running text, in characters; () where the columns hold figures
    settings: those of the runs whose figures it shows; () where it says of each what it is
    """

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    groups: Sequence[tuple[str, int]] = ()
    notes: Sequence[str] = ()
    widths: Sequence[int] = ()
    settings: Collection[Setting] = ()

    @property
    def spread(self) -> list[tuple[str, str]]:
        """Each header with its group's title, which is empty where there is none."""
        titles = [title for title, span in self.groups for _ in range(span)]
        titles += [""] * (len(self.headers) - len(titles))
        return list(zip(titles, self.headers, strict=True))


def write(out: Path, name: str, grids: Iterable[Grid]) -> str:
    """Write <name>.txt, .md and .tex to `out`; return the text."""
    grids = list(grids)
    text = "\n".join(map(to_text, grids))
    write_or_remove(out / f"{name}.txt", text)
    write_or_remove(out / f"{name}.md", "\n".join(map(to_markdown, grids)))
    latex = LATEX_HEAD + "\n".join(map(to_latex, grids)) if grids else ""
    write_or_remove(out / f"{name}.tex", latex)
    return text


def write_or_remove(path: Path, text: str) -> None:
    """Write a file, or removes an earlier report's where there is nothing to say now."""
    if text:
        files.write_text(path, text)
    else:
        path.unlink(missing_ok=True)


def to_text(grid: Grid) -> str:
    """Return the table for a terminal."""
    headers, above = [], None
    for title, header in grid.spread:  # a group's title stands over its first column
        shown = escape.plain(header)
        first = escape.plain(title) if title != above else ""
        headers.append(f"{first}\n{shown}" if grid.groups else shown)
        above = title
    rows = [[escaped(text, escape.plain, "*{}".format) for text in row] for row in grid.rows]
    widths = grid.widths or None
    table = _tabulate(rows, headers, "simple", grid, maxcolwidths=widths)
    return "\n".join([escape.plain(grid.title), "", table, *map(escape.plain, grid.notes), ""])


def to_markdown(grid: Grid) -> str:
    """Return the table in Markdown."""
    headers = [escape.markdown(f"{title} {header}".strip()) for title, header in grid.spread]
    rows = [list(map(markdown, row)) for row in grid.rows]
    table = _tabulate(rows, headers, "github", grid)
    notes = [*(f"- {escape.markdown(note)}" for note in grid.notes), ""] if grid.notes else []
    return "\n".join([f"### {escape.markdown(grid.title)}", "", table, "", *notes])


def to_latex(grid: Grid) -> str:
    """Return the table in LaTeX: running text over pages, figures in pieces that fit one."""
    pieces = [(piece, _signs(piece) > PAGE) for piece in _pieces(grid)]
    has_pages = len(pieces) * len(grid.rows) > LINES  # then each piece has its own
    template = _latex_environment().get_template("table.tex")
    return template.render(grid=grid, pieces=pieces, has_pages=has_pages)


@functools.cache
def _latex_environment() -> jinja2.Environment:
    marks = {"block_start_string": "<%", "block_end_string": "%>"}
    marks |= {"variable_start_string": "<<", "variable_end_string": ">>"}
    escape_text = partial(escaped, escape_text=escape.latex, bold=r"\textbf{{{}}}".format)
    return environment(escape_text, **marks, keep_trailing_newline=True)


def environment(
    escape_text: Callable[[str], str], package: str = "mvae_jax.report", **options: Any
) -> jinja2.Environment:
    """Return what renders a room's templates.

    Every text is escaped but Markup; a missing name is an error.
    """

    def finalize(value: Any) -> Any:
        is_text = isinstance(value, str) and not isinstance(value, Markup)
        return Markup(escape_text(value)) if is_text else value

    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, "templates"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        autoescape=True,  # so that what a macro makes is not escaped again
        **options,
    )


def _pieces(grid: Grid) -> list[Grid]:
    """Return the table cut between its groups, each piece with the first group's columns."""
    if not grid.groups or _signs(grid) <= PAGE:
        return [grid]
    (_, start), *others = grid.groups
    pieces: list[list[tuple[str, range]]] = []
    for title, span in others:
        group = (title, range(start, start + span))
        start += span
        if not pieces or _signs(_columns(grid, [*pieces[-1], group])) > PAGE:
            pieces.append([])
        pieces[-1].append(group)
    return [_columns(grid, piece) for piece in pieces]


def _columns(grid: Grid, groups: Sequence[tuple[str, Sequence[int]]]) -> Grid:
    """Return the table with its first group and these columns alone."""
    first = grid.groups[0]
    chosen = [*range(first[1]), *(column for _, columns in groups for column in columns)]
    return grid._replace(
        headers=[grid.headers[column] for column in chosen],
        rows=[[row[column] for column in chosen] for row in grid.rows],
        groups=[first, *((title, len(columns)) for title, columns in groups)],
    )


def _signs(grid: Grid) -> int:
    """Return about how many signs a line of the table takes."""
    columns = zip(grid.headers, *grid.rows, strict=True)
    return sum(3 + max(map(len, column)) for column in columns)


def to_csv(frame: pd.DataFrame) -> str:
    """Return a frame as CSV in full precision; what is missing is an empty field."""
    texts = [name for name, column in frame.items() if not pd.api.types.is_numeric_dtype(column)]
    escaped = {name: frame[name].map({v: escape.csv(v) for v in {*frame[name]}}) for name in texts}
    return str(frame.assign(**escaped).to_csv(index=False, lineterminator="\n"))


def _tabulate(
    rows: Sequence[Sequence[str]], headers: Sequence[str], style: str, grid: Grid, **options: Any
) -> str:
    rest = "left" if grid.widths else "right"
    align = ["left", *[rest] * (len(headers) - 1)]
    return tabulate(rows, headers, style, disable_numparse=True, colalign=align, **options)


def markdown(text: str) -> str:
    """Return text in Markdown, with what is bold in it."""
    return escaped(text, escape.markdown)
