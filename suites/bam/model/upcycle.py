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
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from harness import pretrained, tool, weights
from harness.errors import MethodError, UsageError, unknown
from harness.store import file_digest, publish
from suites.bam.model import checkpoints, gates
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import AttentionRouting, BamConfig
from suites.bam.model.families import FAMILIES
from suites.bam.model.standard import standard_config, write_standard

Method = Literal["bam", "bam-shared-kv", "btx", "average", "sparse"]

OVERRIDES = (
    "num_ffn_experts",
    "ffn_top_k",
    "norm_topk_prob",
    "attention_routing",
    "load_balancing_weight",
    "z_loss_weight",
    "router_init_std",
    "shared_expert_weight",
)
"""Fields of the configuration that a caller may choose."""

# Fields that change what a model computes and show in no tensor.
_FUNCTION_FIELDS = (
    "num_attention_heads", "num_key_value_heads", "rope_theta", "rope_parameters",
    "rope_interleaved", "norm", "norm_eps", "norm_offset", "hidden_act", "sliding_window",
    "embedding_multiplier", "logit_scale", "tie_word_embeddings",
    "max_position_embeddings", "pad_token_id", "bos_token_id", "eos_token_id",
)  # fmt: skip
_ADVICE = "experts must be copies of one seed"
_CHUNK = 2**15
"""Elements that are averaged at a time: their sums in float64 stay in the processor's cache, and
torch does not wake its threads, whose waiting costs more than it gains beside other work."""


def upcycle(
    models: Sequence[BamForCausalLM],
    method: Method,
    generator: torch.Generator,
    *,
    names: Sequence[str] | None = None,
    router_from: Sequence[Tensor] | None = None,
    **overrides: Any,
) -> BamForCausalLM:
    """A mixture of dense models; every tensor of it is new.

    Args:
        models: The specialists, then the seed. `sparse` uses the seed alone.
        method: See the module.
        generator: Draws the routers, those of the feed-forward experts first, so that BTX and BAM
            of one seed begin with the same ones.
        names: What messages call the models.
        router_from: Token ids [N] of a text for each routed expert: the routers begin as the mean
            hidden states of the seed on them; see `suites.bam.model.gates`. None: random routers.
        overrides: Any of `OVERRIDES`. Feed-forward experts beyond the models are copies of the
            seed's (BAM, Table 4). With `shared_expert_weight` the seed's feed-forward network is
            the expert that every token visits, and no routed one.

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
    dtype = states[-1]["model.norm.weight"].dtype
    routers = _routers(config, generator)
    if router_from is not None:
        routers = gates.routers(models[-1], router_from, config, list(routers))
    make = _maker(config, states, dtype, routers)
    shapes = checkpoints.stored(checkpoints.cast(checkpoints.skeleton(config, method), dtype))
    state = {name: weights.joined(make(name), like) for name, like in shapes.items()}
    model = checkpoints.assemble(config, state, method)
    model.generation_config = deepcopy(models[-1].generation_config)
    return model


def _maker(
    config: BamConfig,
    states: Sequence[Mapping[str, Tensor]],
    dtype: torch.dtype,
    routers: Mapping[str, Tensor],
) -> Callable[[str], Iterator[Tensor]]:
    """What makes each tensor of a mixture out of those of its models, piece by piece."""

    def make(name: str) -> Iterator[Tensor]:
        part = _part(name, config)
        if name in routers:
            yield routers[name].to(dtype).view(-1)
        elif ".feedforward.shared." in name:
            for piece in weights.pieces(states[-1], name.replace(".shared.", ".")):
                yield piece.to(dtype)
        elif part is None:
            for pieces in zip(*(weights.pieces(s, name) for s in states), strict=True):
                yield average(pieces, dtype)
        elif part == 1:
            yield torch.cat([s[name].to(dtype) for s in states], dim=1).view(-1)
        else:
            more = config.num_ffn_experts - len(states) if ".feedforward." in name else 0
            for source in [*states, *[states[-1]] * more][: len(states) + more]:
                for piece in weights.pieces(source, name):
                    yield piece.to(dtype)

    return make


def _routers(config: BamConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """New routers, float32: those of the feed-forward experts are drawn first."""
    names = [
        name
        for name in checkpoints.skeleton(config, "the mixture").state_dict()
        if name.endswith("router.weight")
    ]
    drawn = {}
    for name in sorted(names, key=lambda name: "attention" in name):
        experts = config.num_attention_experts if "attention" in name else config.num_ffn_experts
        rows = torch.randn(experts, config.hidden_size, generator=generator)
        drawn[name] = rows * config.router_init_std
    return drawn


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
    routed = models - (1 if changes.get("shared_expert_weight") and models > 1 else 0)
    if routed < models and method != "average" and "num_ffn_experts" not in overrides:
        changes["num_ffn_experts"] = routed
    experts = changes.get("num_ffn_experts", 1)
    if (experts != 1 and experts < routed) or (method == "average" and experts != 1):
        raise MethodError(
            f"upcycle: num_ffn_experts={experts} does not go with method {method!r} and {models} "
            f"models; leave it out or, for mixtures, use {models} or more"
        )
    config: BamConfig = BamConfig.from_dict(dense.to_dict() | changes)
    return config


def average(tensors: Sequence[Tensor], dtype: torch.dtype | None = None) -> Tensor:
    """Uniform mean, rounded once, so that the mean of equal tensors is the tensor."""
    first = tensors[0]
    mean = torch.empty(first.shape, dtype=dtype or first.dtype, device=first.device)
    flat, flats = mean.view(-1), [tensor.reshape(-1) for tensor in tensors]
    sums = torch.empty(min(_CHUNK, len(flat)), dtype=torch.float64, device=first.device)
    for start in range(0, len(flat), _CHUNK):
        parts = [tensor[start : start + _CHUNK] for tensor in flats]
        total = sums[: len(parts[0])].copy_(parts[0])
        for part in parts[1:]:
            total += part
        flat[start : start + _CHUNK] = total.div_(len(parts))
    return mean


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
                    f"{others.get(key, 'missing')} in {name}; {_ADVICE}"
                )
        for field in _FUNCTION_FIELDS:
            ours, theirs = getattr(first.config, field), getattr(model.config, field)
            if ours != theirs:
                raise MethodError(
                    f"{field} is {ours} in {first_name} and {theirs} in {name}; {_ADVICE}"
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


def run(
    folders: Sequence[Path],
    method: Method,
    out: Path,
    random_seed: int,
    *,
    form: Literal["bam", "hf"] = "bam",
    router_from: Sequence[Path] = (),
    dtype: str | None = None,
    shard_size: int = weights.SHARD_SIZE,
    **overrides: Any,
) -> BamForCausalLM:
    """Upcycles checkpoints, the seed last, into a checkpoint at `out`, whole or not at all.

    Tensors are read, mixed and written one by one, most of them piece by piece: little more than
    one tensor of each model is ever in memory. The seed's tokenizer, generation settings, chat
    templates and licence come along, and `recipe.json` with the sha256 of everything that went in.

    Args:
        form: `hf` writes a class of transformers; see `suites.bam.model.standard`.
        router_from: A text for each routed expert; none: random routers.
        dtype: The type of numbers to write; needed where the models have several.
        shard_size: Bytes that a file of weights holds at most.

    Returns:
        The mixture on the meta device: shapes without numbers.

    Raises:
        HarnessError: If they cannot be read or do not fit together, or `out` is there already.
    """
    if out.exists():
        raise UsageError(f"{out} is there already; remove it or name another folder")
    chosen = weights.dtype_of(dtype) if dtype else None
    sources = [checkpoints.read(folder) for folder in folders]
    check_alike([source.skeleton for source in sources], [str(folder) for folder in folders])
    pretrained.check_tokenizers(folders, _ADVICE)
    pretrained.check_json(folders, pretrained.GENERATION, _ADVICE)
    kind = checkpoints.one_dtype(sources, chosen, "choose one of them with --dtype")
    mixed = sources[-1:] if method == "sparse" else sources
    config = mixture_config(sources[-1].config, method, len(mixed), **overrides)
    skeleton = checkpoints.cast(checkpoints.skeleton(config, method), kind)
    if form == "hf":
        standard_config(config)
    routers = _routers(config, torch.Generator().manual_seed(random_seed))
    if router_from:
        texts = gates.read(router_from, folders[-1])
        routers = gates.routers(checkpoints.load(folders[-1]), texts, config, list(routers))
    make = _finite(_maker(config, [s.tensors for s in mixed], kind, routers), mixed)
    recipe: dict[str, Any] = {
        "tool": "bam-upcycle",
        "method": method,
        "random_seed": random_seed,
        "dtype": str(kind).removeprefix("torch."),
        "options": overrides,
        "format": form,
        "router_from": [{"path": str(p), "sha256": file_digest(p)} for p in router_from],
    }
    with publish(out) as folder, ThreadPoolExecutor(1) as pool:
        digests = [pool.submit(source.weights.digests) for source in sources]
        beside = _companions(folders)
        if form == "hf":
            written = write_standard(skeleton, make, folder, beside, shard_size)
        else:
            written = checkpoints.write(skeleton, make, folder, beside, shard_size)
        models = zip(folders, digests, strict=True)
        recipe["models"] = [{"path": str(path), "sha256": d.result()} for path, d in models]
        pretrained.write_recipe(folder, recipe, written)
    return skeleton


def _finite(
    make: Callable[[str], Iterator[Tensor]], sources: Sequence[checkpoints.Checkpoint]
) -> Callable[[str], Iterator[Tensor]]:
    """The same, once what it made is known to be finite: so then is what it was made of."""

    def checked(name: str) -> Iterator[Tensor]:
        for piece in make(name):
            if not weights.is_finite(piece):
                read = name.replace(".shared.", ".")
                for source in sources:
                    if read in source.tensors:
                        checkpoints.check_finite(read, source.tensors[read], source.folder)
                raise MethodError(
                    f"{name} is too large for {piece.dtype}; choose another type with --dtype"
                )
            yield piece

    return checked


def _companions(folders: Sequence[Path]) -> list[Path]:
    """The seed's files beside its weights, those it lacks from the last model that has them."""
    found = {path.name: path for folder in folders for path in pretrained.companions(folder)}
    return list(found.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return tool.run(_parser(), _upcycle, arguments)


def _parser() -> tool.Parser:
    parser = tool.Parser(
        prog="bam-upcycle",
        description="Turns dense checkpoints of one architecture "
        f"({', '.join(FAMILIES)}) into a mixture",
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
    parser.add_argument(
        "--norm-topk-prob",
        action=argparse.BooleanOptionalAction,
        help="gates of the chosen experts sum to 1, as in BTX's paper",
    )
    parser.add_argument(
        "--shared-expert", type=float, metavar="SHARE",
        help="of the feed-forward output, from the seed's network, which every token visits",
    )  # fmt: skip
    parser.add_argument("--load-balancing-weight", type=float, help="of that loss in training")
    parser.add_argument("--z-loss-weight", type=float, help="of that loss in training")
    parser.add_argument("--router-scale", type=float, help="standard deviation of new routers")
    parser.add_argument(
        "--router-from", type=Path, nargs="+", default=(), metavar="FILE",
        help="texts, one for each routed expert; routers begin as mean hidden states of these",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=("bam", "hf"), default="bam",
        help="hf: a class of transformers, where one computes the same",
    )  # fmt: skip
    parser.add_argument("--random-seed", type=tool.seed, default=0, help="draws the routers")
    parser.add_argument("--dtype", choices=weights.FLOATING, help="of the numbers that are written")
    parser.add_argument(
        "--max-shard-size", type=tool.size, default=weights.SHARD_SIZE, metavar="SIZE",
        help="of a file of weights, such as 5GB",
    )  # fmt: skip
    return parser


def _upcycle(args: argparse.Namespace) -> str:
    chosen = {
        "num_ffn_experts": args.ffn_experts,
        "ffn_top_k": args.top_k,
        "attention_routing": args.attention_routing,
        "norm_topk_prob": args.norm_topk_prob,
        "shared_expert_weight": args.shared_expert,
        "load_balancing_weight": args.load_balancing_weight,
        "z_loss_weight": args.z_loss_weight,
        "router_init_std": args.router_scale,
    }
    overrides = {name: value for name, value in chosen.items() if value is not None}
    folders = [*args.experts, *([args.seed] if args.seed else [])]
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message="router_from")
        model = run(
            folders,
            args.method,
            args.out,
            args.random_seed,
            form=args.format,
            router_from=args.router_from,
            dtype=args.dtype,
            shard_size=args.max_shard_size,
            **overrides,
        )
    for warning in caught:
        if "router_from" in str(warning.message):
            print(f"bam-upcycle: warning: {warning.message}", file=sys.stderr)
    config = model.config
    total = sum(parameter.numel() for parameter in model.parameters())
    return (
        f"{args.out}: {config.num_ffn_experts} feed-forward and {config.num_attention_experts} "
        f"attention experts, {total:,} parameters"
    )


if __name__ == "__main__":
    sys.exit(main())
