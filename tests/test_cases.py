"""Small inputs of other people that went wrong once; the scripts lie beside the checkout.

Each script makes its own input, runs what we ship on it and ends with exit code 0 where that does
right. `HARNESS_CASES` names their folder; without one there is nothing to try.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORMER_NAMES = Path(__file__).parent / "former_names"
CASES = Path(os.environ.get("HARNESS_CASES") or ROOT.parent / "shared" / "cases")
SCRIPTS = sorted(CASES.glob("*/[0-9]*.py"))

LONG = frozenset[str]()
"""Scripts that take more than ten seconds."""

pytestmark = pytest.mark.skipif(not SCRIPTS, reason=f"no cases in {CASES}")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(s, id=s.stem, marks=[pytest.mark.slow] if s.stem in LONG else [])
        for s in SCRIPTS
    ],
)
def test_it_is_right_or_refused_in_one_line(script: Path, tmp_path: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(FORMER_NAMES), str(ROOT)]),
        "TMPDIR": str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
