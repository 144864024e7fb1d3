"""A table of images with labels: a Parquet or Arrow file, or what a library holds as one.

The column `image` or `img` has encoded images (binary, or Hugging Face's struct with `bytes`), or
their pixels as uint8 in lists: [H][W] or [H][W][C], or [H x W] of a square grey image. The column
`label` or `labels` has integers, or names, which become their positions in sorted order.
"""

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mvae_jax.datasets import pictures
from mvae_jax.datasets.errors import DataError

IMAGES, LABELS = ("image", "img"), ("label", "labels")


def read(path: Path) -> dict[str, np.ndarray]:
    """Return `images` and, where there are, `labels` of a file.

    Raises:
      DataError: it is no Parquet or Arrow file, lacks a column, or a column holds something else.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"{path}: needs pyarrow; pip install 'mvae_jax[data]'") from error
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        if path.suffix == ".parquet":
            table = parquet.read_table(path)
        else:
            with pa.memory_map(str(path)) as source:
                table = _read_arrow(pa, source)
    except (pa.ArrowException, OSError, ValueError) as error:
        kind = "Parquet" if path.suffix == ".parquet" else "Arrow"
        said = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not readable as a {kind} file ({said})") from error
    return of_table(path, table)


def _read_arrow(pa: Any, source: Any) -> Any:
    """Read a file of Arrow's IPC format, or a stream, as Hugging Face saves it."""
    try:
        return pa.ipc.open_file(source).read_all()
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_stream(source).read_all()


def of_table(where: object, table: Any) -> dict[str, np.ndarray]:
    """Return `images` and `labels` of a pyarrow Table; raise DataError as `read` does."""
    image, label = (_column(where, table, names) for names in (IMAGES, LABELS))
    if image is None:
        said = ", ".join(table.column_names) or "none"
        raise DataError(f"{where}: no column named image or img; it holds {said}")
    if label is None and len(table.column_names) > 1:
        others = ", ".join(name for name in table.column_names if name != image)
        raise DataError(
            f"{where}: no column named label or labels; rename one of {others}, or remove them "
            "from data without labels"
        )
    if not table.num_rows:
        raise DataError(f"{where}: holds no row; allowed: at least one")
    arrays = {"images": _images(f"{where}, column {image}", table[image])}
    if label is not None:
        arrays["labels"] = _labels(f"{where}, column {label}", table[label])
    return arrays


def _column(where: object, table: Any, names: tuple[str, str]) -> str | None:
    """Return the table's column of one of the names; raise DataError where it has both."""
    found = [name for name in table.column_names if name in names]
    if len(found) > 1:
        raise DataError(f"{where}: holds the columns {' and '.join(found)}; allowed: one of them")
    return found[0] if found else None


def _images(where: str, column: Any) -> np.ndarray:
    import pyarrow as pa

    if isinstance(column.type, pa.ExtensionType):  # as Hugging Face's Array2D
        column = pa.chunked_array([chunk.storage for chunk in column.chunks])
    kind = column.type
    if column.null_count:
        raise DataError(f"{where}: {column.null_count} rows without an image; remove them")
    if _is_list(kind):
        return np.concatenate([_pixels(where, chunk) for chunk in column.chunks if len(chunk)])
    if _is_binary(kind) or (pa.types.is_struct(kind) and _is_binary(_field(kind, "bytes"))):
        return pictures.stack(_decoded(where, column))
    raise DataError(
        f"{where}: of the type {str(kind)[:100]}; allowed: encoded images (binary, or a struct "
        "with bytes), or lists of uint8"
    )


def _decoded(where: str, column: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each row's image, with where it is."""
    for number, value in enumerate(column):
        row, data = f"{where}, row {number}", value.as_py()
        if isinstance(data, dict):
            data = data["bytes"]
        if data is None:
            raise DataError(f"{row}: a path without the image's bytes; save the table with them")
        yield row, pictures.decode(row, io.BytesIO(data))


def _pixels(where: str, values: Any) -> np.ndarray:
    """Return lists of lists of bytes as an array [N, H, W] or [N, H, W, C]."""
    import pyarrow as pa
    from pyarrow import compute

    shape = [len(values)]
    while _is_list(values.type):
        sizes = compute.unique(compute.list_value_length(values)).to_pylist()
        if len(sizes) > 1 or None in sizes:
            said = " and ".join(map(str, sizes[:3]))
            raise DataError(f"{where}: lists of {said} values; allowed: images of one size")
        shape.append(sizes[0])
        values = values.flatten()
    if values.type != pa.uint8() or values.null_count:
        missing = " with missing values" if values.null_count else ""
        raise DataError(f"{where}: pixels of {values.type}{missing}; allowed: uint8, 0 to 255")
    if len(shape) == 2 and (side := math.isqrt(shape[1])) ** 2 == shape[1]:
        shape[1:] = [side, side]
    if len(shape) not in (3, 4):
        raise DataError(
            f"{where}: {shape[1:]} pixels in lists; allowed: [H][W], [H][W][C], or [H x W] of a "
            "square grey image"
        )
    found: np.ndarray = values.to_numpy(zero_copy_only=False).reshape(shape)
    return found


def _labels(where: str, column: Any) -> np.ndarray:
    import pyarrow as pa

    if column.null_count:
        raise DataError(f"{where}: {column.null_count} rows without a label; remove them")
    if pa.types.is_integer(column.type):
        numbers: np.ndarray = column.to_numpy()
        return numbers
    names = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    if pa.types.is_string(names.type) or pa.types.is_large_string(names.type):
        return np.unique(names.to_pylist(), return_inverse=True)[1]
    raise DataError(f"{where}: of the type {column.type}; allowed: integers, or names")


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    types = pa.types
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    return kind is not None and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _field(kind: Any, name: str) -> Any:
    """Return the type of a struct's field, or None."""
    index = kind.get_field_index(name)
    return kind.field(index).type if index >= 0 else None
