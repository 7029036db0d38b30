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


def test_a_module_can_be_called_as_the_function_of_its_name(tmp_path):
    package = tmp_path / "called"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from harness.lazy import face\n"
        "__getattr__, __dir__, __all__ = face(__name__, {'b': 'called.inner'})\n"
    )
    (package / "inner.py").write_text("def b(x, *, y): return x + y\n")
    (package / "b.py").write_text(
        "from harness.lazy import callable_module\ncallable_module(__name__)\nz = 7\n"
    )
    code = (
        "import called\n"
        "assert called.b(1, y=2) == 3\n"
        "import called.b as module\n"
        "from called.b import z\n"
        "assert called.b is module and module.z == z == 7\n"
        "assert called.b(1, y=2) == 3\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
