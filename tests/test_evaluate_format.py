"""The format of metrics.json: what is written, what is refused, and how to repair it."""

import json

import pytest

from mvae_jax.evaluate.scoring import score
from mvae_jax.store import json_file, metrics_file
from tests.evaluated_runs import entries

pytestmark = pytest.mark.usefixtures("one_thread")


def test_text_has_a_line_per_value(scored):
    text = (scored / "metrics.json").read_text()
    row = entries(scored)["seed_0"]["values"][0]
    assert f"    {json.dumps(row)},\n" in text


@pytest.mark.parametrize(("reason", "kept"), [("out of memory: 9 GiB", True), ("one class", False)])
def test_what_the_memory_does_not_suffice_for_keeps_its_score(reason, kept):
    row = {"metric": "nmi", "value": 0.5}
    older = {"sha256": "a", "values": [row], "absent": []}
    newer = {"sha256": "a", "values": [], "absent": [{"metric": "nmi", "reason": reason}]}
    metrics_file.carry(older, newer)
    assert newer["values"] == ([row] if kept else [])


def test_an_edited_metrics_file_is_refused_until_its_digest_goes(run, capsys):
    path = run / "metrics.json"
    content = json.loads(path.read_text())
    content["replicates"][0]["values"][0]["value"] = 7.0
    path.write_text(json.dumps(content))
    assert not score(run, jobs=1)
    assert "remove its last field, file_sha256" in capsys.readouterr().err
    del content[json_file.FIELD]
    path.write_text(json.dumps(content))
    assert score(run, jobs=1)
    assert entries(run)["seed_0"]["values"][0]["value"] == 7.0


def test_an_unreadable_metrics_file_is_moved_aside(run, capsys):
    (run / "metrics.json").write_text("{")
    assert score([run], jobs=1)
    assert (run / "metrics.json.old-1").read_text() == "{"
    assert "moved to" in capsys.readouterr().err


def edited(content, edit):
    content = json.loads(json.dumps(content))
    edit(content)
    return content


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(version=2), "version is 2, not 1"),
        (lambda c: c.pop("latent_size"), "'latent_size' is missing; write int"),
        (lambda c: c["replicates"].append({}), r"replicates\[2\]: 'replicate' is missing"),
        (lambda c: c["replicates"].append(c["replicates"][0]), "seed_0 2 times"),
        (lambda c: c["replicates"][1].pop("seed"), r"replicates\[1\]: 'seed' is missing"),
        (lambda c: c["replicates"][1].pop("values"), r"replicates\[1\]: 'values' is missing"),
        (
            lambda c: c["replicates"][0]["values"][3].update(value=float("nan")),
            r"values\[3\].value",
        ),
        (
            lambda c: c["replicates"][0]["values"][3].update(value="3"),
            r"value' is '3'; write float",
        ),
        (lambda c: c["replicates"][0]["values"][3].update(metric="kl"), "metric has kl 2 times"),
        (lambda c: c["replicates"][0]["values"][0].pop("n"), r"values\[0\].n' is missing"),
        (lambda c: c["replicates"][0]["values"][0].update(settings=["x"]), r"settings \['x'\]"),
        (lambda c: c["replicates"][0]["values"][0].update(seed=9), "of seed 9"),
        (lambda c: c["replicates"][0]["curves"]["reliability"].pop("split"), "curves.reliability"),
    ],
)
def test_reading_checks_the_format(run, edit, message):
    path = run / "metrics.json"
    path.write_text(json.dumps(edited(metrics_file.read(path), edit)))
    with pytest.raises(metrics_file.MetricsError, match=message) as caught:
        metrics_file.read(path)
    assert str(path) in str(caught.value)
    assert "run python -m mvae_jax.evaluate" in str(caught.value)


def test_a_missing_metrics_file_says_the_way_out(tmp_path):
    with pytest.raises(metrics_file.MetricsError, match=r"run python -m mvae_jax\.evaluate"):
        metrics_file.read(tmp_path / "metrics.json")
