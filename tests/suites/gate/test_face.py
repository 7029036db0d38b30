"""The suite as a library: names that are imported when they are asked for."""

import subprocess
import sys


def test_the_layer_is_imported_from_the_suite() -> None:
    from suites.gate import GATEConv
    from suites.gate.conv import GATEConv as Original

    assert GATEConv is Original


def test_the_suite_itself_needs_no_torch() -> None:
    code = "import sys, suites.gate; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
