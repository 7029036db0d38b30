"""Lazy public names: nothing is imported before it is asked for, unknown names are refused."""

import subprocess
import sys

import pytest

from harness.lazy import face


def test_names_come_from_their_modules_when_asked_for():
    getter, names, public = face("here", {"sqrt": "math", "dumps": "json"})
    assert public == names() == ["dumps", "sqrt"]
    assert getter("sqrt")(9.0) == 3.0
    with pytest.raises(AttributeError, match="module 'here' has no attribute 'odd'"):
        getter("odd")


def test_a_package_imports_nothing_until_then(tmp_path):
    package = tmp_path / "lazy_example"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from harness.lazy import face\n"
        "__getattr__, __dir__, __all__ = face(__name__, {'b': 'lazy_example.inner'})\n"
    )
    (package / "inner.py").write_text("b = 5\n")
    code = (
        "import sys, lazy_example as e\n"
        "assert 'lazy_example.inner' not in sys.modules\n"
        "assert dir(e) == ['b'] and not hasattr(e, 'c')\n"
        "from lazy_example import *\n"
        "from lazy_example import b as again\n"
        "assert b == again == 5\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
