"""Merges checkpoints from the command line: safetensors in, safetensors out.

    merge-checkpoints --method average --include attn,mlp --models A B C --out DIR

A model is a `.safetensors` file, or a folder with `model.safetensors` or the shards that a
`model.safetensors.index.json` lists. The first is the one to be evaluated: it gives every tensor
outside of `--include`, and the files beside its weights (configuration, tokenizer). Any
architecture will do, as long as the tensors that are merged have the same names and shapes.

DIR appears when it is complete, or not at all, with `model.safetensors` and `merge.json`: the
recipe, and the sha256 of everything that went in and came out.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import JsonValue
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from harness import tool
from harness.errors import DataError, MethodError, StoreError, UsageError, brief
from harness.store import file_digest, publish, write_atomic
from harness.training import read_tensors
from suites.merging.merge import rules
from suites.merging.merge.alignment import align
from suites.merging.policy.groups import GROUPS, select

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
RECIPE = "merge.json"
_NOT_COPIED = (".safetensors", ".index.json", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5")
"""Weights of the first model: beside the merged ones they would be stale."""


class Method(NamedTuple):
    """What a method asks for on the command line."""

    text: str
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    pair: bool = False
    """Merges two models, no more."""
    aligns: bool = True
    """False where what it needs belongs to the units in the order that they have."""


METHODS = {
    "average": Method("mean of all models", takes=("weights",)),
    "interpolate": Method("straight line between two models", needs=("p",), pair=True),
    "slerp": Method("circle between two models", needs=("p",), pair=True),
    "fisher": Method("mean weighted by Fisher information", needs=("information",), aligns=False),
    "regmean": Method("least squares on each model's inputs", needs=("grams",), aligns=False),
    "task-arithmetic": Method("sum of task vectors", ("base", "scale"), aligns=False),
    "ties": Method("trimmed task vectors", ("base",), ("density", "scale"), aligns=False),
    "dare": Method("thinned task vectors", ("base", "scale"), ("drop", "seed"), aligns=False),
}
DEFAULTS = {"weights": None, "density": 0.2, "scale": 1.0, "drop": 0.5, "seed": 0}
_OPTIONS = ("weights", "p", "base", "scale", "density", "drop", "seed", "information", "grams")


class Model(NamedTuple):
    """A checkpoint that has been read."""

    path: Path
    state: dict[str, Tensor]
    digests: dict[str, str]
    """sha256 of each of its weight files."""

    @property
    def recipe(self) -> JsonValue:
        """How `merge.json` names it."""
        return {"path": str(self.path), "sha256": {**self.digests}}


def read(path: Path) -> Model:
    """The tensors of a `.safetensors` file, or of a folder with one or with shards and their index.

    Raises:
        DataError: there is none, or it is corrupt.
    """
    files, promised = _weight_files(path)
    state: dict[str, Tensor] = {}
    for file in files:
        state |= read_tensors(file)
    missing = sorted(promised - state.keys())
    if missing or not state:
        raise DataError(f"{path}: {missing[0] if missing else 'every tensor'} is missing")
    return Model(path, state, {file.name: file_digest(file) for file in files})


def _weight_files(path: Path) -> tuple[list[Path], set[str]]:
    """The files that hold a model's tensors, and the names of tensors that an index promises."""
    if path.is_file():
        return [path], set()
    if (path / WEIGHTS).is_file():
        return [path / WEIGHTS], set()
    index = path / INDEX
    if not index.is_file():
        raise DataError(f"{path}: no .safetensors file, nor a folder with {WEIGHTS} or {INDEX}")
    try:
        places = json.loads(index.read_text())["weight_map"]
        names = sorted({Path(name).name for name in places.values()})  # shards lie beside the index
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{index}: not an index of shards ({brief(error)})") from None
    return [path / name for name in names], set(places)


def combine(
    method: str, models: Sequence[Model], keys: Sequence[str], given: dict[str, Any]
) -> dict[str, Tensor]:
    """The merged state; `given` holds the options of the method, files read."""
    states = [model.state for model in models]
    match method:
        case "average":
            return rules.average(states, keys, given["weights"])
        case "interpolate":
            return rules.interpolate(states[0], states[1], keys, given["p"])
        case "slerp":
            return rules.slerp(states[0], states[1], keys, given["p"])
        case "fisher":
            return rules.fisher(states, keys, [m.state for m in given["information"]])
        case "regmean":
            return rules.regmean(states, keys, [m.state for m in given["grams"]])
        case "task-arithmetic":
            return rules.task_arithmetic(states, keys, given["base"].state, given["scale"])
        case "ties":
            base = given["base"].state
            return rules.ties(states, keys, base, given["density"], given["scale"])
        case _:
            generator = torch.Generator().manual_seed(given["seed"])
            base = given["base"].state
            return rules.dare(
                states, keys, base, given["drop"], given["scale"], generator=generator
            )


def merge(arguments: argparse.Namespace) -> str:
    """Does what the command line asks for; a line that says what was done.

    Raises:
        HarnessError: whatever is wrong, in one line; nothing is written then.
    """
    method, out = METHODS[arguments.method], Path(arguments.out)
    given = _options(arguments, method)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} is there already; name a folder that is new or empty")
    models = [read(Path(path)) for path in arguments.models]
    if "base" in given:
        given["base"] = read(Path(given["base"]))
    for name in ("information", "grams"):
        if name in given:
            given[name] = [read(Path(path)) for path in given[name]]
    include = arguments.include.split(",")
    keys = select(models[0].state, include)
    rules.check([m.state for m in models], [str(m.path) for m in models], keys)
    if arguments.align:
        heads = _heads(models[0].path)
        first, *others = models
        models = [first]
        models += [m._replace(state=align(first.state, m.state, heads)) for m in others]
    merged = combine(arguments.method, models, keys, given)
    for key in keys:
        if not merged[key].isfinite().all():
            raise MethodError(
                f"{key} is not finite once merged; a model has NaN in it, or {merged[key].dtype} "
                "is too small for the result"
            )
    sizes = {key: value.numel() for key, value in merged.items()}
    counts = {"merged": sum(sizes[key] for key in keys), "all": sum(sizes.values())}
    recipe: dict[str, JsonValue] = {
        "method": arguments.method,
        "include": include,
        "options": {
            k: [m.recipe for m in v] if k in ("information", "grams") else getattr(v, "recipe", v)
            for k, v in given.items()
        },
        "aligned": arguments.align,
        "models": [model.recipe for model in models],
        "parameters": {**counts},
    }
    _write(out, models[0], merged, recipe)
    return (
        f"{out / WEIGHTS}: {len(keys)} of {len(merged)} tensors merged from {len(models)} models, "
        f"{counts['merged']:,} of {counts['all']:,} parameters"
    )


def _options(arguments: argparse.Namespace, method: Method) -> dict[str, Any]:
    """The options that the method has, given or by default; refuses all others."""
    name = f"--method {arguments.method}"
    given = {k: getattr(arguments, k) for k in _OPTIONS if getattr(arguments, k) is not None}
    for key in method.needs:
        if key not in given:
            raise UsageError(f"{name} needs --{key}")
    for key in given:
        if key not in (*method.needs, *method.takes):
            has = ", ".join(f"--{k}" for k in (*method.needs, *method.takes))
            raise UsageError(f"{name} has no use for --{key}; it takes {has}")
    if method.pair and len(arguments.models) != 2:
        raise UsageError(f"{name} merges two models, not {len(arguments.models)}")
    if len(arguments.models) < 2 and "base" not in given:
        raise UsageError(f"{name} needs two models or more after --models")
    if arguments.align and not method.aligns:
        raise UsageError(
            f"{name} and --align do not go together: what --{method.needs[0]} names belongs to "
            "the units in the order that they have"
        )
    return {key: DEFAULTS[key] for key in method.takes} | given


def _heads(path: Path) -> int | None:
    """The attention heads, where the folder is one of this suite's policies."""
    try:
        return int(json.loads((path / "config.json").read_text())["shape"]["heads"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the attention of other architectures is not aligned


def _write(
    out: Path, first: Model, merged: dict[str, Tensor], recipe: dict[str, JsonValue]
) -> None:
    """Fills a folder that becomes `out`."""
    with publish(out) as folder:
        weights = folder / WEIGHTS
        tensors = {key: value.contiguous() for key, value in merged.items()}
        # One entry alone: safetensors writes several in an order that changes from run to run.
        try:
            save_file(tensors, weights, {"format": "pt"})
        except SafetensorError as error:
            raise StoreError(f"cannot write {out}: {brief(error)}; free space") from None
        recipe["sha256"] = {WEIGHTS: file_digest(weights)}
        write_atomic(folder / RECIPE, json.dumps(recipe, indent=1).encode())
        if first.path.is_dir():
            for file in sorted(first.path.iterdir()):
                if (
                    file.is_file()
                    and not file.name.startswith(".")
                    and not file.name.endswith((*_NOT_COPIED, RECIPE))
                ):
                    shutil.copyfile(file, folder / file.name)


def _parser() -> tool.Parser:
    parser = tool.Parser(
        prog="merge-checkpoints",
        description="Merges checkpoints: safetensors in, safetensors out. The first model gives "
        "all that is not merged.",
    )
    methods = "; ".join(f"{name}: {method.text}" for name, method in METHODS.items())
    groups = "; ".join(f"{name}: {text}" for name, text in GROUPS.items())
    add = parser.add_argument
    add("--method", required=True, choices=list(METHODS), help=methods)
    add("--include", default="all", help=f"what to merge, with commas; {groups}; or globs")
    add("--models", required=True, nargs="+", help="files or folders")
    add("--out", required=True, help="a folder, new or empty")
    add("--base", help="the model that all were fine-tuned from")
    add("--weights", nargs="+", type=float, help="one per model; equal by default")
    add("--p", type=float, help="place between the first model (0) and the second (1)")
    add("--scale", type=float, help="of the task vectors; ties: 1 by default")
    add("--density", type=float, help="share of a task vector that ties keeps; 0.2 by default")
    add("--drop", type=float, help="share of a task vector that dare drops; 0.5 by default")
    add("--seed", type=int, help="of what dare drops; 0 by default")
    add("--information", nargs="+", help="Fisher information, one file per model, same names")
    add("--grams", nargs="+", help="Gram matrices of inputs, one file per model, same names")
    add("--align", action="store_true", help="first permute hidden units to match the first model")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return tool.run(_parser(), merge, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
