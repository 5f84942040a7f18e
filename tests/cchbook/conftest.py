"""A toy checkout for tests of the running of things."""

import pytest
from toy_checkout import Toy, close_pools, shared

from cchbook.runs import batch


@pytest.fixture(scope="session", autouse=True)
def no_worker_outlives_the_tests():
    yield
    close_pools()


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.setenv("CCH_ROOT", str(tmp_path))
    for name in ("CCH_BUILD_DIR", "CCH_RUN_DIR", "CCH_JOB", "CCH_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(batch, "local", shared)
    return Toy(tmp_path)


@pytest.fixture
def inside():
    """A worker that is a thread of this process, whose memory it sees."""
    from distributed import Client

    with Client(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as client:
        yield lambda *args, **kwargs: [
            *batch.Batch(*args, **kwargs).run(batch.Pool("this process", client, 1))
        ]
