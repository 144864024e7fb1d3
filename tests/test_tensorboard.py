"""The training curves as TensorBoard event files, read back by TensorBoard's own reader."""

import json
import subprocess
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mvae_jax.report.tensorboard import EventFiles
from tests.conftest import ROOT

RUN = "digits/release/mvae-z2"


def log(root, epochs):
    """Logs so many epochs of two seeds; the second one's last ELBO is missing."""
    folder = root / RUN
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    lines = [
        {"replicate": f"seed_{seed}", "seed": seed, "split": "train", "epoch": epoch}
        | {"elbo": -100.5 + epoch + seed, "kl": None if (seed, epoch) == (8, epochs) else 3.0}
        for epoch in range(1, epochs + 1)
        for seed in (7, 8)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def curves(out, name):
    """Returns tag -> [(step, value), ...] as TensorBoard reads them."""
    read = EventAccumulator(str(out / RUN / name), size_guidance={"scalars": 0}).Reload()
    return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_each_replicates_curves_and_later_epochs_are_added(tmp_path):
    log(tmp_path / "runs", 2)
    events = EventFiles([tmp_path / "runs"], tmp_path / "out")
    events.update()
    assert curves(tmp_path / "out", "seed_7") == {
        "elbo": [(1, pytest.approx(-92.5)), (2, pytest.approx(-91.5))],
        "kl": [(1, 3.0), (2, 3.0)],
    }
    assert curves(tmp_path / "out", "seed_8")["kl"] == [(1, 3.0)]
    log(tmp_path / "runs", 4)
    events.update()
    events.update()
    assert [step for step, _ in curves(tmp_path / "out", "seed_7")["elbo"]] == [1, 2, 3, 4]


def test_two_roots_have_a_folder_each_and_no_name_leads_out_of_it(tmp_path):
    for name in ("a", "b"):
        log(tmp_path / name, 1)
    path = tmp_path / "b" / RUN / "metrics.jsonl"
    odd = '{"replicate": "../../esc", "epoch": 1, "elbo": 1.0}\n{"replicate": null, "epoch": "3"}\n'
    path.write_text(path.read_text() + odd)
    EventFiles([tmp_path / "a", tmp_path / "b"], tmp_path / "out").update()
    folders = {path.parent for path in tmp_path.rglob("events.out.*")}
    roots = [tmp_path / "out" / (tmp_path / name).relative_to("/") / RUN for name in ("a", "b")]
    assert {root / f"seed_{seed}" for root in roots for seed in (7, 8)} < folders
    assert len(folders) == 5
    assert all(folder.parent in roots for folder in folders)


def test_the_command_replaces_what_an_earlier_one_wrote(tmp_path):
    log(tmp_path / "runs", 2)
    for _ in range(2):
        command = ["-m", "mvae_jax.report", tmp_path / "runs", "--tensorboard", tmp_path / "out"]
        subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, check=True)
    assert [step for step, _ in curves(tmp_path / "out", "seed_7")["elbo"]] == [1, 2]
    assert not (tmp_path / "runs" / "report").exists()
