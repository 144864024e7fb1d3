"""What `fuzz.py` fuzzes: a function of bytes for each parser, the errors it may raise, and seeds.

An input's first byte says what the rest is: 1, the parts or the edits of a good file, because few
random bytes are an archive with the right checksums or JSON of the right format; else, the file.
"""

import contextlib
import copy
import gzip
import io
import itertools
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grid
import numpy as np
from absl import flags

from mvae_jax import command_line, metrics_file, run_folder, status, workdir
from mvae_jax import config as config_lib
from mvae_jax.config import ConfigError
from mvae_jax.datasets import DataError, cifar, frey_face, icml2007, load, mnist
from mvae_jax.evaluate import embeddings
from mvae_jax.evaluate.embeddings import FormatError
from mvae_jax.report import cells, html, measures, watch
from mvae_jax.report.tensorboard import EventFiles
from mvae_jax.run_folder import RunFolderError
from mvae_jax.store import npz

SCRATCH = Path(tempfile.mkdtemp())  # in which fuzz.py's TMPDIR is gone with the process
RUN = SCRATCH / "root" / "run"
RAW, EDITED = b"\0", b"\1"


class Target(NamedTuple):
    """A parser; `allowed`: what it may raise."""

    parse: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...]
    seeds: list[bytes]

    def run(self, data: bytes) -> None:
        """Parses one input."""
        with contextlib.suppress(*self.allowed):
            self.parse(data)


# --- what bytes become -------------------------------------------------------------------------


def pieces(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields pairs: a byte, and as many bytes as the two after it say."""
    while len(data) >= 3:
        size = int.from_bytes(data[1:3], "little")
        yield data[0], data[3 : 3 + size]
        data = data[3 + size :]


def piece(number: int, content: bytes) -> bytes:
    """Returns what `pieces` reads."""
    return bytes([number]) + len(content).to_bytes(2, "little") + content


def write(name: str, content: bytes) -> Path:
    """Writes a file of the scratch folder."""
    path = SCRATCH / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def archive(data: bytes, names: tuple[str, ...]) -> bytes:
    """Returns the file as it is, or a zip archive of pieces under these names."""
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
    """Returns the file as it is, or `base` with some of its values replaced or removed."""
    if data[:1] != EDITED:
        return data[1:]
    content = copy.deepcopy(base)
    for position in range(1, len(data) - 2, 3):
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
    """Yields every (object or list, key) below a JSON value, near the top of what is deep."""
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
    """Returns a JSON file as it is, and edits of its first places."""
    starts = [bytes([place, 0, value]) for place in range(8) for value in range(0, 40, 5)]
    return [RAW + json.dumps(base).encode(), EDITED, *(EDITED + start for start in starts)]


def lines(data: bytes, base: list[dict[str, Any]]) -> bytes:
    """Returns a .jsonl file: as it is, or edits of these lines."""
    if data[:1] != EDITED:
        return data[1:]
    found = json.loads(edited_json(data, base))
    return b"".join(json.dumps(line).encode() + b"\n" for line in found)


def line_seeds(base: list[dict[str, Any]]) -> list[bytes]:
    """Returns a .jsonl file as it is, and edits of its first places."""
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
}
MANIFEST = {
    "version": 1,
    "replicates": {
        "seed_777": {"seed": 777, "epoch": 2, "origins": ["0"], "swept": {"beta": 2.0}},
        "seed_778": {"seed": 778, "epoch": 2, "failed": "kl was nan in epoch 1"},
    },
    "sha256": {"embeddings/seed_777.npz": "0" * 64},
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
ENTRY = grid.Entry("digits/release/mvae-z4", ["python", "-m", "mvae_jax.main"], 1.0, 2, 1)._asdict()


def write_run(name: str, content: bytes) -> None:
    """Writes a good run folder in which one file is another."""
    good = {"config": CONFIG, "manifest": MANIFEST, "metrics": METRICS, "environment": ENVIRONMENT}
    for stem, value in good.items():
        if not (RUN / f"{stem}.json").is_file():
            write(f"root/run/{stem}.json", json.dumps(value).encode())
    for stem, logged in (("logs/seed_777", EPOCHS), ("timing", TIMES)):
        if not (RUN / f"{stem}.jsonl").is_file():
            write(f"root/run/{stem}.jsonl", lines(EDITED, logged))
    write(f"root/run/{name}", content)


def read_everywhere() -> None:
    """Reads the run as every command does that looks at it; its errors are ValueErrors."""
    status.of(RUN)
    for cell, scores in dict(cells.read_run(RUN)).items():
        cells.likelihood(scores.config)
        html._chart(scores)
        assert cell.latent_size


# --- the targets -------------------------------------------------------------------------------


def parse_idx(data: bytes) -> None:
    """Reads an idx file, compressed here or by the fuzzer."""
    mnist.read_idx(write("x.gz", gzip.compress(data[1:], 1) if data[:1] == EDITED else data[1:]))


def parse_cifar(data: bytes) -> None:
    """Reads members of a .tar.gz archive, then the records in them."""
    content = data[1:]
    if data[:1] == EDITED:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as made:
            for number, member in pieces(content):
                info = tarfile.TarInfo(("a.bin", "b.bin", "../c.bin")[number % 3])
                info.size = len(member)
                made.addfile(info, io.BytesIO(member))
        content = stream.getvalue()
    elif data[:1] == b"\2":
        content = gzip.compress(content, 1)
    cifar.read_records(cifar.read_members(write("x.tar.gz", content), ["a.bin", "b.bin"]), 1)


def parse_amat(data: bytes) -> None:
    """Reads a table of two images."""
    table = icml2007.read_amat(io.BytesIO(data), "x.amat", 2)
    icml2007.quantise(table[:, :-1])


def parse_mat(data: bytes) -> None:
    """Reads a MATLAB file."""
    frey_face.read_mat(write("x.mat", data))


def parse_own(data: bytes) -> None:
    """Reads a user's own data, and splits it by both protocols."""
    names = (
        "images.npy",
        "labels.npy",
        "index_train.npy",
        "index_test",
        "index_valid.npy",
        "images",
    )
    path = str(write("x.npz", archive(data, names)))
    for protocol in ("release", "paper"):
        load(path, protocol)


def parse_npz(data: bytes) -> None:
    """Reads the .npz files of a run folder."""
    names: tuple[str, ...] = (
        "mu_test",
        "mu_train",
        "label_test",
        "label_train",
        "kl_test",
        "iwae_test",
        "iwae_k",
    )
    names += ("seed", "index_test", "params/coupling", "sweep", "sweep_values", "input")
    content = archive(data, (*names, "reconstruction_sampled"))
    path = write("seed_1.npz", content)
    try:
        embeddings.read(path, path, 2)
    except FormatError:
        npz.read(path)
    measures.read_pictures(path)


def parse_metrics(data: bytes) -> None:
    """Reads a metrics.json."""
    write_run("metrics.json", edited_json(data, METRICS))
    metrics_file.read(RUN / "metrics.json")
    read_everywhere()


def parse_manifest(data: bytes) -> None:
    """Reads a manifest.json."""
    write_run("manifest.json", edited_json(data, MANIFEST))
    run_folder.read_manifest(RUN)
    read_everywhere()


def parse_environment(data: bytes) -> None:
    """Reads an environment.json."""
    write_run("environment.json", edited_json(data, ENVIRONMENT))
    read_everywhere()


def parse_config(data: bytes) -> None:
    """Reads a config.json as a report does, and as a resume does."""
    write_run("config.json", edited_json(data, CONFIG))
    with contextlib.suppress(RunFolderError):
        read_everywhere()
    stored = config_lib.read(RUN / "config.json")
    config_lib.settle(config_lib.validate(config_lib.base_config("digits", "mvae,4")), stored)


def parse_epochs(data: bytes) -> None:
    """Reads a seed's log, and writes it for TensorBoard, into no folder but the one named."""
    write_run("logs/seed_777.jsonl", lines(data, EPOCHS))
    out = SCRATCH / "events"
    events = EventFiles([RUN.parent], out)
    before = sorted(SCRATCH.iterdir())
    events.update()
    assert sorted({*SCRATCH.iterdir()} - {out}) == [path for path in before if path != out]
    assert all(path.name.startswith("seed_") for path in out.glob("run/*"))
    read_everywhere()


def parse_times(data: bytes) -> None:
    """Reads a timing.jsonl."""
    write_run("timing.jsonl", lines(data, TIMES))
    workdir.time_summary(RUN)
    read_everywhere()


def parse_sweep(data: bytes) -> None:
    """Reads a sweep.jsonl."""
    path = write("root/sweep.jsonl", lines(data, [ENTRY, ENTRY | {"workdir": "run"}]))
    watch.picture(list(watch.look([path.parent])))
    assert all(SCRATCH / "root" in folder.parents for folder in run_folder.read_sweep(path.parent))
    grid.read(path)


def parse_argument(data: bytes) -> None:
    """Reads what stands behind the colon of --config."""
    config = config_lib.base_config("digits", data.decode(errors="surrogateescape"))
    config_lib.default_workdir(config_lib.validate(config))


FIELDS = [f for f in CONFIG if f != "sweep"] + [f"sweep.{f}" for f in config_lib.SWEPT]


def parse_flags(data: bytes) -> None:
    """Reads one or two fields of the command line."""
    argv = ["main", "--config=configs/digits.py:mvae,2"]
    for number, content in pieces(data):
        value = content.decode(errors="surrogateescape")
        name = FIELDS[number % len(FIELDS)]
        argv.append(f"--config.{name}={value}" if number < 128 else f"--config.{value}")
    values = flags.FlagValues()
    command_line.define_config(values, argv)
    command_line.parse(argv, values)


def npy(array: Any) -> bytes:
    """Returns the bytes of an .npy file."""
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
    """Returns the arrays as pieces, and as an archive."""
    made = b"".join(piece(number, npy(array)) for number, array in enumerate(arrays))
    stream = io.BytesIO()
    np.savez(stream, **{f"images{number or ''}": a for number, a in enumerate(arrays)})
    return [EDITED + made, RAW + stream.getvalue()]


def mat_seeds() -> list[bytes]:
    """Returns MATLAB files, compressed and not."""
    from scipy.io import savemat

    made = []
    for compressed in (False, True):
        stream = io.BytesIO()
        savemat(stream, {"ff": np.ones((560, 3), np.uint8)}, do_compression=compressed)
        made.append(stream.getvalue())
    return made


VALUES_OF_FLAGS = (b"3", b"0.5", b"(1,2)", b"1e-3,2", b"True", b"None", b"vae", b"[0]=1", b"x.y=1")
TARGETS = {
    "idx": Target(parse_idx, (DataError,), [EDITED + IDX, RAW + gzip.compress(IDX)]),
    "cifar": Target(
        parse_cifar,
        (DataError,),
        [EDITED + piece(0, b"\1" * 3073) + piece(1, b"\2" * 3073), b"\2" + b"\0" * 1024],
    ),
    "amat": Target(parse_amat, (DataError,), [AMAT, b"1 2\n3", b"nan inf 1e5\n# x"]),
    "mat": Target(parse_mat, (DataError,), mat_seeds()),
    "own": Target(parse_own, (DataError,), npz_seeds(OWN)),
    "npz": Target(parse_npz, (ValueError,), npz_seeds(EMBEDDINGS)),
    "metrics": Target(parse_metrics, (ValueError,), json_seeds(METRICS)),
    "manifest": Target(parse_manifest, (RunFolderError,), json_seeds(MANIFEST)),
    "environment": Target(parse_environment, (RunFolderError,), json_seeds(ENVIRONMENT)),
    "config": Target(parse_config, (ConfigError,), json_seeds(CONFIG)),
    "epochs": Target(parse_epochs, (RunFolderError, workdir.RunError), line_seeds(EPOCHS)),
    "times": Target(parse_times, (RunFolderError,), line_seeds(TIMES)),
    "sweep": Target(parse_sweep, (RunFolderError,), line_seeds([ENTRY, ENTRY])),
    "argument": Target(parse_argument, (ConfigError,), [b"mvae,16", b"vae,2,paper", b",,,"]),
    "flags": Target(
        parse_flags,
        (ConfigError,),
        [piece(n, v) for n, v in itertools.product(range(len(FIELDS)), VALUES_OF_FLAGS)],
    ),
}
