"""Turns the metrics of run folders into tables; reads their files, imports no other stage."""

from mvae_jax.report.render import render

__all__ = ["render"]
