"""Turns dense language models of one architecture into a mixture.

    bam-upcycle --experts CODE LAW MATH --seed SEED --method bam --out DIR

Experts stand in the order in which they are given, the seed last.

| method        | feed-forward | queries and outputs of attention | keys and values | all else |
|---------------|--------------|----------------------------------|-----------------|----------|
| bam           | copied       | copied                           | copied          | averaged |
| bam-shared-kv | copied       | copied                           | averaged        | averaged |
| btx           | copied       | averaged                         | averaged        | averaged |
| average       | averaged     | averaged                         | averaged        | averaged |
| sparse        | 4 copies of the seed's | the seed's             | the seed's      | the seed's |

Routers are new. Norms of query and key heads go with their matrices. Source: BAM, section 3.2 and
Figure 1; `sparse` is the sparse-upcycling baseline of BTX, section 4.1.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from harness import tool
from harness.errors import MethodError, UsageError, unknown
from harness.store import publish
from suites.bam.model import checkpoints
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import AttentionRouting, BamConfig

Method = Literal["bam", "bam-shared-kv", "btx", "average", "sparse"]

OVERRIDES = (
    "num_ffn_experts",
    "ffn_top_k",
    "norm_topk_prob",
    "attention_routing",
    "load_balancing_weight",
    "z_loss_weight",
    "router_init_std",
)
"""Fields of the configuration that a caller may choose."""

# Fields that change what a model computes and show in no tensor.
_FUNCTION_FIELDS = (
    "num_attention_heads", "num_key_value_heads", "rope_theta", "rope_parameters",
    "rope_interleaved", "norm", "norm_eps", "logit_scale", "tie_word_embeddings",
)  # fmt: skip


def upcycle(
    models: Sequence[BamForCausalLM],
    method: Method,
    generator: torch.Generator,
    *,
    names: Sequence[str] | None = None,
    **overrides: Any,
) -> BamForCausalLM:
    """A mixture of dense models; every tensor of it is new.

    Args:
        models: The specialists, then the seed. `sparse` uses the seed alone.
        method: See the module.
        generator: Draws the routers, those of the feed-forward experts first, so that BTX and BAM
            of one seed begin with the same ones.
        names: What messages call the models.
        overrides: Any of `OVERRIDES`. Feed-forward experts beyond the models are copies of the
            seed's (BAM, Table 4).

    Raises:
        MethodError: If the models do not fit together, naming the first tensor that differs, or
            an override makes no sense.
    """
    names = names or [f"expert {index}" for index in range(len(models))]
    check_alike(models, names)
    if method == "sparse":
        models = models[-1:]
    config = mixture_config(models[-1].config, method, len(models), **overrides)
    states = [model.state_dict() for model in models]
    copies = states + states[-1:] * (config.num_ffn_experts - len(states))
    with torch.device("meta"):
        names_of_all = list(BamForCausalLM(config).state_dict())
    state = {}
    for name in names_of_all:
        if name.endswith("router.weight"):
            continue
        part = _part(name, config)
        sources = [s[name] for s in (copies if ".feedforward." in name else states)]
        state[name] = average(sources) if part is None else torch.cat(sources, dim=part)
    dtype = states[-1]["model.norm.weight"].dtype
    routers = [name for name in names_of_all if name.endswith("router.weight")]
    for name in sorted(routers, key=lambda name: "attention" in name):
        experts = config.num_attention_experts if "attention" in name else config.num_ffn_experts
        drawn = torch.randn(experts, config.hidden_size, generator=generator)
        state[name] = (drawn * config.router_init_std).to(dtype)
    if config.tie_word_embeddings:
        del state["lm_head.weight"]
    model = checkpoints.assemble(config, state, method)
    model.generation_config = deepcopy(models[-1].generation_config)
    return model


def mixture_config(dense: BamConfig, method: Method, models: int, **overrides: Any) -> BamConfig:
    """The configuration of a mixture of so many models like `dense`.

    Raises:
        MethodError: If an override is unknown, or asks for fewer experts than models.
    """
    presets: dict[Method, dict[str, Any]] = {
        "bam": {"num_ffn_experts": models, "num_attention_experts": models},
        "bam-shared-kv": {
            "num_ffn_experts": models,
            "num_attention_experts": models,
            "shared_kv": True,
        },
        "btx": {"num_ffn_experts": models},
        "average": {},
        # BTX's own gates: the best two, renormalised.
        "sparse": {"num_ffn_experts": 4, "ffn_top_k": 2, "norm_topk_prob": True},
    }
    if method not in presets:
        raise MethodError(unknown("method of upcycling", method, presets))
    for name in overrides:
        if name not in OVERRIDES:
            raise MethodError(
                f"upcycle: {name!r} cannot be chosen; choose among {', '.join(OVERRIDES)}"
            )
    changes = presets[method] | overrides
    experts = changes.get("num_ffn_experts", 1)
    if (experts != 1 and experts < models) or (method == "average" and experts != 1):
        raise MethodError(
            f"upcycle: num_ffn_experts={experts} does not go with method {method!r} and {models} "
            f"models; leave it out or, for mixtures, use {models} or more"
        )
    config: BamConfig = BamConfig.from_dict(dense.to_dict() | changes)
    return config


def average(tensors: Sequence[Tensor]) -> Tensor:
    """Uniform mean, rounded once, so that the mean of equal tensors is the tensor."""
    total = torch.zeros_like(tensors[0], dtype=torch.float64)
    for tensor in tensors:
        total += tensor
    return (total / len(tensors)).to(tensors[0].dtype)


def check_alike(models: Sequence[BamForCausalLM], names: Sequence[str]) -> None:
    """Raises MethodError, naming the first tensor or setting that differs from the first model."""
    if not models:
        raise MethodError("upcycle: no models; give at least one")
    for model, name in zip(models, names, strict=True):
        checkpoints.check_dense(model.config, name)
    first, first_name = models[0], names[0]
    shapes = {key: list(tensor.shape) for key, tensor in first.state_dict().items()}
    for model, name in zip(models[1:], names[1:], strict=True):
        others = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
        for key in [*shapes, *(key for key in others if key not in shapes)]:
            if shapes.get(key) != others.get(key):
                raise MethodError(
                    f"{key} is {shapes.get(key, 'missing')} in {first_name} and "
                    f"{others.get(key, 'missing')} in {name}; "
                    "experts must be copies of one seed"
                )
        for field in _FUNCTION_FIELDS:
            ours, theirs = getattr(first.config, field), getattr(model.config, field)
            if ours != theirs:
                raise MethodError(
                    f"{field} is {ours} in {first_name} and {theirs} in {name}; "
                    "experts must be copies of one seed"
                )


def _part(name: str, config: BamConfig) -> int | None:
    """Dimension along which a tensor's experts are stacked; None where it is averaged."""
    if ".feedforward." in name:
        return 0 if config.num_ffn_experts > 1 else None
    _, _, attention = name.partition(".attention.")
    if not attention or config.num_attention_experts == 1:
        return None
    if attention[0] in "kv" and config.shared_kv:
        return None
    return 1 if attention[0] == "o" else 0


class _Tokenizer(NamedTuple):
    """Files of a tokenizer, and its vocabulary where it can be read."""

    files: list[Path]
    vocabulary: Any


_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)


def _tokenizer(folder: Path) -> _Tokenizer:
    files = [folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    try:
        vocabulary = json.loads((folder / "tokenizer.json").read_bytes())["model"]["vocab"]
    except (OSError, ValueError, KeyError, TypeError):
        vocabulary = None
    return _Tokenizer(files, vocabulary)


def _check_tokenizers(folders: Sequence[Path]) -> _Tokenizer:
    """The last folder's tokenizer, or the last one that there is.

    Raises:
        MethodError: If two folders number their tokens differently.
    """
    found = [(folder, tokenizer) for folder in folders if (tokenizer := _tokenizer(folder)).files]
    known = [(folder, t.vocabulary) for folder, t in found if t.vocabulary is not None]
    for folder, vocabulary in known[1:]:
        if vocabulary != known[0][1]:
            raise MethodError(
                f"tokenizer.json of {folder} has another vocabulary than that of {known[0][0]}; "
                "experts must be copies of one seed"
            )
    return found[-1][1] if found else _Tokenizer([], None)


def run(
    folders: Sequence[Path], method: Method, out: Path, random_seed: int, **overrides: Any
) -> BamForCausalLM:
    """Upcycles checkpoints, the seed last, into a checkpoint at `out`, whole or not at all.

    Raises:
        HarnessError: If they cannot be read or do not fit together, or `out` is there already.
    """
    if out.exists():
        raise UsageError(f"{out} is there already; remove it or name another folder")
    tokenizer = _check_tokenizers(folders)
    models = [checkpoints.load_dense(folder) for folder in folders]
    generator = torch.Generator().manual_seed(random_seed)
    names = [str(folder) for folder in folders]
    model = upcycle(models, method, generator, names=names, **overrides)
    with publish(out) as folder:
        for file in tokenizer.files:
            shutil.copyfile(file, folder / file.name)
        checkpoints.save(model, folder)
    return model


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return tool.run(_parser(), _upcycle, arguments)


def _parser() -> tool.Parser:
    parser = tool.Parser(
        prog="bam-upcycle",
        description="Turns dense checkpoints of one architecture "
        f"({', '.join(checkpoints.FAMILIES)}) into a mixture",
    )
    parser.add_argument("--experts", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument(
        "--seed", type=Path, metavar="DIR", help="the model that they come from; the last expert"
    )
    parser.add_argument("--method", choices=get_args(Method), default="bam")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--ffn-experts", type=int, help="more than models: copies of the seed's")
    parser.add_argument("--top-k", type=int, help="feed-forward experts that a token visits")
    parser.add_argument("--attention-routing", choices=get_args(AttentionRouting))
    parser.add_argument("--random-seed", type=int, default=0, help="draws the routers")
    return parser


def _upcycle(args: argparse.Namespace) -> str:
    chosen = {
        "num_ffn_experts": args.ffn_experts,
        "ffn_top_k": args.top_k,
        "attention_routing": args.attention_routing,
    }
    overrides = {name: value for name, value in chosen.items() if value is not None}
    folders = [*args.experts, *([args.seed] if args.seed else [])]
    model = run(folders, args.method, args.out, args.random_seed, **overrides)
    config = model.config
    total = sum(parameter.numel() for parameter in model.parameters())
    return (
        f"{args.out}: {config.num_ffn_experts} feed-forward and {config.num_attention_experts} "
        f"attention experts, {total:,} parameters"
    )


if __name__ == "__main__":
    sys.exit(main())
