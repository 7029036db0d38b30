"""The suite as a library: public names, and which of its modules may import which."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import suites.merging

ROOT = Path(suites.merging.__file__).parent
WINGS = {"robots": set(), "policy": {"robots"}, "merge": {"robots", "policy"}}
"""Folders of modules, and which others each may import from."""


@pytest.mark.parametrize("name", suites.merging.__all__)
def test_public_names_are_functions_of_the_merge_wing_or_for_plugins(name: str) -> None:
    function = getattr(suites.merging, name)
    assert callable(function)
    assert function.__module__.startswith(("suites.merging.merge.", "suites.merging.own"))
    assert name in dir(suites.merging)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'mean'"):
        _ = suites.merging.mean


def test_the_suite_itself_needs_no_torch() -> None:
    code = "import sys, suites.merging; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("wing", WINGS)
def test_wings_import_no_upper_module(wing: str) -> None:
    allowed = {"settings", wing, *WINGS[wing]}
    for path in (ROOT / wing).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                if name.startswith("suites."):
                    assert name.startswith("suites.merging."), f"{path}: {name}"
                    assert name.split(".")[2] in allowed, f"{path}: {name}"
