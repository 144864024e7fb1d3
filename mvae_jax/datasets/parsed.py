"""What a reader hands over: a data set's arrays before any split."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, UInt8


class Parsed(NamedTuple):
    """One data set as it was read or made.

    images:      uint8 [N, H, W, C], in the original order
    labels:      int32 [N], or None where the data set has none
    pixel_scale: a pixel's value in the model is its byte times this
    provenance:  where the bytes come from and what was done to them, as JSON would hold it
    splits:      the file's own int64 indices by split, or None where the protocol splits
    """

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int32[np.ndarray, " n"] | None
    pixel_scale: float
    provenance: dict[str, Any]
    splits: dict[str, Int64[np.ndarray, " m"]] | None = None
