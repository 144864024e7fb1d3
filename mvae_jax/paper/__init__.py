"""The study of this paper: cells, claims and verdicts, errata, reference figures, reproduction."""
