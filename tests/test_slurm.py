"""Sweeps on a real SLURM of one node: arrays, a failing task, preemption, what is missing."""

import json
import re
import shlex
import subprocess
import sys
import time
from functools import partial

import pytest

from mvae_jax.store import json_file, status
from mvae_jax.sweep import grid, slurm
from tests import in_process, slurm_cluster
from tests.conftest import ROOT

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if reason := slurm_cluster.missing():
        pytest.skip(reason)
    with slurm_cluster.cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment | {"JAX_PLATFORMS": "cpu"}


def python(environment, *arguments):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def manifest(cluster, tiny, tmp_path):
    """Return a function: *flags -> the path of a sweep's manifest."""

    def manifest(*flags):
        flags = ("--dataset=digits", "--model=vae", "--num_seeds=1", *tiny, *flags)
        command = ("-m", "mvae_jax.sweep", f"--root={tmp_path}", "--manifest_only", *flags)
        returned, _, err = python(cluster, *command)
        assert returned == 0, err
        return tmp_path / "sweep.jsonl"

    return manifest


@pytest.fixture
def inside(monkeypatch, capsys):
    """Return a function: *arguments -> exit status and output of the command in this process."""
    return partial(in_process.call, slurm.main, monkeypatch, capsys)


def run_folder(root, name):
    return root / "tiny" / "release" / name


def wait_until(condition, seconds, explain):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.2)


def copying(line, finished):
    """Return the entry with a command that copies a finished run, with its latent size."""
    size = re.search(r"z(\d+)$", line["workdir"])[1]
    config = json_file.read_json(finished / "config.json") | {"latent_size": int(size)}
    changed = finished.parent / f"config-{size}.json"
    changed.write_text(json_file.dumps(config))
    folder = shlex.quote(line["command"][-1].removeprefix("--workdir="))
    script = f"mkdir -p $(dirname {folder}) && cp -r {finished} {folder}.new && "
    script += f"cp {changed} {folder}.new/config.json && mv {folder}.new {folder}"
    return line | {"command": ["sh", "-c", script, *line["command"][3:]]}


def test_arrays_a_failing_task_and_a_second_call(cluster, manifest, tiny, tmp_path):
    """Five runs in arrays of four; one cannot run, and is all that is submitted again."""
    finished = tmp_path / "finished"
    train = ("-m", "mvae_jax.main", "--config=configs/digits.py:vae,1", *tiny)
    flags = ("--config.num_seeds=1", "--config.num_epochs=2", f"--workdir={finished}")
    returned, _, err = python(cluster, *train, *flags)
    assert returned == 0, err

    path = manifest("--latent=1,2,3,4,5", "--config.num_epochs=2")
    good = [copying(json.loads(line), finished) for line in path.read_text().splitlines()]
    lines = [dict(line) for line in good]
    lines[1]["command"] = ["sh", "-c", "echo out of order; exit 1", *good[1]["command"][3:]]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    returned, out, _ = python(
        cluster, "-m", "mvae_jax.sweep.slurm", path, "--follow", "--partition=low"
    )
    assert returned == 1
    assert "5 runs: 5 submitted, 0 queued before" in out
    assert "4 of 5 runs are complete" in out
    assert f"{lines[1]['workdir']}: missing" in out
    scripts = [script.read_text() for script in sorted((tmp_path / "slurm").glob("*.sh"))]
    assert ["--array=0-3\n" in scripts[0], "--array=0-0\n" in scripts[1]] == [True, True]
    states = [status.of(tmp_path / line["workdir"]).state for line in lines]
    assert states == ["done", "waiting", "done", "done", "done"]
    logs = [log.read_text() for log in (tmp_path / "logs").glob("slurm-*_1.txt")]
    assert any("out of order" in log for log in logs)

    path.write_text("".join(json.dumps(line) + "\n" for line in good))
    returned, out, err = python(cluster, "-m", "mvae_jax.sweep.slurm", path, "--follow")
    assert "5 runs: 1 submitted, 0 queued before" in out
    assert returned == 0, err


def test_a_preempted_run_saves_is_queued_again_and_resumes(cluster, manifest, tmp_path):
    """A job of higher priority takes the node; the run ends with the epochs of one that was not."""
    epochs = 20_000  # half a minute, of which few checkpoints take none
    path = manifest("--latent=2", f"--config.num_epochs={epochs}", "--config.checkpoint_every=5000")
    options = ("--cpus_per_task=2", "--partition=low", "--time=1:00:00")
    _, out, err = python(cluster, "-m", "mvae_jax.sweep.slurm", path, *options)
    assert "1 runs: 1 submitted" in out, err
    _, out, err = python(cluster, "-m", "mvae_jax.sweep.slurm", path, *options)
    assert "1 runs: 0 submitted, 1 queued before" in out, err

    folder = run_folder(tmp_path, "vae-z2")

    def explain():
        logs = [p.read_text() for p in (tmp_path / "logs").glob("*.txt")]
        return "\n".join([*logs, slurm_cluster.call(["squeue"], cluster)])

    wait_until(lambda: status.of(folder).epoch > 20, 60, explain)
    sbatch = ["sbatch", "--partition=high", "--cpus-per-task=2", "--wrap=sleep 1"]
    slurm_cluster.call([*sbatch, "--output=/dev/null"], cluster)
    log = next((tmp_path / "logs").glob("slurm-*.txt"))
    wait_until(lambda: "the same command resumes there" in log.read_text(), 60, explain)
    assert list(folder.glob("checkpoints/*/*.json"))
    wait_until(lambda: status.of(folder).state == "done", 150, explain)
    lines = [x for path in folder.glob("logs/*") for x in path.read_text().splitlines()]
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, epochs + 1))
    starts = [json.loads(line) for line in (folder / "timing.jsonl").read_text().splitlines()]
    assert sum(line["event"] == "data" for line in starts) == 2


def test_a_cancelled_job_does_not_come_back(cluster, manifest, tmp_path):
    path = manifest("--latent=2", "--config.num_epochs=100000")
    python(cluster, "-m", "mvae_jax.sweep.slurm", path)
    folder = run_folder(tmp_path, "vae-z2")
    wait_until(lambda: status.of(folder).epoch > 5, 60, lambda: "it does not start")
    slurm_cluster.call(["scancel", "--user=root"], cluster)
    squeue = ["squeue", "--noheader"]
    wait_until(lambda: not slurm_cluster.call(squeue, cluster).strip(), 60, lambda: "it is queued")
    assert status.of(folder).state == "stopped"


def test_without_slurm_there_is_one_line(tmp_path, monkeypatch, inside):
    path = tmp_path / "sweep.jsonl"
    path.write_text("")
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "jobs.jsonl").write_text('{"job": "1", "workdirs": ["a"]}\n{"jo')
    monkeypatch.setenv("PATH", str(tmp_path))
    returned, _, err = inside(path)
    assert returned == 2
    assert err.startswith("error: squeue: not found")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--max_array_size=-1", "--max_array_size: got -1"),
        ("--at_once=0", "--at_once: got 0"),
    ],
)
def test_a_mistake_is_answered_at_once(tmp_path, inside, flag, message):
    (tmp_path / "sweep.jsonl").write_text("")
    returned, _, err = inside(tmp_path / "sweep.jsonl", flag)
    assert returned == 2
    assert message in err


def test_a_dry_run_writes_the_script_that_was_asked_for(tmp_path, inside):
    root = tmp_path / "100% mine"
    root.mkdir()
    command = ["python", "-c", "print('a b')"]
    (root / "sweep.jsonl").write_text(
        json.dumps(grid.PlannedRun("a", command, 1.0)._asdict()) + "\n"
    )
    flags = ("--partition=gpu", "--gpus=2", "--modules=cuda,gcc", "--cpus_per_task=3", "--dry_run")
    container = '--container=apptainer exec --bind "/my data" x.sif'
    returned, out, _ = inside(root / "sweep.jsonl", *flags, container)
    assert returned == 0
    assert "1 runs: 1 would be submitted" in out
    (script,) = (root / "slurm").glob("*.sh")
    text = script.read_text()
    for line in (
        "#SBATCH --partition=gpu",
        "#SBATCH --gpus=2",
        "module load cuda\nmodule load gcc",
    ):
        assert f"{line}\n" in text
    assert "--mem" not in text
    assert "100%% mine/logs" in text  # a % begins a pattern of sbatch's
    assert "--cpus-per-task=3" in text[text.index("srun") :]  # newer sruns do not inherit it
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    (commands,) = (root / "slurm").glob("*.txt")
    assert shlex.split(commands.read_text()) == [*shlex.split(container[12:]), *command]
