"""Files that are read from anybody, and files that are written into anybody's folders."""

import json
import os
import re
import struct
import time
import zipfile

import numpy as np
import pytest

from mvae_jax.runs import workdir
from mvae_jax.store import files, json_file, names, npz, run_folder


def zipped(path, **members):
    """Writes members as they are to a zip file; returns its path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def npy(path, array):
    """Returns the bytes of an .npy file."""
    np.save(path, array)
    return path.with_suffix(".npy").read_bytes()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"1" * 5000, r"an integer is 1{20}\.\.\. \(5000 digits\); allowed: 64 bits"),
        (b"9223372036854775808", "an integer is 9223372036854775808"),
        (b'{"x": [' * 20 + b"]}" * 20, "nested too deeply; allowed: 32 levels"),
        (b"[" * 10**6, "nested too deeply"),
        (b"{", "Expecting"),
        (b'"\xff"', "decode"),
    ],
)
def test_json_is_bounded(data, said):
    with pytest.raises(ValueError, match=said):
        json_file.loads(data)


def test_json_may_be_as_deep_as_the_limit_and_every_text_can_be_written():
    assert json_file.loads(b"[" * 32 + b"]" * 32)
    found = json_file.loads(
        rb'{"\ud800": "\udfff\u00e9\ud83d\ude00", "x": "\\ud800", "y": "/\udcff"}'
    )
    assert found == {"?": "?é😀", "x": "\\ud800", "y": "/\udcff"}


@pytest.mark.parametrize(
    "name",
    [
        *("..", "seed_", "seed_1/x", "seed_1__", "seed_1__a", "seed_1__a=", "seed_1__../x=1"),
        *("seed_1\n", "seed_1__a=1/../..", f"seed_1__a={'1' * 300}", "seed_" + "1" * 400, "seed_²"),
    ],
)
def test_what_is_no_replicates_name(name):
    with pytest.raises(ValueError, match=re.escape("allowed: seed_<n> or seed_<n>__<field>=")):
        names.seed_of(name)


def test_replicates_names():
    assert names.seed_of("seed_777") == 777
    assert names.seed_of("seed_01__learning_rate=3e-05__likelihood_variance=0.1") == 1


@pytest.mark.parametrize("path", ["", "..", "a/../../b", "/a", "a\0b", "a/..", "a\nb", "\ud800"])
def test_what_is_no_path_below_a_folder(path):
    with pytest.raises(ValueError, match="allowed: one below the folder"):
        names.check_below(path)
    assert names.check_below("digits/release/mvae-z4") == "digits/release/mvae-z4"


def test_an_array_of_a_run_folder_that_claims_too_much_is_refused_before_it_is_read(tmp_path):
    member = npy(tmp_path / "x", np.zeros(10**6))
    path = zipped(tmp_path / "x.npz", mu_test=member)
    with pytest.raises(ValueError, match=r"8,000,128 bytes of arrays; allowed: at most 1,000"):
        npz.read(path, most=1000)
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"mu_test: got claims 4,294,967,294 bytes; allowed: what"):
        npz.read(path)


def test_a_file_is_written_beside_no_link_and_keeps_its_mode(tmp_path):
    target = tmp_path / "victim"
    target.write_text("precious")
    path = tmp_path / "metrics.json"
    path.write_text("old")
    path.chmod(0o640)
    for name in (".metrics.json.tmp", f".metrics.json.{os.getpid()}.tmp"):
        (tmp_path / name).symlink_to(target)
    files.write_text(path, "new")
    assert (path.read_text(), target.read_text()) == ("new", "precious")
    assert path.stat().st_mode & 0o777 == 0o640
    path.unlink()
    path.symlink_to(target)
    files.write_text(path, "newer")
    assert (path.read_text(), target.read_text()) == ("newer", "precious")
    assert not path.is_symlink()


def test_what_a_killed_writer_left_goes_with_the_next_write_but_no_others_file(tmp_path):
    path = tmp_path / "metrics[1].json"
    left, beside = (tmp_path / f".{path.name}.{n}-0.tmp" for n in (1, 2))
    for temporary in (left, beside):
        temporary.touch()
    then = time.time() - 2 * files.STALE_SECONDS
    os.utime(left, (then, then))
    files.write_text(path, "x")
    assert sorted(tmp_path.iterdir()) == [beside, path]


def test_a_failed_write_leaves_the_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")

    def fail(file):
        file.write(b"half")
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        files.write_bytes(path, fail)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path, kind in ((tmp_path / "fifo", "a FIFO"), (tmp_path, "a folder")):
        with pytest.raises(OSError, match=f"is {kind}, not a regular file"):
            files.open_binary(path)
    with pytest.raises(OSError, match="is a device"):
        files.sha256(tmp_path.joinpath("/dev/zero"))


@pytest.mark.parametrize("of", [lambda run: run.lock, lambda run: run.times])
def test_links_in_a_foreign_folder_are_not_written_through(tmp_path, of):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    run = workdir.Workdir(tmp_path / "run")
    run.path.mkdir()
    of(run).symlink_to(victim)
    with (
        pytest.raises(OSError, match="is a link, and is not followed; remove it"),
        workdir.lock(run),
    ):
        workdir.log_time(run, "epoch", 1.0)
    assert victim.read_text() == "precious"


def test_nulls_of_a_record_are_absent(tmp_path):
    record = dict.fromkeys(("epoch", "failed", "swept", "origins"))
    manifest = {"replicates": {"seed_1": {"seed": 1, **record}}, "sha256": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert run_folder.read_manifest(tmp_path)["replicates"] == {"seed_1": {"seed": 1}}
