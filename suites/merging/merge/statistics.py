"""What data say of a policy's weights: diagonal Fisher information, Gram matrices of inputs.

An action is taken as drawn from a normal distribution of unit variance around the policy's own,
so that the log-likelihood of a token is half its squared error, with the sign changed. A sample is
a token: one step of a window that is not padding. N tokens, predictions a^ with A components:

| kind      | information of a weight                                     | network     |
|-----------|-------------------------------------------------------------|-------------|
| paper     | 1/N sum over batches of (d/dw mean squared error of it)^2   | as trained  |
| empirical | 1/N sum over tokens of (d/dw half its squared error)^2      | no dropout  |
| true      | 1/N sum over tokens and components of (d a^_k / dw)^2       | no dropout  |

`paper` is what the released code computes: it squares the gradient of whole batches, in which the
tokens' gradients cancel, so it depends on the batch size. `true` is the expectation of `empirical`
over actions drawn from the policy itself; Martens, "New Insights and Perspectives on the Natural
Gradient Method" (2020), section 5, has the difference.

The two that are per token need the gradient of every token by itself. A backward pass for one step
(and component) of all windows gives the gradient at the outputs of every layer; times the layer's
inputs, that is the gradient of each window's weights, without a loop over the windows.

    python -m suites.merging.merge.statistics --policy DIR --data FILE --kind true --out FILE

writes what `merge-checkpoints` takes as `--information`, or with the kind `grams` as `--grams`.

Shape suffixes: B windows, K steps, A action, N positions of a layer, I inputs, O outputs, V rows.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from harness import tool
from harness.errors import DataError, MethodError, UsageError, unknown
from harness.store import write_atomic
from suites.merging.policy import files
from suites.merging.policy.fast import unfolded
from suites.merging.policy.groups import GROUPS, select
from suites.merging.robots import trajectories
from suites.merging.robots.trajectories import Batch, Windows

Kind = Literal["paper", "empirical", "true"]


class Call(NamedTuple):
    """What a layer took and gave in one forward pass."""

    input: Tensor
    output: Tensor


def fisher(
    policy: nn.Module, batches: Iterable[Batch], kind: Kind, keys: Sequence[str]
) -> dict[str, Tensor]:
    """Diagonal Fisher information of the parameters `keys` of `policy` on its data, float32.

    The policy is left as it was: mode, gradients, which parameters have one.

    Args:
        policy: Called with the inputs of a batch; gives actions [B,K,A].
        batches: In each, only the steps that `mask_BK` has count.
        keys: Names of parameters; for the kinds per token, of linear layers, layer norms and
            embeddings.

    Raises:
        MethodError: an unknown kind, or a key that is no parameter of such a layer.
        DataError: no batch, or nothing but padding.
    """
    if kind not in get_args(Kind):
        raise MethodError(unknown("information", kind, get_args(Kind)))
    known = dict(policy.named_parameters())
    strange = [key for key in keys if key not in known]
    if strange:
        raise MethodError(f"{strange[0]} is no parameter; one is {next(iter(known))}")
    totals = {key: torch.zeros_like(known[key], dtype=torch.float64) for key in keys}
    tokens = 0
    with _prepared(policy, kind == "paper", [known[key] for key in keys]):
        for batch in batches:
            tokens += int(batch.mask_BK.sum())
            add = _of_batch if kind == "paper" else _of_tokens
            for key, squares in add(policy, batch, kind, keys):
                totals[key] += squares
    if not tokens:
        raise DataError("no step to measure the information on; give batches that are not padding")
    return {key: (total / tokens).float() for key, total in totals.items()}


@torch.no_grad()
def grams(policy: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
    """X^T X [I,I] of the inputs X of every linear layer, a mean over tokens; float64.

    Keys are those of the layers' weights. Every step that is not padding counts, with all of its
    tokens that pass through the layer; the policy runs without dropout.

    Raises:
        DataError: no batch, or nothing but padding.
    """
    layers = {f"{n}.weight": m for n, m in policy.named_modules() if isinstance(m, nn.Linear)}
    totals = {
        key: torch.zeros(
            layer.in_features, layer.in_features, dtype=torch.float64, device=layer.weight.device
        )
        for key, layer in layers.items()
    }
    counts = dict.fromkeys(layers, 0)
    with _prepared(policy, False, []), _watched(policy, layers) as calls:
        for batch in batches:
            policy(*batch.inputs)
            for key, call in calls():
                x_MI = call.input[_positions(batch.mask_BK, call.input.size(1))].double()
                totals[key] += x_MI.T @ x_MI
                counts[key] += len(x_MI)
    if not any(counts.values()):
        raise DataError("no step to take inputs from; give batches that are not padding")
    return {key: total / max(counts[key], 1) for key, total in totals.items()}


def _of_batch(
    policy: nn.Module, batch: Batch, _: Kind, keys: Sequence[str]
) -> Iterator[tuple[str, Tensor]]:
    """Squared gradients of the mean squared error of a batch."""
    if not batch.mask_BK.any():
        return
    known = dict(policy.named_parameters())
    loss = F.mse_loss(policy(*batch.inputs)[batch.mask_BK], batch.actions_BKA[batch.mask_BK])
    gradients = torch.autograd.grad(
        loss, [known[key] for key in keys], allow_unused=True, materialize_grads=True
    )
    for key, gradient in zip(keys, gradients, strict=True):
        yield key, gradient**2


def _of_tokens(
    policy: nn.Module, batch: Batch, kind: Kind, keys: Sequence[str]
) -> Iterator[tuple[str, Tensor]]:
    """Squared gradients of every token (and component), summed."""
    layers = {key: _layer(policy, key) for key in keys}
    with _watched(policy, layers) as calls:
        actions_BKA = policy(*batch.inputs)
        watched = list(calls())
    outputs = [call.output for _, call in watched]
    for seed_BKA in _seeds(actions_BKA.detach(), batch, kind):
        gradients = torch.autograd.grad(
            actions_BKA,
            outputs,
            seed_BKA,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        of_windows: dict[str, Tensor] = {}  # a layer that is called twice adds up before squaring
        for (key, call), gradient in zip(watched, gradients, strict=True):
            part = _PER_WINDOW[type(layers[key]), key.rpartition(".")[2]](
                layers[key], call.input, gradient
            )
            of_windows[key] = of_windows[key] + part if key in of_windows else part
        for key, gradient in of_windows.items():
            yield key, (gradient**2).sum(0)


def _seeds(actions_BKA: Tensor, batch: Batch, kind: Kind) -> Iterator[Tensor]:
    """What to send backwards from the actions: one step at a time, of all windows at once."""
    present_BK1 = batch.mask_BK[..., None].to(actions_BKA.dtype)
    for step in range(actions_BKA.size(1)):
        if not batch.mask_BK[:, step].any():
            continue
        seed_BKA = torch.zeros_like(actions_BKA)
        if kind == "empirical":
            error_BKA = (actions_BKA - batch.actions_BKA) * present_BK1
            seed_BKA[:, step] = error_BKA[:, step]
            yield seed_BKA
            continue
        for component in range(actions_BKA.size(2)):
            seed_BKA.zero_()
            seed_BKA[:, step, component] = present_BK1[:, step, 0]
            yield seed_BKA


def _linear_weight(_: Any, x_BNI: Tensor, g_BNO: Tensor) -> Tensor:
    return g_BNO.flatten(1, -2).transpose(1, 2) @ x_BNI.flatten(1, -2)


def _bias(_: Any, x_BNI: Tensor, g_BNO: Tensor) -> Tensor:
    return g_BNO.flatten(1, -2).sum(1)


def _norm_weight(layer: Any, x_BNI: Tensor, g_BNI: Tensor) -> Tensor:
    unit_BNI = F.layer_norm(x_BNI, layer.normalized_shape, eps=layer.eps)
    return (g_BNI * unit_BNI).flatten(1, -2).sum(1)


def _embedding_weight(layer: Any, index_BN: Tensor, g_BNO: Tensor) -> Tensor:
    rows_BVO = g_BNO.new_zeros(len(g_BNO), layer.num_embeddings, layer.embedding_dim)
    return rows_BVO.scatter_add(1, index_BN[..., None].expand_as(g_BNO), g_BNO)


# The gradient of each window's copy of a parameter, from the layer's input and the gradient at its
# output, [B, ...].
_PER_WINDOW: dict[tuple[type, str], Callable[[Any, Tensor, Tensor], Tensor]] = {
    (nn.Linear, "weight"): _linear_weight,
    (nn.Linear, "bias"): _bias,
    (nn.LayerNorm, "weight"): _norm_weight,
    (nn.LayerNorm, "bias"): _bias,
    (nn.Embedding, "weight"): _embedding_weight,
}


def _layer(policy: nn.Module, key: str) -> nn.Module:
    layer = policy.get_submodule(key.rpartition(".")[0])
    if (type(layer), key.rpartition(".")[2]) not in _PER_WINDOW:
        raise MethodError(
            f"{key} belongs to a {type(layer).__name__}; information per token is known for "
            "linear layers, layer norms and embeddings: leave it out, or use the kind paper"
        )
    return layer


@contextmanager
def _watched(
    policy: nn.Module,
    layers: dict[str, nn.Module] | dict[str, nn.Linear],
) -> Iterator[Callable[[], Iterator[tuple[str, Call]]]]:
    """Keeps every call of the layers; what is entered gives the calls since it was last asked."""
    calls: list[tuple[nn.Module, Call]] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        calls.append((layer, Call(inputs[0].detach(), output)))
        return output.clone()  # an activation in place would change what is kept

    def taken() -> Iterator[tuple[str, Call]]:
        for layer, call in calls:
            yield from ((key, call) for key, owner in layers.items() if owner is layer)
        calls.clear()

    hooks = [layer.register_forward_hook(keep) for layer in set(layers.values())]
    try:
        with unfolded(policy):
            yield taken
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _prepared(policy: nn.Module, training: bool, parameters: Sequence[Tensor]) -> Iterator[None]:
    """Mode and gradients as they are wanted, and afterwards as they were."""
    mode = policy.training
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    policy.train(training)
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        policy.train(mode)
        for parameter in frozen:
            parameter.requires_grad_(False)


def _positions(mask_BK: Tensor, positions: int) -> Tensor:
    """Which positions of a layer belong to steps that are no padding, [B,N].

    A layer sees one position per step, or the three tokens of each in turn, with the last or not.
    A window's last action is not looked at: it counts as padding.
    """
    if positions == mask_BK.size(1):
        return mask_BK
    followed_BK = F.pad(mask_BK[:, 1:], (0, 1))
    return torch.stack([mask_BK, mask_BK, followed_BK], dim=2).flatten(1)[:, :positions]


def measure(arguments: argparse.Namespace) -> str:
    """Does what the command line asks for; a line that says what was done.

    Raises:
        HarnessError: whatever is wrong, in one line; nothing is written then.
    """
    out = Path(arguments.out)
    if out.exists():
        raise UsageError(f"--out {out} is there already; name a file that is new")
    if min(arguments.batches, arguments.batch) < 1:
        raise UsageError(
            f"--batches {arguments.batches} --batch {arguments.batch}; both have to be 1 or more"
        )
    policy, statistics = files.load(Path(arguments.policy))
    data, shape = trajectories.load(Path(arguments.data)), policy.shape
    sizes = (data.states_NS.shape[1], data.actions_NA.shape[1])
    if sizes != (shape.state_dim, shape.action_dim):
        raise DataError(
            f"{arguments.data}: {sizes[0]} state and {sizes[1]} action components, the policy has "
            f"{shape.state_dim} and {shape.action_dim}; give data of its own environment"
        )
    windows = Windows(data, statistics, shape.context)
    generator = torch.Generator().manual_seed(arguments.seed)
    batches = (windows.sample(arguments.batch, generator) for _ in range(arguments.batches))
    if arguments.kind == "grams":
        tensors = grams(policy, batches)
    else:
        keys = select(policy.state_dict(), arguments.include.split(","))
        with torch.random.fork_rng([]):
            torch.manual_seed(arguments.seed)  # dropout has no generator of its own
            tensors = fisher(policy, batches, arguments.kind, keys)
    recipe = {k: v for k, v in vars(arguments).items() if k != "out"}
    write_atomic(out, save(tensors, {"recipe": json.dumps(recipe)}))
    return f"{out}: {arguments.kind} of {len(tensors)} tensors"


def main(words: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = tool.Parser(
        prog="python -m suites.merging.merge.statistics",
        description="Measures what Fisher-weighted averaging and RegMean weigh a policy by.",
    )
    add = parser.add_argument
    add("--policy", required=True, help="a folder with model.safetensors and config.json")
    add("--data", required=True, help="a file of trajectories")
    add("--kind", required=True, choices=["paper", "empirical", "true", "grams"])
    add("--out", required=True, help="a new .safetensors file")
    add("--include", default="blocks", help=f"with commas: {', '.join(GROUPS)}, or globs")
    add("--batches", type=int, default=100)
    add("--batch", type=int, default=64, help="windows in a batch")
    add("--seed", type=tool.seed, default=0, help="of the windows, and of dropout")
    return tool.run(parser, measure, words)


if __name__ == "__main__":
    raise SystemExit(main())
