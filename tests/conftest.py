"""What all tests share."""

from pathlib import Path

import published_files
import pytest

# Real copies of the public data sets; without them tests say so and run on generated files.
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """The published files, real or generated."""
    return published_files.build(tmp_path_factory.mktemp("published"), SHARED_DATA)


@pytest.fixture
def server(published, monkeypatch, tmp_path):
    """A server of the published files that the package downloads from, and an empty cache."""
    monkeypatch.setenv("MVAE_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MVAE_JAX_DATA_DIR", raising=False)
    with published_files.serving(published, monkeypatch) as server:
        yield server


@pytest.fixture
def ready(published, server, monkeypatch, tmp_path_factory):
    """Every data set loads: from the published files, into a cache that all tests share."""
    monkeypatch.setenv("MVAE_JAX_CACHE", str(tmp_path_factory.getbasetemp() / "shared_cache"))
    monkeypatch.setenv("MVAE_JAX_DATA_DIR", str(published.folder))
