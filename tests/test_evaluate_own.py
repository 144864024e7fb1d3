"""Metrics of a user's own: computed beside the package's, kept, and described in metrics.json."""

import json

import numpy as np
import pytest

from mvae_jax.evaluate import Absent, Metric, metrics, own
from mvae_jax.evaluate.metrics import METRICS
from mvae_jax.evaluate.scoring import score
from mvae_jax.store import files, metrics_file
from tests.evaluated_runs import CONFIG, NUM_TEST, arrays, entries, reasons, values

pytestmark = pytest.mark.usefixtures("one_thread")

RADIUS = Metric(
    *("radius", "mean radius", "of mu", 3, -1),
    lambda found: np.linalg.norm(found.mu["test"], axis=1).mean(),
)


def test_it_is_computed_of_the_embeddings_and_described(run, calls):
    before = entries(run)
    assert score(run, jobs=1, own=[RADIUS])
    assert calls == ["seed_0", "seed_1"]
    content = metrics_file.read(run / "metrics.json")
    for seed, entry in enumerate(entries(run).values()):
        mu = arrays(seed)["mu_test"]
        *others, row = entry["values"]
        assert others == before[f"seed_{seed}"]["values"]
        assert row["value"] == pytest.approx(np.mean(np.sqrt((mu**2).sum(axis=1))))
        assert (row["split"], row["n"], row["settings"]) == ("test", NUM_TEST, [])
    found = metrics.described(content)["radius"]
    assert found == RADIUS._replace(compute=None)
    assert found.label == "mean radius (of mu) ↓"


def test_it_is_kept_without_the_flag_and_computed_again_with_it(run, calls):
    assert score(run, jobs=1, own=[RADIUS])
    before = (run / "metrics.json").read_bytes()
    calls.clear()
    assert score(run, jobs=1)
    assert (calls, (run / "metrics.json").read_bytes()) == ([], before)
    files.write_text(run / "config.json", json.dumps(CONFIG | {"batch_size": 7}))
    assert score(run, jobs=1)
    assert values(entries(run)["seed_0"])["radius"] > 0
    assert metrics.described(metrics_file.read(run / "metrics.json")).keys() == {"radius"}
    calls.clear()
    assert score(run, jobs=1, own=[RADIUS._replace(compute=lambda found: found.seed, better=1)])
    assert calls == ["seed_0", "seed_1"]
    assert values(entries(run)["seed_1"])["radius"] == 1
    assert metrics.described(metrics_file.read(run / "metrics.json"))["radius"].better == 1


def fails(error):
    def compute(_found):
        raise error

    return compute


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (fails(KeyError("x")), "could not be computed: KeyError: 'x'"),
        (fails(Absent("no such thing here")), "no such thing here"),
        (lambda _: float("nan"), "the value is nan"),
        (lambda _: "text", "could not be computed: could not convert string to float: 'text'"),
        (lambda found: found.mu["test"], "could not be computed: TypeError: only"),
    ],
)
def test_one_that_gives_no_number_is_absent_with_the_reason(run, compute, reason):
    assert score(run, jobs=1, own=[RADIUS._replace(compute=compute)])
    entry = entries(run)["seed_0"]
    assert reasons(entry)["radius"].startswith(reason)
    assert len(values(entry)) == len(METRICS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "mean radius"}, "its name is 'mean radius'; write an identifier"),
        ({"name": "nmi"}, "its name is 'nmi', which this package has"),
        ({"better": 2}, "better is 2, not 1, 0 or -1"),
        ({"decimals": 99}, "decimals is 99, not from 0 to 17"),
        ({"title": "a\nb"}, "not a line of up to 80"),
        ({"unit": 3}, "'unit' is 3; write str"),
        ({"compute": None}, "its compute is None"),
        ({"split": "valid"}, "its split is 'valid'"),
        ({"settings": ("probe",)}, "it names settings"),
    ],
)
def test_one_that_cannot_be_shown_is_refused_before_anything_is_computed(run, changed, message):
    with pytest.raises(ValueError, match=message):
        score(run, jobs=1, own=[RADIUS._replace(**changed)])


def test_the_file_refuses_what_the_report_cannot_show(run):
    assert score(run, jobs=1, own=[RADIUS])
    content = metrics_file.read(run / "metrics.json")
    for changed in ({"decimals": 10**9}, {"better": "up"}, {"title": "x" * 81}, {"more": 1}):
        shown = content["described"]["radius"] | changed
        with pytest.raises(metrics_file.MetricsError, match=r"described\.'radius'"):
            metrics_file.check(content | {"described": {"radius": shown}})


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A user's module `theirs` of two metrics in the current folder."""
    text = "from mvae_jax.evaluate import Metric\n"
    for name in ("one", "two"):
        text += f"{name} = Metric('{name}', 'title', compute=lambda found: 1)\n"
    (tmp_path / "theirs.py").write_text(text + "three = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("module")
def test_paths_are_comma_separated_or_repeated():
    found = own.load(["theirs.one,theirs.two", "theirs.one"])
    assert [metric.name for metric in found] == ["one", "two"]
    assert own.load([]) == []


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("one", "got 'one', which does not import"),
        ("nowhere.one", "No module named 'nowhere'"),
        ("theirs.four", "has no attribute 'four'"),
        ("theirs.three", r"got 'theirs\.three', but it is of type int, not mvae_jax\.evaluate"),
    ],
)
def test_a_path_that_leads_to_no_metric_is_one_clear_line(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        own.load([path])
    assert str(caught.value).startswith("--metric: got")
    assert "\n" not in str(caught.value)
