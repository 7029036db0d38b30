"""The pieces that every training loop needs: exact state, steps, decay groups, clipping, FLOPs.

Learning-rate schedules and the optimiser's settings are plain data: `harness.settings`.

The only engine module that imports torch; suites import it from their own training code.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue
from safetensors.torch import load_file, save
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from harness.errors import DataError, Diverged, StoreError, brief
from harness.settings import AdamW
from harness.store import Checkpoint
from harness.weights import Weights


class State:
    """Everything that a training loop needs to resume bit for bit after an interruption.

    Modules, optimisers and generators are held by reference and read when the state is packed.
    `tensors` (the best weights so far, ...) and `values` (the best score, ...) are dictionaries
    that the loop fills as it likes. The global random states of torch come along.
    """

    def __init__(
        self,
        *,
        modules: Mapping[str, torch.nn.Module] | None = None,
        optimizers: Mapping[str, torch.optim.Optimizer] | None = None,
        generators: Mapping[str, torch.Generator] | None = None,
    ) -> None:
        self.modules = dict(modules or {})
        self.optimizers = dict(optimizers or {})
        self.generators = dict(generators or {})
        self.tensors: dict[str, torch.Tensor] = {}
        self.values: dict[str, JsonValue] = {}

    def pack(self) -> tuple[bytes, dict[str, JsonValue]]:
        """The state as safetensors bytes and JSON."""
        tensors = {f"tensors/{k}": v for k, v in self.tensors.items()}
        groups: dict[str, JsonValue] = {}
        plain: dict[str, JsonValue] = {}
        for name, module in self.modules.items():
            for key, value in module.state_dict().items():
                tensors[f"modules/{name}/{key}"] = value
        for name, optimizer in self.optimizers.items():
            packed = optimizer.state_dict()
            groups[name] = packed["param_groups"]
            for index, slots in packed["state"].items():
                for key, value in slots.items():
                    if isinstance(value, torch.Tensor):
                        tensors[f"optimizers/{name}/{index}/{key}"] = value
                    else:
                        plain[f"{name}/{index}/{key}"] = value
        for name, generator in self.generators.items():
            tensors[f"generators/{name}"] = generator.get_state()
        tensors["global/cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["global/cuda"] = torch.cuda.get_rng_state()
        own = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
        meta: dict[str, JsonValue] = {"groups": groups, "plain": plain, "values": self.values}
        return save(own), json.loads(json.dumps(meta))

    def unpack(self, checkpoint: Checkpoint) -> None:
        """Puts a packed state back into the modules, optimisers and generators held here.

        Raises:
            StoreError: it belongs to another model or loop.
        """
        tensors = load_file(checkpoint.tensors)
        meta: Any = checkpoint.meta
        try:
            for name, module in self.modules.items():
                module.load_state_dict(_below(tensors, f"modules/{name}/"))
            for name, optimizer in self.optimizers.items():
                slots: dict[int, dict[str, Any]] = {}
                for path, value in _below(tensors, f"optimizers/{name}/").items():
                    index, _, key = path.partition("/")
                    slots.setdefault(int(index), {})[key] = value
                for path, value in _below(meta["plain"], f"{name}/").items():
                    index, _, key = path.partition("/")
                    slots.setdefault(int(index), {})[key] = value
                groups = [
                    {
                        k: tuple(v) if isinstance(v, list) and k != "params" else v
                        for k, v in g.items()
                    }
                    for g in meta["groups"][name]
                ]
                optimizer.load_state_dict({"state": slots, "param_groups": groups})
            for name, generator in self.generators.items():
                generator.set_state(tensors[f"generators/{name}"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise StoreError(
                f"{checkpoint.tensors}: checkpoint of another model ({brief(error)}); "
                "remove its folder and run again"
            ) from None
        self.tensors = _below(tensors, "tensors/")
        self.values = meta["values"]
        torch.set_rng_state(tensors["global/cpu"])
        if "global/cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["global/cuda"])


def adamw(
    named: Iterable[tuple[str, nn.Parameter]],
    settings: AdamW,
    *,
    lr: float = 1e-3,
    decayed: Callable[[str, nn.Parameter], bool] = lambda _name, parameter: parameter.dim() > 1,
) -> torch.optim.AdamW:
    """AdamW over named parameters, in two groups: those that are decayed, and the rest.

    Args:
        named: `model.named_parameters()`; what asks for no gradient is left out.
        settings: betas, epsilon and weight decay.
        lr: learning rate, which `set_rate` changes at each update.
        decayed: whether a parameter is decayed; by default matrices are, and vectors are not.
    """
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in named:
        if parameter.requires_grad:
            groups[decayed(name, parameter)].append(parameter)
    return torch.optim.AdamW(
        [
            {"params": members, "weight_decay": settings.weight_decay if decay else 0.0}
            for decay, members in groups.items()
            if members
        ],
        lr=lr,
        betas=settings.betas,
        eps=settings.eps,
        fused=True,
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip(optimizer: torch.optim.Optimizer, norm: float | None) -> None:
    """Scales the gradients of all parameters of an optimiser down to a norm; None: leaves them."""
    if norm is not None:
        members = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(members, norm)


def read_tensors(path: Path, keys: Iterable[str] | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file or of a model's folder, on the CPU.

    Raises:
        DataError: it is missing, not such a file, or lacks one of the `keys`; in one line.
    """
    weights = Weights(path)
    names = list(weights) if keys is None else list(keys)
    for name in names:
        if name not in weights:
            raise DataError(f"{path} has no tensor {name}; one of its tensors is {min(weights)}")
    return weights.load(names)


def finite(loss: float, step: int) -> float:
    """The loss itself, if it is a number.

    Raises:
        Diverged: it is NaN or infinite; the trial is recorded as `diverged`.
    """
    if not math.isfinite(loss):
        raise Diverged(f"loss is {loss} at step {step}")
    return loss


def count_flops(function: Callable[[], object]) -> int:
    """Floating-point operations of one call, a multiply-add counted as two.

    Counts the operators that torch or a suite registered a formula for: matrix products and the
    suite's own kernels, not element-wise work.
    """
    counter = FlopCounterMode(display=False)
    with counter:
        function()
    return int(counter.get_total_flops())


def parameters(module: torch.nn.Module) -> int:
    """Number of trainable scalars, shared ones counted once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _below(mapping: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in mapping.items() if k.startswith(prefix)}
