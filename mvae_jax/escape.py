"""One escaping function per format: a string from a file shows as text and does nothing else.

Names, tags, reasons and folder names may be anybody's. They stay as they are in memory and are
escaped where they are written: by `plain` for a terminal, a text file or a figure (rich takes the
result in a `Text`), by `markdown`, `html`, `latex` and `csv` for what these names say.
"""

import functools
import os
import re
import unicodedata
from typing import Any

import markupsafe

SHOWN = 100  # characters of a value in a message
CACHED = 1 << 14  # texts, because the cells of large tables repeat

# What is Markdown, GitHub's `$`, `~` and links of bare addresses among it. An underscore between
# letters is none; a block's mark (#, -, 1.) is one at the start of a text alone.
MARKDOWN = re.compile(
    r"""[\\`*\[\]<|~$]          # code, emphasis, links, HTML, columns, strike-through, formulas
    | (?<![^\W_])_ | _(?![^\W_])
    | &(?=[#\w]) | (?<=\w)@(?=\w) | :(?=//) | (?<=www)\.
    | \#(?=[#\s]*$)             # what closes a heading
    | (?: ^ | (?<=^\ ))         # what opens a heading, a quotation, a list, or is a rule
      (?: [#>] | \+(?=\s|$) | -(?=\s\S) | -(?=[-\s]*-[-\s]*$) )
    """,
    re.VERBOSE | re.IGNORECASE,
)
ORDERED = re.compile(r"^(\s?\d+)([.)])(?=\s|$)")

LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{sign: rf"\ensuremath{{{sign}}}" for sign in "<>|"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
}
ACCENTS = "\u0300\u0301\u0302\u0303\u0308\u030a\u030c\u0327"  # which pdflatex sets on any letter
LETTERS = "ßæøåÆØÅœŒłŁ"

NUMBER = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?")
FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20"  # what a spreadsheet takes a formula's first sign to be


def plain(text: object) -> str:
    r"""Return text on one line that no terminal acts on.

    Whitespace of every kind becomes a space; control signs, signs of direction and what is no
    character become their escapes, such as \x1b and \u202e.
    """
    shown = os.fspath(text) if isinstance(text, os.PathLike) else str(text)
    if shown.isprintable():
        return shown
    return "".join(
        sign if sign.isprintable() else " " if sign.isspace() else _code(sign) for sign in shown
    )


@functools.lru_cache(CACHED)
def markdown(text: object) -> str:
    """Return text that Markdown shows as it is: in a line, a table's cell, a heading or an item."""
    line = re.sub(" +", " ", plain(text))
    return ORDERED.sub(r"\1\\\2", MARKDOWN.sub(r"\\\g<0>", line))


def html(text: object) -> markupsafe.Markup:
    """Return text that HTML shows as it is, in an element or a quoted attribute."""
    return markupsafe.escape(plain(text))


@functools.lru_cache(CACHED)
def latex(text: object) -> str:
    """Return text that LaTeX shows as it is, pdflatex too: unknown letters as [U+4E2D].

    At its start too, where a row's end or a rule would take a bracket or a star for its option.
    """
    escaped = "".join(map(_latex_sign, plain(text)))
    escaped = re.sub("-(?=-)", "-{}", escaped)  # two of them are a dash
    return "{}" + escaped if escaped.lstrip().startswith(("[", "(", "*")) else escaped


def csv(value: Any) -> Any:
    """Return a field of a CSV file: numbers as they are, text that no spreadsheet computes."""
    if not isinstance(value, str):
        return value
    text = plain(value)
    if text.lstrip().startswith(tuple(FORMULA)) and not NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def _code(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


def _latex_sign(sign: str) -> str:
    if sign in LATEX or sign.isascii() or sign in LETTERS:
        return LATEX.get(sign, sign)
    parts = unicodedata.normalize("NFD", sign)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in ACCENTS:
        return sign
    return f"[U+{ord(sign):04X}]"


def shown(value: Any) -> str:
    """Return a value as a message shows it: on one line, and not too long."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text):,} characters)"
