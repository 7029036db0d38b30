"""Merges checkpoints from the command line: safetensors in, safetensors out.

    merge-checkpoints --method average --include attn,mlp --models A B C --out DIR

A model is a `.safetensors` file, or a folder with `model.safetensors` or the shards that a
`model.safetensors.index.json` lists. The first is the one to be evaluated: it gives every tensor
outside of `--include`, all integers, and the files beside its weights (configuration, tokenizer).
Any architecture will do, as long as the floating-point tensors of `--include` are the same in all
models, and their configurations say that they are read in the same way.

Tensors are read, merged and written one by one, most of them piece by piece. DIR appears when it
is complete, or not at all, with its weights and `recipe.json`: method, options, and the sha256 of
everything that went in and came out.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import JsonValue
from torch import Tensor

from harness import pretrained, tool, weights
from harness.errors import DataError, MethodError, UsageError
from harness.store import publish, read_json, write_atomic
from harness.weights import INDEX, WEIGHTS, Weights
from suites.merging.merge import probe, rules
from suites.merging.merge.alignment import Aligned, products_agree
from suites.merging.merge.states import State, check
from suites.merging.policy.groups import GROUPS, matches, select

_NOT_COPIED = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack")
_STALE = (INDEX, pretrained.RECIPE, pretrained.CHECKSUM, "merge.json")
"""Of the first model: beside the merged weights they would be stale."""
_QUANTISED = (
    "qweight", "qzeros", "scales", "weight_packed", "weight_scale", "weight_scale_inv", "absmax",
    "quant_map", "SCB",
)  # fmt: skip
"""Last parts of names that weights of fewer bits come with."""
_OF_THE_TASK = (
    "id2label", "label2id", "problem_type", "num_labels", "finetuning_task", "vocab_size",
    "task_specific_params", "state_mean", "state_std", "initializer_range",
)  # fmt: skip
"""Fields of a configuration that concern what is not merged, or show in shapes."""
_ADVICE = "merge models that read their weights in one way"


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
    """A checkpoint whose tensors are read when they are asked for."""

    path: Path
    weights: Weights
    state: Mapping[str, Tensor]
    """The weights, or the weights aligned."""
    shapes: dict[str, Tensor]
    """All tensors on the meta device."""


def read(path: Path) -> Model:
    """A `.safetensors` file, or a folder with one or with shards and their index.

    Raises:
        DataError: there is none, it is corrupt, quantised, or an adapter.
    """
    opened = Weights(path)
    if path.is_dir() and (path / pretrained.CONFIG).exists():
        config = read_json(path / pretrained.CONFIG)
        if not isinstance(config, dict):
            raise DataError(f"{path / pretrained.CONFIG} is corrupt (not an object); get it again")
        pretrained.check_plain(config, path / pretrained.CONFIG)
    for name, tensor in opened.meta.items():
        whole = name.endswith("weight") and tensor.dim() > 1 and not tensor.is_floating_point()
        if whole or name.rpartition(".")[2] in _QUANTISED:
            raise DataError(
                f"{path}: {name} belongs to weights of fewer bits, which cannot be averaged; "
                "convert the checkpoint to float32, float16 or bfloat16"
            )
    return Model(path, opened, opened, opened.meta)


def check_alike(models: Sequence[Model], include: Sequence[str], dtypes: bool) -> list[str]:
    """The tensors to merge, which all models have and read in the same way.

    Args:
        dtypes: whether they have to be of one type.

    Raises:
        DataError: numbers that cannot be averaged, or a file beside the weights that is corrupt.
        MethodError: naming the first difference.
        SpecError: a group that does not exist or is empty.
    """
    first = models[0]
    keys = select(first.shapes, include)
    wanted = dict.fromkeys(keys)
    for model in models[1:]:
        floating = (k for k, v in model.shapes.items() if v.is_floating_point())
        wanted |= dict.fromkeys(key for key in floating if matches(key, include))
    for model in models:
        there = [key for key in wanted if key in model.shapes]
        weights.check_floating(model.shapes, there, model.path)
    check([m.shapes for m in models], [str(m.path) for m in models], wanted, dtypes)
    folders = list(dict.fromkeys(model.path for model in models))
    _check_configurations(folders)
    if not all(matches(key, ["blocks"]) for key in keys):  # rows of embeddings belong to tokens
        pretrained.check_tokenizers(folders, _ADVICE)
    return keys


def _check_configurations(folders: Sequence[Path]) -> None:
    try:
        pretrained.check_json(folders, pretrained.CONFIG, _ADVICE, _OF_THE_TASK, _reading)
    except MethodError:  # two versions of transformers may write one configuration in two ways
        pretrained.check_json(
            folders, pretrained.CONFIG, _ADVICE, _OF_THE_TASK, lambda c: _reading(_whole(c))
        )


def _reading(config: dict[str, Any]) -> dict[str, Any]:
    """What of a configuration decides how weights are read."""
    rates = ("dropout", "drop", "pdrop", "dropout_prob")
    kept = {key: value for key, value in config.items() if not key.endswith(rates)}
    if isinstance(kept.get("shape"), dict):  # a policy of this suite
        task = ("state_dim", "action_dim", "dropout")
        kept["shape"] = {k: v for k, v in kept["shape"].items() if k not in task}
    return kept


def _whole(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration with the defaults of its family, where transformers knows it."""
    if "model_type" not in config:
        return config
    from transformers import AutoConfig

    try:
        kind = str(config["model_type"])
        rest = {key: value for key, value in config.items() if key != "model_type"}
        whole: dict[str, Any] = AutoConfig.for_model(kind, **rest).to_dict()
    except Exception:  # whatever odd values make a family come up with: compared as they are
        return config
    return whole


class Rule(NamedTuple):
    """A method with its options, ready to merge one tensor after the other."""

    method: str
    given: Mapping[str, Any]
    """Options, with models where they name files."""
    known: Mapping[str, Any]
    """What depends on all tensors together and was found beforehand."""

    def __call__(
        self, models: Sequence[Model], key: str, dtype: torch.dtype | None
    ) -> Iterator[Tensor]:
        """The merged tensor of that name, piece by piece, rounded once."""
        information = self.given.get("information", [])
        base = [self.given["base"]] if "base" in self.given else []
        sources = [model.state for model in (*models, *base, *information)]
        parts: Iterable[Sequence[Tensor]] = (
            [[state[key] for state in sources]]
            if key in self.known.get("whole", ())
            else zip(*(weights.pieces(state, key) for state in sources), strict=True)
        )
        count = len(models) + len(base)
        for tensors in parts:
            own = [{key: t.double() if dtype is not None else t} for t in tensors[:count]]
            merged = self._merged(own, key, [{key: f} for f in tensors[count:]])[key]
            rounded = merged.to(dtype) if dtype is not None else merged
            if not weights.is_finite(rounded):
                raise MethodError(
                    f"{key} is not finite once merged; a model has NaN in it, or {rounded.dtype} "
                    "is too small for the result"
                )
            yield rounded

    def _merged(
        self, states: Sequence[State], key: str, information: Sequence[State]
    ) -> Mapping[str, Tensor]:
        """`states`: of the models, and of the base where there is one."""
        keys, given, known = [key], self.given, self.known
        match self.method:
            case "average":
                return rules.average(states, keys, given["weights"])
            case "interpolate":
                return rules.interpolate(states[0], states[1], keys, given["p"])
            case "slerp":
                return rules.slerp(states[0], states[1], keys, given["p"], known["arcs"])
            case "fisher":
                return rules.fisher(states, keys, information, means=known["means"])
            case "regmean":
                grams = [model.state for model in given["grams"]]
                return rules.regmean(states, keys, grams, transposed=known["transposed"])
        *states, base = states
        match self.method:
            case "task-arithmetic":
                return rules.task_arithmetic(states, keys, base, given["scale"])
            case "ties":
                density, scale, least = given["density"], given["scale"], known["least"]
                return rules.ties(states, keys, base, density, scale, least)
            case _:
                generator = torch.Generator()
                generator.set_state(known["generators"][key])
                drop, scale = given["drop"], given["scale"]
                return rules.dare(states, keys, base, drop, scale, generator=generator)


def prepare(
    method: str, given: Mapping[str, Any], models: Sequence[Model], keys: Sequence[str]
) -> Rule:
    """Finds what a method has to know of all tensors before it can merge the first one.

    Raises:
        MethodError: options, information or Gram matrices that do not fit.
    """
    known: dict[str, Any] = {}
    shapes = models[0].shapes
    if method == "fisher":
        information = given["information"]
        called = [str(m.path) for m in (models[0], *information)]
        check([shapes, *(m.shapes for m in information)], called, keys, dtypes=False)
        known["means"] = [
            rules.mean_information(m.state, number) for number, m in enumerate(information, 1)
        ]
    elif method == "regmean":
        grams = [model.shapes for model in given["grams"]]
        known["whole"] = {key for key in keys if any(key in gram for gram in grams)}
        known["transposed"] = rules.inputs_first(shapes, sorted(known["whole"]))
        rules.check_grams(shapes, keys, grams, known["transposed"])
    elif method == "slerp":
        a, b = (model.state for model in models)
        known["arcs"] = {key: rules.arc(a, b, key, given["p"]) for key in keys}
    elif method == "ties":
        base, density = given["base"].state, given["density"]
        known["least"] = [rules.smallest_kept(m.state, keys, base, density) for m in models]
    elif method == "dare":  # what a tensor drops must not depend on which was written before it
        generator = torch.Generator().manual_seed(given["seed"])
        known["generators"], known["whole"] = {}, set(keys)
        for key in keys:
            known["generators"][key] = generator.get_state()
            for _ in models:
                torch.rand(shapes[key].numel(), generator=generator)
    return Rule(method, given, known)


def merge(arguments: argparse.Namespace) -> str:
    """Does what the command line asks for; a line that says what was done.

    Raises:
        HarnessError: whatever is wrong, in one line; nothing is written then.
    """
    method, out = METHODS[arguments.method], Path(arguments.out)
    given = _options(arguments, method)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} is there already; name a folder that is new or empty")
    dtype = weights.dtype_of(arguments.dtype) if arguments.dtype else None
    models = [read(Path(path)) for path in arguments.models]
    options: dict[str, Any] = {
        name: read(Path(value))
        if name == "base"
        else [read(Path(path)) for path in value]
        if name in ("information", "grams")
        else value
        for name, value in given.items()
    }
    include = arguments.include.split(",")
    base = [options["base"]] if "base" in options else []
    keys = check_alike([*models, *base], include, dtypes=dtype is None)
    first, *others = models
    if arguments.align:
        whole = sum(tensor.nbytes for tensor in first.shapes.values())
        size = min(whole, arguments.max_shard_size)
        others = [aligned(first, other, size) for other in others]
    models = [first, *others]
    rule = prepare(arguments.method, options, models, keys)
    merging = set(keys)

    def make(key: str) -> Iterator[Tensor]:
        if key in merging:
            return rule(models, key, dtype)
        return (piece.to(shapes[key].dtype) for piece in weights.pieces(first.state, key))

    shapes = {
        key: value.to(dtype) if dtype is not None and value.is_floating_point() else value
        for key, value in first.shapes.items()
    }
    sizes = {key: value.numel() for key, value in shapes.items()}
    counts = {"merged": sum(sizes[key] for key in keys), "all": sum(sizes.values())}
    read_from = [
        m for v in (models, *options.values()) for m in (v if isinstance(v, list) else [v])
    ]
    with publish(out) as folder, ThreadPoolExecutor(1) as pool:
        digests = {
            id(m.weights): pool.submit(m.weights.digests) for m in read_from if isinstance(m, Model)
        }
        written = weights.write(folder, shapes, make, arguments.max_shard_size)

        def named(value: Any) -> Any:
            if isinstance(value, list):
                return [named(member) for member in value]
            if isinstance(value, Model):
                return {"path": str(value.path), "sha256": digests[id(value.weights)].result()}
            return value

        recipe: dict[str, JsonValue] = {
            "tool": "merge-checkpoints",
            "method": arguments.method,
            "include": include,
            "options": {name: named(value) for name, value in options.items()},
            "aligned": arguments.align,
            "models": named(models),
            "parameters": {**counts},
        }
        if dtype is not None:
            recipe["dtype"] = arguments.dtype
        _copy_beside(first.path, folder, arguments.dtype)
        pretrained.write_recipe(folder, recipe, written)
    where = out / WEIGHTS if len(written) == 1 else out
    return (
        f"{where}: {len(keys)} of {len(shapes)} tensors merged from {len(models)} models, "
        f"{counts['merged']:,} of {counts['all']:,} parameters"
    )


def aligned(reference: Model, other: Model, size: int) -> Model:
    """The other model with its units in the reference's order, and the same function.

    Args:
        size: bytes that a model may take that is built to make sure of it, vocabulary apart.

    Raises:
        MethodError: nothing can be aligned, or what came out is another function.
    """
    state = Aligned(reference.state, other.state, other.shapes, _heads(reference.path))
    folder = other.path if other.path.is_dir() else other.path.parent
    off = probe.difference(folder, other.shapes, other.state, state, size)
    if (off is not None and not off < probe.TOLERANCE) or not products_agree(other.state, state):
        by = f" (outputs differ by {off:.0%})" if off is not None else ""
        raise MethodError(
            f"{other.path}: aligned, it would be another function{by}; leave --align out"
        )
    return other._replace(state=state)


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


def _copy_beside(source: Path, folder: Path, dtype: str | None) -> None:
    """Copies what lies beside the weights of the first model."""
    if not source.is_dir():
        return
    files = [
        file
        for file in sorted(source.iterdir())
        if file.is_file()
        and not file.name.startswith(".")
        and not file.name.endswith((*_NOT_COPIED, *_STALE))
    ]
    pretrained.copy(files, folder)
    config = folder / pretrained.CONFIG
    if dtype is not None and config.exists():
        document = read_json(config)
        named = [key for key in ("dtype", "torch_dtype") if key in document]
        if named:
            text = json.dumps(document | dict.fromkeys(named, dtype), indent=2)
            write_atomic(config, text.encode())


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
    add("--seed", type=tool.seed, help="of what dare drops; 0 by default")
    add("--information", nargs="+", help="Fisher information, one file per model, same names")
    add("--grams", nargs="+", help="Gram matrices of inputs, one file per model, same names")
    add("--align", action="store_true", help="first permute hidden units to match the first model")
    add("--dtype", choices=weights.FLOATING, help="of the numbers that are written")
    add(
        "--max-shard-size", type=tool.size, default=weights.SHARD_SIZE, metavar="SIZE",
        help="of a file of weights, such as 5GB",
    )  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return tool.run(_parser(), merge, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
