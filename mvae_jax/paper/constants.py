"""What is computed of the paper alone, without runs: once, by `python launch/paper_constants.py`.

The verdicts on the printed tables and the power of a sweep of the paper's cells are kept in
constants.json beside this file. Reports read them from there.
"""

import functools
import json
from pathlib import Path
from typing import Any

from mvae_jax.paper.judge import Verdict
from mvae_jax.report.formats import Grid

FILE = Path(__file__).with_name("constants.json")


@functools.cache
def _read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def verdicts() -> dict[str, list[Verdict]]:
    """Return the verdicts on the tables as printed and corrected, by title, in CLAIMS' order."""
    return {title: [Verdict(*of) for of in found] for title, found in _read()["verdicts"].items()}


def power_table() -> Grid:
    """Return how often a cell of a sweep turns bold."""
    return Grid(**_read()["power"])
