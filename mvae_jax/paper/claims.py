"""The paper's claims, which claims.toml holds as data; audit.py judges them."""

import tomllib
from importlib import resources
from typing import Any

from mvae_jax.paper import cells, rules
from mvae_jax.paper.rules import Check, Claim
from mvae_jax.report.metrics import CALIBRATION, PAPER, STRUCTURE

RULES = ("each", "within", "average", "mostly", "turns", "growth", "spread")
METRICS = {
    "paper": PAPER,
    "labels": PAPER[1:],  # all but the reconstruction
    "probe": ("probe_accuracy", *CALIBRATION),
    "calibration": CALIBRATION,
    "structure": STRUCTURE,
}


def _check(fields: dict[str, Any]) -> Check:
    (rule,) = fields.keys() & set(RULES)
    named = fields.pop(rule).split(", ")
    metrics = tuple(metric for name in named for metric in METRICS.get(name, (name,)))
    if "of" in fields:
        fields["of"] = tuple(fields["of"].split(", "))
    return Check(getattr(rules, rule), metrics, cells.find(fields.pop("on")), **fields)


_file = tomllib.loads((resources.files(__package__) / "claims.toml").read_text(encoding="utf-8"))
CLAIMS = tuple(  # numbered in the file's order
    Claim(number, **claim | {"checks": tuple(map(_check, claim.get("checks", ())))})
    for number, claim in enumerate(_file["claims"], 1)
)
MISLABELLED_NOTE: str = _file["mislabelled"]
NOTES: list[str] = _file["notes"]
