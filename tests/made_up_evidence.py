"""Claims and evidence on made-up seeds, for the tests of the rules."""

from mvae_jax.paper.cells import Unit
from mvae_jax.paper.evidence import Evidence, Pair
from mvae_jax.paper.rules import Check, Claim

CELLS = tuple(Unit(f"z={z}", (("data", z),)) for z in (2, 4))
STEP = (Unit("z=2 to 4", (("data", 4),), (("data", 2),)),)
BETTER, OPEN, WORSE = [0.1, 0.11, 0.09, 0.1], [0.3, -0.2, 0.1, -0.1], [-0.1, -0.11, -0.09, -0.1]


def claim(*checks, **fields):
    return Claim(0, "", "", checks=checks, **fields)


def of(rule, *, metrics=("nmi",), units=CELLS, **fields):
    """A claim of one check."""
    return claim(Check(rule, metrics, units, **fields))


def evidence(gains, metric="nmi", published=False, base=1.0):
    """Pairs with these gains per cell on a VAE of this value: z -> one gain per seed."""
    pairs = {
        (metric, ("data", z)): Pair(
            dict.fromkeys(range(len(of)), base), {i: base + gain for i, gain in enumerate(of)}
        )
        for z, of in gains.items()
    }
    return Evidence("made up", pairs, published)


def values(curves, metric="nmi"):
    """Evidence of both models' own values: z -> (VAE's, MVAE's) per seed."""
    pairs = {
        (metric, ("data", z)): Pair(*(dict(enumerate(of)) for of in models))
        for z, models in curves.items()
    }
    return Evidence("made up", pairs, published=False)
