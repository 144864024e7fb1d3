"""One table, four ways: text, Markdown and LaTeX from a Grid, CSV from records.

Titles, headers, cells and notes are plain text, which each format escapes; text shows what is
bold with a leading star.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
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
    notes = [rf"\par\smallskip {_latex(note)}" for note in grid.notes]
    if grid.widths:
        return "\n".join([*_long_latex(grid), *notes, ""])
    head = [r"\begin{table*}[p]", r"\centering\footnotesize", rf"\caption{{{_latex(grid.title)}}}"]
    pieces = [_tabular(piece) for piece in _pieces(grid)]
    tall = len(pieces) * len(grid.rows) > LINES
    between = [r"\end{table*}", *head[:2]] if tall else []  # then each piece has its page
    lines = [r"\par\medskip", *pieces[0]]
    for piece in pieces[1:]:
        lines += [*between, *piece]
    return "\n".join([*head, *lines, *notes, r"\end{table*}", ""])


def _long_latex(grid: Grid) -> list[str]:
    """Return a table of running text, which may go on over pages."""
    shares = (0.88 * width / sum(grid.widths) for width in grid.widths)
    column = r">{\raggedright\arraybackslash}p{%.3f\linewidth}"
    return [
        r"{\scriptsize\setlength{\tabcolsep}{3pt}",
        rf"\begin{{longtable}}{{{''.join(column % share for share in shares)}}}",
        rf"\caption{{{_latex(grid.title)}}} \\",
        r"\toprule",
        " & ".join(map(_latex, grid.headers)) + r" \\",
        r"\midrule\endhead",
        *(" & ".join(map(_latex, row)) + r" \\[2pt]" for row in grid.rows),
        r"\bottomrule",
        r"\end{longtable}}",
    ]


def _pieces(grid: Grid) -> list[Grid]:
    """Return the table cut between its groups, each piece with the first column."""
    if not grid.groups or _signs(grid) <= PAGE:
        return [grid]
    pieces: list[list[tuple[str, list[int]]]] = [[]]
    start = grid.groups[0][1]
    for title, span in grid.groups[1:]:
        columns = list(range(start, start + span))
        start += span
        if pieces[-1] and _signs(_columns(grid, [*pieces[-1], (title, columns)])) > PAGE:
            pieces.append([])
        pieces[-1].append((title, columns))
    return [_columns(grid, piece) for piece in pieces]


def _columns(grid: Grid, groups: Sequence[tuple[str, Sequence[int]]]) -> Grid:
    """Return the table with its first group and these columns alone."""
    title, span = grid.groups[0]
    chosen = [*range(span), *(column for _, columns in groups for column in columns)]
    return grid._replace(
        headers=[grid.headers[column] for column in chosen],
        rows=[[row[column] for column in chosen] for row in grid.rows],
        groups=[(title, span), *((title, len(columns)) for title, columns in groups)],
    )


def _signs(grid: Grid) -> int:
    """Return about how many signs a line of the table takes."""
    lines = [grid.headers, *grid.rows]
    return sum(3 + max(len(line[i]) for line in lines) for i in range(len(grid.headers)))


def _tabular(grid: Grid) -> list[str]:
    lines = [rf"\begin{{tabular}}{{{'l' + 'r' * (len(grid.headers) - 1)}}}", r"\toprule"]
    if grid.groups:
        titles, rules, column = [], "", 1
        for title, span in grid.groups:
            titles.append(rf"\multicolumn{{{span}}}{{c}}{{{_latex(title)}}}")
            rules += rf"\cmidrule(lr){{{column}-{column + span - 1}}}" if title else ""
            column += span
        lines += [" & ".join(titles) + r" \\", rules]
    lines += [" & ".join(map(_latex, grid.headers)) + r" \\", r"\midrule"]
    lines += [" & ".join(map(_latex, row)) + r" \\" for row in grid.rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    if _signs(grid) > PAGE:
        lines = [r"\resizebox{\textwidth}{!}{%", *lines, "}"]
    return [*lines, r"\par\medskip"]


def to_csv(frame: pd.DataFrame) -> str:
    """Return a frame as CSV in full precision; what is missing is an empty field."""
    texts = [name for name, column in frame.items() if not pd.api.types.is_numeric_dtype(column)]
    escaped = {}
    for name in texts:
        safe = {value: escape.csv(value) for value in frame[name].unique()}
        escaped[name] = frame[name].map(safe)
    text: str = frame.assign(**escaped).to_csv(index=False, lineterminator="\n")
    return text


def _tabulate(
    rows: Sequence[Sequence[str]], headers: Sequence[str], style: str, grid: Grid, **options: Any
) -> str:
    rest = "left" if grid.widths else "right"
    align = ["left", *[rest] * (len(headers) - 1)]
    return tabulate(rows, headers, style, disable_numparse=True, colalign=align, **options)


def markdown(text: str) -> str:
    """Return text in Markdown, with what is bold in it."""
    return escaped(text, escape.markdown)


def _latex(text: str) -> str:
    return escaped(text, escape.latex, r"\textbf{{{}}}".format)
