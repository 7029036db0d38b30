"""Former names of modules, so that scripts that were written for an older layout run as they are.

First on PYTHONPATH, Python runs this file at every start; `tests/test_cases.py` puts it there.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

MODULES = {
    "suites.bam.checkpoints": "suites.bam.model.checkpoints",
    "suites.bam.upcycle": "suites.bam.model.upcycle",
    "suites.bam.configuration": "suites.bam.model.configuration",
    "suites.bam.tokens": "suites.bam.data.tokens",
    "suites.bam.corpora": "suites.bam.data.corpora",
    "suites.bam.benchmarks": "suites.bam.downstream.benchmarks",
    "suites.bam.evaluation": "suites.bam.trials",
    "suites.merging.trajectories": "suites.merging.robots.trajectories",
    "suites.merging.environments": "suites.merging.robots.environments",
    "suites.merging.evaluation": "suites.merging.policy.evaluation",
    "suites.merging.groups": "suites.merging.policy.groups",
    "suites.merging.model": "suites.merging.policy.model",
    "suites.merging.alignment": "suites.merging.merge.alignment",
    "suites.merging.rules": "suites.merging.merge.rules",
}
"""Modules that have another name today."""

ATTRIBUTES = {
    "suites.bam": {"upcycle": "suites.bam.model"},
    "suites.bam.model": {"BamForCausalLM": "suites.bam.model.causal_lm"},
    "suites.bam.downstream": {
        "evaluate": "suites.bam.downstream.evaluate",
        "TASKS": "suites.bam.downstream.benchmarks",
        "GROUPS": "suites.bam.downstream.benchmarks",
        "_complete": "suites.bam.downstream.evaluate",
        "_spec": "suites.bam.downstream.evaluate",
        "_mbpp_choice": "suites.bam.downstream.questions",
        "_rows": __name__,
    },
    "suites.merging.policy.model": {"save": "suites.merging.policy.files"},
}
"""Names that a module had, and the module, or package of a module, where they live today."""


def _rows(path: Path, columns: list[str] | None) -> list[dict[str, Any]]:
    """What `downstream._rows` was: rows of JSON Lines, or of a CSV file with these columns."""
    from harness.rows import Field, Schema, read

    names = columns or ("id", "text")
    schema = Schema(tuple(map(Field, names)), columns=len(names) if columns else None)
    return [row.values for row in read(path, schema)]


def _home(home: str, name: str) -> Any:
    module = importlib.import_module(home)
    if hasattr(module, "__path__"):
        return importlib.import_module(f"{home}.{name}")
    return getattr(module, name)


class _WithFormerNames(ModuleType):
    """A module that has its former names besides today's; set, they are set where they live."""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__
        homes = ATTRIBUTES[found("__name__")]
        return _home(homes[name], name) if name in homes else found(name)

    def __setattr__(self, name: str, value: Any) -> None:
        home = ATTRIBUTES[self.__name__].get(name)
        if home is None or home == f"{self.__name__}.{name}":  # a submodule that is bound
            super().__setattr__(name, value)
        elif isinstance(old := getattr(self, name), dict):
            old.update(value)
        else:
            setattr(importlib.import_module(home), name, value)


class _Renamed(InspectLoader):
    """Gives the module of today under its former name, also to `python -m`."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Today's module, whose own account of itself the import system would overwrite."""
        module = importlib.import_module(MODULES[spec.name])
        self.own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it has been run."""
        module.__spec__ = self.own

    def get_code(self, fullname: str) -> CodeType:
        """Of `python -m`."""
        source = f"from {MODULES[fullname]} import main\nraise SystemExit(main())"
        return compile(source, fullname, "exec")

    def get_source(self, fullname: str) -> None:
        """None is to be shown."""


class _Extended(InspectLoader):
    """Loads a module of today and gives it its former names."""

    def __init__(self, spec: ModuleSpec) -> None:
        assert spec.loader is not None
        self.usual = spec.loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As always."""
        return self.usual.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """As always, and then the former names."""
        self.usual.exec_module(module)
        module.__class__ = _WithFormerNames

    def get_source(self, fullname: str) -> str | None:
        """As always."""
        return self.usual.get_source(fullname) if isinstance(self.usual, InspectLoader) else None


class FormerNames(MetaPathFinder):
    """Finds modules by the names that they had."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that is in one of the two tables."""
        if fullname in MODULES:
            return ModuleSpec(fullname, _Renamed())
        if fullname not in ATTRIBUTES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None:
            spec.loader = _Extended(spec)
        return spec


sys.meta_path.insert(0, FormerNames())
