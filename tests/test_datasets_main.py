"""`python -m mvae_jax.datasets`: the list, --prepare and --samples; and the nine configurations."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mvae_jax import config
from mvae_jax.datasets import DataError, files, load
from mvae_jax.datasets import samples as samples_lib
from mvae_jax.datasets.__main__ import main
from mvae_jax.datasets.catalogue import CATALOGUE
from mvae_jax.datasets.files import File

CONFIGS = Path(config.__file__).parents[1] / "configs"


def rows(capsys):
    """Returns the printed table's rows as lists of words, by data set and source."""
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    return {(words[0], words[1]): words for words in lines if words[0] in CATALOGUE}


def test_the_list_shows_every_data_set_and_source(server, capsys):
    assert main([]) == 0
    table = rows(capsys)
    expected = {(name, source or "-") for name in CATALOGUE for source in CATALOGUE[name].sources}
    assert set(table) == expected
    for (name, _), words in table.items():
        assert words[2:9] == " x ".join(map(str, CATALOGUE[name].shape)).split()
        assert words[-1] == ("in" if name == "digits" else "no")
    assert server.requests == []


def test_prepare_fetches_one_and_the_list_shows_it(server, capsys):
    assert main(["--prepare=frey_face"]) == 0
    assert capsys.readouterr().out == "frey_face: 1,965 images are ready\n"
    assert len(server.requests) == 1
    assert main([]) == 0
    table = rows(capsys)
    assert [key for key, words in table.items() if words[-1] == "yes"] == [("frey_face", "-")]
    load("frey_face")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "arguments", [["--prepare=mnist"], ["--samples=x.npy"], ["--source=other"], ["x"], ["--pre=x"]]
)
def test_a_mistake_exits_2_and_names_what_is_allowed(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "error: " in capsys.readouterr().err.splitlines()[-1]


def test_what_cannot_be_had_exits_1_with_one_line(server, capsys, monkeypatch):
    file = File("https://host.invalid/cifar-10-binary.tar.gz", "0" * 64)
    monkeypatch.setattr(files, "registered", lambda name: {file.name: file})
    assert main(["--prepare=cifar10"]) == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert "no connection" in line
    assert "DIR/cifar10/cifar-10-binary.tar.gz" in line
    assert main(["--prepare=cifar10", "--prepare=digits"]) == 1  # the others are fetched
    assert "digits: 1,797 images are ready" in capsys.readouterr().out


def test_samples_are_the_first_image_of_each_class(ready, tmp_path, capsys):
    path = tmp_path / "samples.npz"
    assert main([f"--samples={path}"]) == 0
    assert capsys.readouterr().out == f"{path}: 9 of 9 data sets\n"
    with np.load(path, allow_pickle=False) as samples:
        assert samples["names"].tolist() == list(CATALOGUE)
        for name, entry in CATALOGUE.items():
            data = load(name)
            index = samples[f"index_{name}"]
            assert samples[f"images_{name}"].shape == (10, *entry.shape[1:])
            np.testing.assert_array_equal(samples[f"images_{name}"], data.images[index])
            assert str(samples[f"source_{name}"]) == next(iter(entry.sources))
            if name == "frey_face":
                assert f"label_{name}" not in samples
                assert (index[0], index[-1]) == (0, 1964)
            else:
                assert samples[f"label_{name}"].tolist() == list(range(10))
                for label, position in enumerate(index):
                    assert label not in data.labels[:position]


def test_samples_without_some_data_sets_hold_the_others_and_exit_1(
    server, tmp_path, monkeypatch, capsys
):
    for name in set(CATALOGUE) - {"digits", "cifar10", "frey_face"}:
        monkeypatch.delitem(CATALOGUE, name)
    file = File("https://host.invalid/cifar-10-binary.tar.gz", "0" * 64)
    monkeypatch.setattr(files, "registered", lambda name: {file.name: file})
    path = tmp_path / "samples.npz"
    assert main([f"--samples={path}"]) == 1
    captured = capsys.readouterr()
    assert captured.out == f"{path}: 2 of 3 data sets\n"
    assert captured.err.count("error: ") == 1
    with np.load(path, allow_pickle=False) as samples:
        assert samples["names"].tolist() == ["digits", "frey_face"]
        assert "images_cifar10" not in samples


def test_samples_that_cannot_be_had_now_are_kept(ready, monkeypatch, tmp_path, capsys):
    path = tmp_path / "samples.npz"
    assert main([f"--samples={path}"]) == 0
    with np.load(path) as samples:
        before = dict(samples)
    load = samples_lib.load

    def fails(name, **flags):
        if name == "cifar10":
            raise DataError("cifar10: no connection")
        return load(name, **flags)

    monkeypatch.setattr(samples_lib, "load", fails)
    assert main([f"--samples={path}"]) == 0
    with np.load(path) as samples:
        assert samples.keys() == before.keys()
        assert all(np.array_equal(samples[name], before[name]) for name in before)


@pytest.mark.parametrize("content", [b"no npz", None])
def test_samples_do_not_overwrite_another_file(tmp_path, capsys, content):
    path = tmp_path / "mine.npz"
    if content is None:
        np.savez(path, images=np.zeros(3))
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    assert main([f"--samples={path}"]) == 1
    assert "choose another name" in capsys.readouterr().err
    assert path.read_bytes() == before


# --- the configurations ------------------------------------------------------------------------


def get_config(path, argument):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.__doc__, module.get_config(argument)


def test_every_data_set_has_a_configuration():
    assert {path.stem for path in CONFIGS.glob("*.py")} == set(CATALOGUE)


@pytest.mark.parametrize("protocol", ["release", "paper"])
@pytest.mark.parametrize("name", CATALOGUE)
def test_a_configuration_is_valid_and_opens_with_its_command(name, protocol):
    doc, settings = get_config(CONFIGS / f"{name}.py", f"mvae,16,{protocol}")
    config.validate(settings)
    assert f"python -m mvae_jax.main --config=configs/{name}.py:mvae," in doc
    assert (settings.dataset, settings.protocol) == (name, protocol)
    assert settings.source == next(iter(CATALOGUE[name].sources))
    is_gaussian = protocol == "paper" and name in ("cifar10", "cifar100", "frey_face")
    assert settings.likelihood == ("gaussian" if is_gaussian else "bernoulli")
    if is_gaussian:
        assert settings.likelihood_variance == 0.1
