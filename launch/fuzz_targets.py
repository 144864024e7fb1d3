"""What `fuzz.py` fuzzes: for each parser a function of bytes, what it may raise, and seeds."""

import contextlib
import gzip
import io
import itertools
import json
import shutil
import tarfile
from collections.abc import Callable
from typing import NamedTuple

import fuzz_inputs as inputs
from absl import flags
from fuzz_inputs import EDITED, RAW, RUN, SCRATCH

from mvae_jax import command_line, resume
from mvae_jax import config as config_lib
from mvae_jax.config import ConfigError
from mvae_jax.datasets import DataError, cifar, frey_face, icml2007, load, mnist
from mvae_jax.evaluate import embeddings
from mvae_jax.evaluate.embeddings import FormatError
from mvae_jax.report import cells
from mvae_jax.report.figures import scores as curves
from mvae_jax.runs import workdir
from mvae_jax.store import (
    config_file,
    json_file,
    metrics_file,
    npz,
    pictures_file,
    run_folder,
    status,
)
from mvae_jax.store.run_folder import RunFolderError
from mvae_jax.sweep import grid, watch


class Target(NamedTuple):
    """A parser; `allowed`: what it may raise."""

    parse: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...]
    seeds: list[bytes]

    def run(self, data: bytes) -> None:
        """Parse one input."""
        with contextlib.suppress(*self.allowed):
            self.parse(data)


def read_everywhere() -> None:
    """Read the run as each command that looks at it does; its errors are ValueErrors."""
    status.of(RUN)
    for cell, run, _ in cells.read_run(RUN):
        cells.likelihood(run.config)
        curves.read_curves(run)
        assert cell.latent_size


def parse_idx(data: bytes) -> None:
    """Read an idx file, compressed here or by the fuzzer."""
    content = gzip.compress(data[1:], 1) if data[:1] == EDITED else data[1:]
    mnist.read_idx(inputs.write("x.gz", content))


def parse_cifar(data: bytes) -> None:
    """Read members of a .tar.gz archive, then the records in them."""
    content = data[1:]
    if data[:1] == EDITED:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as made:
            for number, member in inputs.pieces(content):
                info = tarfile.TarInfo(("a.bin", "b.bin", "../c.bin")[number % 3])
                info.size = len(member)
                made.addfile(info, io.BytesIO(member))
        content = stream.getvalue()
    elif data[:1] == b"\2":
        content = gzip.compress(content, 1)
    cifar.read_records(cifar.read_members(inputs.write("x.tar.gz", content), ["a.bin", "b.bin"]), 1)


def parse_amat(data: bytes) -> None:
    """Read a table of two images."""
    table = icml2007.read_amat(io.BytesIO(data), "x.amat", 2)
    icml2007.quantise(table[:, :-1])


def parse_mat(data: bytes) -> None:
    """Read a MATLAB file."""
    frey_face.read_mat(inputs.write("x.mat", data))


def parse_own(data: bytes) -> None:
    """Read a user's own data, and split it by both protocols."""
    names = (
        "images.npy",
        "labels.npy",
        "index_train.npy",
        "index_test",
        "index_valid.npy",
        "images",
    )
    path = str(inputs.write("x.npz", inputs.archive(data, names)))
    for protocol in ("release", "paper"):
        load(path, protocol)


def parse_npz(data: bytes) -> None:
    """Read the .npz files of a run folder."""
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
    content = inputs.archive(data, (*names, "reconstruction_sampled"))
    path = inputs.write("embeddings/seed_1.npz", content)
    inputs.write("model/seed_1.npz", content)
    try:
        embeddings.read(SCRATCH, "seed_1", {"latent_size": 2})
    except FormatError:
        npz.read(path)
    pictures_file.read(path)


def parse_metrics(data: bytes) -> None:
    """Read a metrics.json."""
    inputs.write_run("metrics.json", inputs.edited_json(data, inputs.METRICS))
    metrics_file.read(RUN / "metrics.json")
    read_everywhere()


def parse_manifest(data: bytes) -> None:
    """Read a manifest.json."""
    inputs.write_run("manifest.json", inputs.edited_json(data, inputs.MANIFEST))
    run_folder.read_manifest(RUN)
    read_everywhere()


def parse_done(data: bytes) -> None:
    """Read a done/<replicate>.json; an edited one has the SHA-256 of its text."""
    content = inputs.edited_json(data, inputs.DONE)
    if data[:1] == EDITED and isinstance(json.loads(content), dict):
        content = json_file.dumps(json.loads(content)).encode()
    inputs.write_run("done/seed_777.json", content)
    try:
        run_folder.read_manifest(RUN)
        status.of(RUN)
        for _, run, _ in cells.read_run(RUN):
            curves.read_curves(run)
    finally:
        shutil.rmtree(RUN / "done")  # which makes the run one of this package


def parse_environment(data: bytes) -> None:
    """Read an environment.json."""
    inputs.write_run("environment.json", inputs.edited_json(data, inputs.ENVIRONMENT))
    read_everywhere()


def parse_config(data: bytes) -> None:
    """Read a config.json as a report does, and as a resume does."""
    inputs.write_run("config.json", inputs.edited_json(data, inputs.CONFIG))
    with contextlib.suppress(RunFolderError):
        read_everywhere()
    stored = config_file.read(RUN / "config.json")
    resume.settle(config_lib.validate(config_lib.base_config("digits", "mvae,4")), stored)


def parse_epochs(data: bytes) -> None:
    """Read a seed's log."""
    inputs.write_run("logs/seed_777.jsonl", inputs.lines(data, inputs.EPOCHS))
    read_everywhere()


def parse_times(data: bytes) -> None:
    """Read a timing.jsonl."""
    inputs.write_run("timing.jsonl", inputs.lines(data, inputs.TIMES))
    status.time_summary(RUN)
    read_everywhere()


def parse_sweep(data: bytes) -> None:
    """Read a sweep.jsonl."""
    path = inputs.write(
        "root/sweep.jsonl", inputs.lines(data, [inputs.ENTRY, inputs.ENTRY | {"workdir": "run"}])
    )
    watch.picture(list(watch.look([path.parent])))
    assert all(SCRATCH / "root" in folder.parents for folder in run_folder.read_sweep(path.parent))
    grid.read(path)


def parse_argument(data: bytes) -> None:
    """Read the part of --config behind the colon."""
    config = config_lib.base_config("digits", data.decode(errors="surrogateescape"))
    config_lib.default_workdir(config_lib.validate(config))


FIELDS = [f for f in inputs.CONFIG if f != "sweep"] + [f"sweep.{f}" for f in config_lib.SWEPT]


def parse_flags(data: bytes) -> None:
    """Read one or two fields of the command line."""
    argv = ["main", "--config=configs/digits.py:mvae,2"]
    for number, content in inputs.pieces(data):
        value = content.decode(errors="surrogateescape")
        name = FIELDS[number % len(FIELDS)]
        argv.append(f"--config.{name}={value}" if number < 128 else f"--config.{value}")
    values = flags.FlagValues()
    command_line.define_config(values, argv)
    command_line.parse(argv, values)


VALUES_OF_FLAGS = (b"3", b"0.5", b"(1,2)", b"1e-3,2", b"True", b"None", b"vae", b"[0]=1", b"x.y=1")
TARGETS = {
    "idx": Target(parse_idx, (DataError,), [EDITED + inputs.IDX, RAW + gzip.compress(inputs.IDX)]),
    "cifar": Target(
        parse_cifar,
        (DataError,),
        [
            EDITED + inputs.piece(0, b"\1" * 3073) + inputs.piece(1, b"\2" * 3073),
            b"\2" + b"\0" * 1024,
        ],
    ),
    "amat": Target(parse_amat, (DataError,), [inputs.AMAT, b"1 2\n3", b"nan inf 1e5\n# x"]),
    "mat": Target(parse_mat, (DataError,), inputs.mat_seeds()),
    "own": Target(parse_own, (DataError,), inputs.npz_seeds(inputs.OWN)),
    "npz": Target(parse_npz, (ValueError,), inputs.npz_seeds(inputs.EMBEDDINGS)),
    "metrics": Target(parse_metrics, (ValueError,), inputs.json_seeds(inputs.METRICS)),
    "manifest": Target(parse_manifest, (RunFolderError,), inputs.json_seeds(inputs.MANIFEST)),
    "done": Target(parse_done, (RunFolderError,), inputs.json_seeds(inputs.DONE)),
    "environment": Target(
        parse_environment, (RunFolderError,), inputs.json_seeds(inputs.ENVIRONMENT)
    ),
    "config": Target(parse_config, (ConfigError,), inputs.json_seeds(inputs.CONFIG)),
    "epochs": Target(
        parse_epochs, (RunFolderError, workdir.RunError), inputs.line_seeds(inputs.EPOCHS)
    ),
    "times": Target(parse_times, (RunFolderError,), inputs.line_seeds(inputs.TIMES)),
    "sweep": Target(
        parse_sweep, (RunFolderError,), inputs.line_seeds([inputs.ENTRY, inputs.ENTRY])
    ),
    "argument": Target(parse_argument, (ConfigError,), [b"mvae,16", b"vae,2,paper", b",,,"]),
    "flags": Target(
        parse_flags,
        (ConfigError,),
        [inputs.piece(n, v) for n, v in itertools.product(range(len(FIELDS)), VALUES_OF_FLAGS)],
    ),
}
