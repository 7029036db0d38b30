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

LONG = frozenset(
    {
        "01_mixed_dtypes",
        "07_special_token_in_text",
        "09_gold_out_of_range",
        "12_fold_tied_weights",
        "12_to_hetero_is_right_or_says_no",
        "13_tab_in_text",
        "20_no_padding_token",
        "23_csv_damage",
        "31_graph_file_damaged",
        "37_random_seed_and_out",
        "41_winogrande_without_blank",
        "43_answers_cut_in_acc_norm",
        "43_d4rl_damaged",
        "60_align_models_with_linear_c_fc",
        "61_merge_of_different_depth",
        "62_merge_of_eight_bit_floats",
        "64_merge_shapes_types_and_wrong_files",
        "65_merge_keeps_what_is_not_merged",
        "66_merge_of_policies_that_read_weights_differently",
        "71_film_arguments",
        "80_wrong_robot_in_the_d4rl_file",
    }
)
"""Scripts that take more than ten seconds on two busy cores."""

SECONDS = 120
MANY = 4
"""Long ones start up to two dozen processes that import torch: they get so many times as long."""

pytestmark = pytest.mark.skipif(not SCRIPTS, reason=f"no cases in {CASES}")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(s, id=s.stem, marks=[pytest.mark.slow] if s.stem in LONG else [])
        for s in SCRIPTS
    ],
)
@pytest.mark.timeout(MANY * SECONDS + 60)
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
        timeout=SECONDS * (MANY if script.stem in LONG else 1),
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
