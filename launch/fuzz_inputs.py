"""What `fuzz.py` feeds to its targets: good files, and what the fuzzer's bytes make of them.

An input's first byte says what the rest is: 1, the parts or the edits of a good file, because few
random bytes are an archive with the right checksums or JSON of the right format; else, the file.
"""

import copy
import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mvae_jax import config as config_lib
from mvae_jax.store import json_file
from mvae_jax.sweep.grid import PlannedRun

SCRATCH = Path(tempfile.mkdtemp())  # in which fuzz.py's TMPDIR is gone with the process
RUN = SCRATCH / "root" / "run"
RAW, EDITED = b"\0", b"\1"
MOST_EDITS = 32  # of one JSON file


# --- what bytes become -------------------------------------------------------------------------


def pieces(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield pairs: a byte, and as many bytes as the two after it say."""
    while len(data) >= 3:
        size = int.from_bytes(data[1:3], "little")
        yield data[0], data[3 : 3 + size]
        data = data[3 + size :]


def piece(number: int, content: bytes) -> bytes:
    """Return what `pieces` reads."""
    return bytes([number]) + len(content).to_bytes(2, "little") + content


def write(name: str, content: bytes) -> Path:
    """Write a file of the scratch folder."""
    path = SCRATCH / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def archive(data: bytes, names: tuple[str, ...]) -> bytes:
    """Return the file as it is, or a zip archive of pieces under these names."""
    if data[:1] != EDITED:
        return data[1:]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for number, content in pieces(data[1:]):
            made.writestr(zipfile.ZipInfo(names[number % len(names)]), content)
    return stream.getvalue()


DEEP: Any = 1
for _ in range(400):
    DEEP = [DEEP]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, 10**400, 0.5, 1e26, 1e308),
    *(
        float("nan"),
        float("inf"),
        "",
        "x",
        "..",
        "../../x",
        "/x",
        "\0",
        "\ud800",
        "a\nb",
        "x" * 300,
    ),
    *("seed_777", "seed_1/..", "seed_777__beta=nan", "gaussian", "1e3", [], {}, [1], ["x"], [[1]]),
    *({"x": 1}, {"beta": [1, 2]}, {"beta": "x"}, {"..": {"seed": 1}}, DEEP, list(range(1000))),
]


def edited_json(data: bytes, base: Any) -> bytes:
    """Return the file as it is, or `base` with some of its values replaced or removed."""
    if data[:1] != EDITED:
        return data[1:]
    content = copy.deepcopy(base)
    for position in range(1, min(len(data) - 2, 3 * MOST_EDITS), 3):
        places = list(_places(content))
        if not places:
            break
        holder, key = places[int.from_bytes(data[position : position + 2], "little") % len(places)]
        choice = data[position + 2] % (len(VALUES) + 1)
        if choice < len(VALUES):
            holder[key] = copy.deepcopy(VALUES[choice])
        else:
            del holder[key]
    return json.dumps(content).encode()


def _places(found: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every (object or list, key) below a JSON value, near the top of what is deep."""
    level = [found]
    for _ in range(8):
        below = []
        for holder in level:
            keys: Iterable[Any] = holder if isinstance(holder, dict) else range(len(holder))
            for key in keys:
                yield holder, key
                if isinstance(holder[key], dict | list):
                    below.append(holder[key])
        level = below


def json_seeds(base: Any) -> list[bytes]:
    """Return a JSON file as it is, and edits of its first places."""
    starts = [bytes([place, 0, value]) for place in range(8) for value in range(0, 40, 5)]
    return [RAW + json.dumps(base).encode(), EDITED, *(EDITED + start for start in starts)]


def lines(data: bytes, base: list[dict[str, Any]]) -> bytes:
    """Return a .jsonl file: as it is, or edits of these lines."""
    if data[:1] != EDITED:
        return data[1:]
    found = json.loads(edited_json(data, base))
    return b"".join(json.dumps(line).encode() + b"\n" for line in found)


def line_seeds(base: list[dict[str, Any]]) -> list[bytes]:
    """Return a .jsonl file as it is, and edits of its first places."""
    return [RAW + lines(EDITED, base), *json_seeds(base)[1:]]


# --- a run folder ------------------------------------------------------------------------------

CONFIG = json.loads(config_lib.base_config("digits", "mvae,4").to_json())
CONFIG |= {"image_shape": [8, 8, 1], "num_seeds": 1, "num_epochs": 2}
COMPUTED = {"seed": 777, "split": "test", "n": 9, "settings": ["probe"]}
SPECTRUM = COMPUTED | {"eigenvalue": [1]}
CURVE = {"examples": [1, 2], "confidence": [0.5, 1.0], "accuracy": [None, 1.0], **COMPUTED}
METRICS = {
    **{"version": 1, "dataset": "digits", "source": "", "protocol": "release", "model": "mvae"},
    **{"latent_size": 4, "settings": {"probe": {"C": 1.0}}},
    "replicates": [
        {
            **{"replicate": "seed_777", "seed": 777, "sha256": "0" * 64, "num_test": 9},
            "values": [{"metric": "elbo", "value": -90.5, **COMPUTED}],
            "absent": [{"metric": "iwae", "reason": "none"}],
            "curves": {
                "reliability": CURVE,
                "covariance_eigenvalues": COMPUTED | {"eigenvalue": [1]},
            },
        },
        {"replicate": "seed_778", "seed": 778, "failed": "nan"},
        {"replicate": "bad", "failed": "named badly"},
    ],
    "described": {"radius": {"title": "radius", "unit": "", "decimals": 3, "better": -1}},
}
MANIFEST: dict[str, Any] = {
    "version": 1,
    "replicates": {
        "seed_777": {"seed": 777, "epoch": 2, "origins": ["0"], "swept": {"beta": 2.0}},
        "seed_778": {"seed": 778, "epoch": 2, "failed": "kl was nan in epoch 1"},
    },
    "sha256": {"embeddings/seed_777.npz": "0" * 64},
}
DONE = {
    **MANIFEST["replicates"]["seed_777"],
    **{"epoch_seconds": 1.5, "selected_epoch": 1, "sha256": MANIFEST["sha256"]},
    "log": {"bytes": 0, "sha256": hashlib.sha256().hexdigest()},
}
ENVIRONMENT = {
    **{"versions": {"jax": "0.10"}, "processor": "x", "git_revision": None, "devices": ["cpu"]},
    "origins": {"0": {"sources": {}, "settings": {}, "device": "cpu", "versions": {}}},
}
EPOCHS = [
    {
        "replicate": "seed_777",
        "seed": 777,
        "split": "train",
        "epoch": epoch,
        "elbo": -9.5,
        "kl": 1.0,
    }
    for epoch in (1, 2)
]
TIMES: list[dict[str, Any]] = [
    {"event": "import", "seconds": 1.5},
    *2 * [{"event": "epoch", "seconds": 0.5, "seeds": 1}],
]
COMMAND = ["python", "-m", "mvae_jax.main"]
ENTRY = PlannedRun("digits/release/mvae-z4", COMMAND, 1.0, 2, 1)._asdict()


def write_run(name: str, content: bytes) -> None:
    """Write a good run folder in which one file is another."""
    good = {"config": CONFIG, "manifest": MANIFEST, "metrics": METRICS, "environment": ENVIRONMENT}
    for stem, value in good.items():
        if not (RUN / f"{stem}.json").is_file():
            write(f"root/run/{stem}.json", json_file.dumps(value).encode())
    for stem, logged in (("logs/seed_777", EPOCHS), ("timing", TIMES)):
        if not (RUN / f"{stem}.jsonl").is_file():
            write(f"root/run/{stem}.jsonl", lines(EDITED, logged))
    write(f"root/run/{name}", content)


# --- other files ---


def npy(array: Any) -> bytes:
    """Return the bytes of an .npy file."""
    stream = io.BytesIO()
    np.save(stream, np.asarray(array), allow_pickle=False)
    return stream.getvalue()


IMAGES = np.arange(20 * 4, dtype=np.uint8).reshape(20, 2, 2)
IDX = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in IMAGES.shape) + IMAGES.tobytes()
AMAT = b"\n".join(b" ".join([b"0.5"] * 784 + [b"3"]) for _ in range(2))
OWN = [IMAGES, np.arange(20) % 2, np.arange(10), np.arange(10, 20)]
EMBEDDINGS = [np.ones((3, 2)), np.ones((3, 2)), [0, 1, 1], [0, 1, 1], np.ones(3), np.ones(3), 5]
EMBEDDINGS += [1, [4, 5, 6], np.eye(2), np.ones((3, 3, 2, 2, 1)), np.ones(3)]
EMBEDDINGS += 2 * [np.ones((3, 2, 2, 1))]


def npz_seeds(arrays: list[Any]) -> list[bytes]:
    """Return the arrays as pieces, and as an archive."""
    made = b"".join(piece(number, npy(array)) for number, array in enumerate(arrays))
    stream = io.BytesIO()
    np.savez(stream, **{f"images{number or ''}": a for number, a in enumerate(arrays)})
    return [EDITED + made, RAW + stream.getvalue()]


def mat_seeds() -> list[bytes]:
    """Return MATLAB files, compressed and not."""
    from scipy.io import savemat

    made = []
    for compressed in (False, True):
        stream = io.BytesIO()
        savemat(stream, {"ff": np.ones((560, 3), np.uint8)}, do_compression=compressed)
        made.append(stream.getvalue())
    return made
