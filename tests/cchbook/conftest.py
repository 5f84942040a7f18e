"""A toy checkout for tests of the running of things."""

import pytest
from toy_checkout import Toy


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.setenv("CCH_ROOT", str(tmp_path))
    for name in ("CCH_BUILD_DIR", "CCH_RUN_DIR", "CCH_JOB", "CCH_DATA"):
        monkeypatch.delenv(name, raising=False)
    return Toy(tmp_path)
