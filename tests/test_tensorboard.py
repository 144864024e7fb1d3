"""The training curves as TensorBoard event files, read back by TensorBoard's own reader."""

import json
import subprocess
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mvae_jax.report import tensorboard
from tests.conftest import ROOT

RUN = "digits/release/mvae-z2"


def log(root, epochs):
    """Logs so many epochs of two seeds; the second one's last ELBO is missing."""
    folder = root / RUN
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "logs").mkdir(exist_ok=True)
    for seed in (7, 8):
        lines = [
            {"replicate": f"seed_{seed}", "seed": seed, "split": "train", "epoch": epoch}
            | {"elbo": -100.5 + epoch + seed, "kl": None if (seed, epoch) == (8, epochs) else 3.0}
            for epoch in range(1, epochs + 1)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "logs" / f"seed_{seed}.jsonl").write_text(text)


def curves(out, name):
    """Returns tag -> [(step, value), ...] as TensorBoard reads them."""
    read = EventAccumulator(str(out / RUN / name), size_guidance={"scalars": 0}).Reload()
    return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_each_replicates_curves(tmp_path):
    log(tmp_path / "runs", 2)
    tensorboard.write([tmp_path / "runs"], tmp_path / "out")
    assert curves(tmp_path / "out", "seed_7") == {
        "elbo": [(1, pytest.approx(-92.5)), (2, pytest.approx(-91.5))],
        "kl": [(1, 3.0), (2, 3.0)],
    }
    assert curves(tmp_path / "out", "seed_8")["kl"] == [(1, 3.0)]


def test_one_root_may_be_a_string(tmp_path):
    log(tmp_path / "runs", 1)
    tensorboard.write(str(tmp_path / "runs"), str(tmp_path / "out"))
    assert curves(tmp_path / "out", "seed_7")["kl"] == [(1, 3.0)]


def test_two_roots_have_a_folder_each(tmp_path):
    for name in ("a", "b"):
        log(tmp_path / name, 1)
    tensorboard.write([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    folders = {path.parent for path in tmp_path.rglob("events.out.*")}
    roots = [tmp_path / "out" / (tmp_path / name).relative_to("/") / RUN for name in ("a", "b")]
    assert folders == {root / f"seed_{seed}" for root in roots for seed in (7, 8)}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("epoch", "1e26", "'epoch' is 1e+26; write int there"),
        ("epoch", "1" * 400, "an integer is 11111111111111111111... (400 digits)"),
        ("kl", "1" * 5000, "an integer is 11111111111111111111... (5000 digits)"),
        ("kl", "[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("kl", "[" * 500 + "]" * 500, "nested too deeply"),
    ],
)
def test_a_hostile_log_is_one_problem_and_costs_no_other(tmp_path, field, value, said):
    for root in ("a/b", "good"):
        log(tmp_path / "runs" / root, 1)
    log_file = tmp_path / "runs/a/b" / RUN / "logs/seed_7.jsonl"
    line = {"epoch": "1", "elbo": "1.0"} | {field: value}
    text = ", ".join(f'"{key}": {text}' for key, text in line.items())
    log_file.write_text(log_file.read_text() + f"{{{text}}}\n")
    problems = tensorboard.write([tmp_path / "runs"], tmp_path / "out")
    found = {path.parent for path in tmp_path.rglob("events.out.*")}
    good = [tmp_path / "out" / root / RUN for root in ("a/b", "good")]
    assert found == {good[0] / "seed_8", good[1] / "seed_7", good[1] / "seed_8"}
    (problem,) = problems
    assert problem.where == str(log_file.parents[1])
    assert said in problem.reason


def test_a_log_of_another_name_is_a_problem_and_leads_nowhere(tmp_path):
    log(tmp_path / "runs", 1)
    logs = tmp_path / "runs" / RUN / "logs"
    (logs / "seed_7.jsonl").rename(logs / "...jsonl")
    (logs / "seed_8.jsonl").rename(logs / "x.jsonl")
    problems = tensorboard.write([tmp_path / "runs"], tmp_path / "out")
    assert "replicate: got 'x'; allowed: seed_<n>" in problems[0].reason
    assert not list(tmp_path.rglob("events.out.*"))


def test_the_command_replaces_what_an_earlier_one_wrote(tmp_path):
    log(tmp_path / "runs", 2)
    for _ in range(2):
        command = ["-m", "mvae_jax.report", tmp_path / "runs", "--tensorboard", tmp_path / "out"]
        subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, check=True)
    assert [step for step, _ in curves(tmp_path / "out", "seed_7")["elbo"]] == [1, 2]
    assert not (tmp_path / "runs" / "report").exists()
