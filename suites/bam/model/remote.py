"""The model's code as one file that travels with its checkpoints.

`AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)` runs `modeling_bam.py` of
the folder, where nothing of this package need be installed. The file is put together from the
modules of the model at every save; nobody edits it.
"""

import ast
import functools
from pathlib import Path

from harness.pretrained import CHECKSUM

CODE_FILE = "modeling_bam.py"
AUTO_MAP = {
    "AutoConfig": "modeling_bam.BamConfig",
    "AutoModelForCausalLM": "modeling_bam.BamForCausalLM",
}
"""What a checkpoint's config.json says of it."""

MODULES = (
    "configuration",
    "routing",
    "attention",
    "feedforward",
    "crossentropy",
    "masks",
    "outputs",
    "decoder",
    "causal_lm",
)
"""The model, in an order in which every module follows those that it imports."""

_HEAD = '''"""A mixture of language models: configuration and model, for transformers alone.

Put together from the modules of suites.bam.model when the checkpoint was written. To change the
model, change those and save the checkpoint again.
"""
'''
# What modules import of the rest of the package, in words of their own.
_PARTS = f'''
CODE_FILE = {CODE_FILE!r}
AUTO_MAP = {AUTO_MAP!r}
CHECKSUM = {CHECKSUM!r}


class SpecError(ValueError):
    """A configuration whose values do not go together."""


def source() -> str:
    """The text of this file."""
    return Path(__file__).read_text(encoding="utf-8")
'''


@functools.cache
def source() -> str:
    """The text of the file."""
    folder = Path(__file__).parent
    whole: set[str] = set()
    named: dict[str, set[str]] = {}
    bodies = []
    for module in MODULES:
        body, imports = _split((folder / f"{module}.py").read_text(encoding="utf-8"))
        bodies.append(f"\n# --- {module} ---\n\n\n{body}\n")
        for node in imports:
            names = {ast.unparse(alias) for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                named.setdefault(node.module or "", set()).update(names)
            else:
                whole |= names
    lines = [f"import {name}" for name in sorted(whole)]
    lines += [f"from {name} import {', '.join(sorted(named[name]))}" for name in sorted(named)]
    return "\n".join([_HEAD, *lines, _PARTS, *bodies])


def _split(text: str) -> tuple[str, list[ast.Import | ast.ImportFrom]]:
    """The definitions of a module, as they are written, and its imports from elsewhere.

    Statements that only do something, such as registering the classes, are left out: the Auto
    classes do that with the code of a folder.
    """
    lines = text.splitlines()
    imports: list[ast.Import | ast.ImportFrom] = []
    dropped: set[int] = set()
    for node in ast.parse(text).body:
        drop = isinstance(node, ast.Import | ast.ImportFrom)
        if isinstance(node, ast.Expr):
            is_docstring = isinstance(node.value, ast.Constant) and dropped
            drop = not is_docstring
        if isinstance(node, ast.Import | ast.ImportFrom) and not _ours(node):
            imports.append(node)
        if drop:
            dropped.update(range(node.lineno - 1, (node.end_lineno or node.lineno)))
    kept = [line for number, line in enumerate(lines) if number not in dropped]
    return "\n".join(kept).strip("\n"), imports


def _ours(node: ast.Import | ast.ImportFrom) -> bool:
    module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
    return (module or "").split(".")[0] in ("suites", "harness")
