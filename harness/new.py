"""`harness new`: a commented start for a method, a task, a plugin or a suite that runs at once.

The templates are files in `harness/templates/`; each starts as a copy of what the suite has.
"""

import importlib.util
import json
import keyword
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Annotated, Literal

import typer

from harness import registry
from harness.errors import StoreError, UsageError, quoted
from harness.files import cannot_write
from harness.suite import Method, Suite, Task
from harness.terminal import out

_TEMPLATES = Path(__file__).with_name("templates")
_NAME = re.compile(r"[a-z0-9][a-z0-9._+-]{0,40}")
_SMOKE = "smoke"
_WIDTH = 75
"""Columns of a value on one line; its name and a comma stand beside it."""


def new(
    kind: Annotated[
        Literal["method", "task", "plugin", "suite"], typer.Argument(help="What to begin.")
    ],
    name: Annotated[str, typer.Argument(help="Its name.")],
    suite: Annotated[
        str, typer.Option(help="The suite that it adds to; by default one that starts at once.")
    ] = "",
) -> None:
    """Writes a commented start that runs at once; overwrites nothing."""
    module = _module(name)
    if kind == "suite":
        folder = Path(name)
        _write(
            {
                folder / "pyproject.toml": _filled("pyproject.toml", name, module),
                folder / module / "__init__.py": f'"""The suite {name}."""\n',
                folder / module / "suite.py": _filled("suite.py", name, module),
            }
        )
        out.print(f"wrote {folder}/; next: pip install -e {folder} && harness run {name}")
        return
    base = registry.load(suite) if suite else _default()
    file = Path(f"{module}.py")
    text, command = _start(kind, name, base, file.name)
    _write({file: text})
    out.print(f"wrote {file}; next: {command}", markup=False)


def _module(name: str) -> str:
    """The module that a name becomes.

    Raises:
        UsageError: it cannot be one, or there is one already.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"name {quoted(name)}: small letters, digits and . _ + -, at most 41; try my-method"
        )
    module = re.sub(r"\W", "_", name)
    if not module.isidentifier() or keyword.iskeyword(module):
        raise UsageError(f"name {quoted(name)}: {module} cannot be a module; begin with a letter")
    if Path(f"{module}.py").exists() or Path(name).exists():
        raise UsageError(f"name {quoted(name)}: {_there(name, module)} is there; nothing written")
    if importlib.util.find_spec(module) is not None:
        raise UsageError(
            f"name {quoted(name)}: a module {module} is installed already; choose another name"
        )
    return module


def _there(name: str, module: str) -> Path:
    return next(p for p in (Path(f"{module}.py"), Path(name)) if p.exists())


def _default() -> Suite:
    """The first suite whose methods start from nothing."""
    suites = registry.every()
    return min(suites, key=lambda suite: any(method.needs for method in suite.methods))


def _like(suite: Suite) -> tuple[Method, Task]:
    """What to copy: of the smallest scale, a baseline that needs no artifact where there is one."""
    scale = next((s for s in suite.scales if s.name == _SMOKE), suite.scales[0])
    pairs = suite.pairs(scale)
    return min(
        pairs, key=lambda p: (bool(p[0].needs), bool(p[1].datasets), p[0].kind != "baseline")
    )


def _start(kind: str, name: str, suite: Suite, file: str) -> tuple[str, str]:
    """The text of a plugin, and the command that runs it."""
    methods, tasks, tables = (
        {thing.name for thing in things} for things in (suite.methods, suite.tasks, suite.tables)
    )
    if name in {"method": methods, "task": tasks | tables, "plugin": methods | tables}[kind]:
        raise UsageError(f"suite {suite.name} has {name!r} already; choose another name")
    method, task = _like(suite)
    wanted = {"method": "--methods", "task": "--tasks", "plugin": "--methods"}[kind]
    beside = f",{method.name}" if kind == "method" else ""  # what it is a copy of
    command = f"harness run {suite.name} --plugin {file} --scale {_SMOKE} {wanted} {name}{beside}"
    module, _, function = method.run.partition(":")
    text = _filled(
        f"{kind}.py",
        name,
        Path(file).stem,
        suite=suite.name,
        file=file,
        command=command,
        like=method.name,
        params=_literal(method.params),
        needs=_literal(method.needs),
        run_module=module,
        run_function=function,
        task=task.name,
        task_params=_literal(task.params),
        task_metrics=_literal(task.metrics),
        task_optional=_literal(task.optional),
        task_datasets=_literal(task.datasets),
        task_protocol=task.protocol,
        task_fallback=str(task.fallback),
        metric=task.metrics[0],
        metrics=", ".join(task.metrics),
    )
    return text, command


def _literal(value: object, indent: int = 16) -> str:
    """A value as source, laid out as formatters do, at that many columns in."""
    if isinstance(value, Mapping):
        parts = [f"{_literal(k)}: {_literal(v, indent + 4)}" for k, v in value.items()]
        left, right = "{", "}"
    elif isinstance(value, tuple | list):
        parts = [_literal(v, indent + 4) for v in value]
        left, right = "()" if isinstance(value, tuple) else "[]"
    elif isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    else:
        return repr(value)
    alone = "," if isinstance(value, tuple) and len(parts) == 1 else ""
    line = f"{left}{', '.join(parts)}{alone}{right}"
    if len(line) + indent < _WIDTH and "\n" not in line:
        return line
    inside = " " * (indent + 4)
    return f"{left}\n{''.join(f'{inside}{part},' + chr(10) for part in parts)}{' ' * indent}{right}"


def _filled(template: str, name: str, module: str, **fields: str) -> str:
    try:
        text = (_TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{template}.txt: {error.strerror}; install the harness again") from None
    project = re.sub(r"[^a-z0-9]+", "-", name).strip("-")
    return Template(text).substitute(name=name, module=module, project=project, **fields)


def _write(files: dict[Path, str]) -> None:
    """Writes new files; one that is there stays, and nothing else is written then."""
    if there := next((path for path in files if path.exists()), None):
        raise UsageError(f"{there} is there already; nothing written")
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise cannot_write(path, error) from None
