"""Public names of a package whose modules are imported only when a name is asked for (PEP 562)."""

import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple


class Face(NamedTuple):
    """What a package's `__init__.py` binds: `__getattr__, __dir__, __all__ = face(...)`."""

    getter: Callable[[str], Any]
    names: Callable[[], list[str]]
    public: list[str]


def face(package: str, homes: Mapping[str, str]) -> Face:
    """The lazy public names of a package.

    Args:
        package: its `__name__`.
        homes: public name -> module that defines it.
    """
    public = sorted(homes)

    def getter(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(homes[name]), name)

    return Face(getter, lambda: public, public)


def callable_module(name: str) -> None:
    """Lets a module be called as the public function of its package that has the same name.

    Importing a module binds it in its package, in place of that function.
    """
    sys.modules[name].__class__ = _Callable


class _Callable(ModuleType):
    def __call__(self, *words: Any, **options: Any) -> Any:
        package, _, name = self.__name__.rpartition(".")
        return sys.modules[package].__getattr__(name)(*words, **options)
