"""How large a model is, by the shapes of its learned arrays.

`sizes` is the number of elements of each array by its path in the model's file, `params/...`.
"""

from collections.abc import Mapping


def num_parameters(sizes: Mapping[str, int]) -> float:
    """Return the number of learned numbers, C among them."""
    return float(sum(sizes.values()))


def multiply_adds(sizes: Mapping[str, int], couple_mean: bool) -> float:
    """Return those of one example's pass through encoder, coupling and decoder.

    They are the weights of every dense layer, and d^2 for each product with C: with the noise, and
    with the mean where that is coupled.
    """
    products = 1 + couple_mean
    return float(
        sum(
            size * (products if name.endswith("coupling") else 1)
            for name, size in sizes.items()
            if name.endswith(("kernel", "coupling"))
        )
    )
