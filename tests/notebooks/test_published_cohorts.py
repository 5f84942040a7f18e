"""The chapters on cancer run on the paper's own cohorts by one command.

Here on small files in the formats of UCSC Xena: what the command needs on a machine
with a network is `cch data fetch tcga_brca`, and nothing of the project is edited.
"""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from xena_files import write_all

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("notebook", "cohorts"),
    [
        ("05_cancer", ["tcga_brca"]),  # Table 5; Table 6 with tcga_kipan
        ("06_fusion", ["tcga_kipan"]),  # Table 8; Table 20 with the others
    ],
)
def test_one_command(tmp_path, notebook, cohorts):
    write_all(tmp_path / "data")
    command = [sys.executable, "-c", "from cchdecide.cli import main; main()"]
    command += ["run", notebook, "--profile", "smoke", "--set", "source=real"]
    command += ["--set", f"cohorts={cohorts}".replace("'", '"')]
    command += ["--set", "splits=1", "--build-dir", str(tmp_path / "build")]
    env = os.environ | {
        "CCH_DATA": str(tmp_path / "data"),
        "CCH_ROOT": str(ROOT),
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (metrics,) = (tmp_path / "build").rglob("metrics.csv")
    found = pd.read_csv(metrics)
    assert set(cohorts) <= set(found["cohort"])
    scores = found[found["metric"].str.fullmatch(r"(\w+_)?f1")]
    scores = scores[~scores["metric"].str.startswith("gain")]["value"]
    assert len(scores) and scores.between(0, 1).all()
