"""The paper's claims, which claims.toml holds as data; audit.py judges them."""

import tomllib
from importlib import resources
from typing import Any

from mvae_jax.paper import cells, rules
from mvae_jax.paper.rules import Check, Claim
from mvae_jax.report.metrics import CALIBRATION, PAPER, STRUCTURE

RULES = (
    *(rules.each, rules.within, rules.average, rules.mostly),
    *(rules.turns, rules.growth, rules.spread),
)
METRICS = {
    "paper": PAPER,
    "labels": PAPER[1:],  # all but the reconstruction
    "probe": ("probe_accuracy", *CALIBRATION),
    "calibration": CALIBRATION,
    "structure": STRUCTURE,
}


def _check(fields: dict[str, Any]) -> Check:
    (rule,) = (rule for rule in RULES if rule.__name__ in fields)
    named = fields.pop(rule.__name__).split(", ")
    metrics = tuple(metric for name in named for metric in METRICS.get(name, (name,)))
    if "of" in fields:
        fields["of"] = tuple(fields["of"].split(", "))
    return Check(rule, metrics, cells.find(fields.pop("on")), **fields)


_file = tomllib.loads((resources.files(__package__) / "claims.toml").read_text(encoding="utf-8"))
CLAIMS = tuple(  # numbered in the file's order
    Claim(number, **claim | {"checks": tuple(map(_check, claim.get("checks", ())))})
    for number, claim in enumerate(_file["claims"], 1)
)
MISLABELLED_NOTE: str = _file["mislabelled"]
NOTES: list[str] = _file["notes"]
