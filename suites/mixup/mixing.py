"""Weight mixup: every linear layer's weight as a learnable mixture of task and pretrained weight.

    convex   M = A * W + (1 - A) * W0                      as published, Eq. of section 3
    code     M = A * W + (1 - a)(1 - c) / r * W0           as in the released code
    with     A = a c / r,   a in [0, 1]^(O x r),   c in [0, 1]^(r x I)

A is the attention alpha: 1 where a weight is tuned, 0 where it stays pretrained. For r = 1 the
`code` form is the released one: its two coefficients do not add up to one. Biases, LayerNorms,
embeddings and the task head are not mixed; they are trained as they are.

The mixture is a parametrisation (`torch.nn.utils.parametrize`), so that any architecture works and
`fold` leaves a plain checkpoint. Reading `weight` mixes with gradients to W, a and c. A loop that
evaluates or differentiates a lot forms the mixtures once (`formed`) and brings the gradients of
the formed weights back with `MixedWeight.pull`: the model's own passes then cost no more than plain
ones.

Source: Somayajula et al., "Generalizable and Stable Finetuning of Pretrained Language Models on
Low-Resource Texts", NAACL 2024 (arXiv 2403.12918).

Shape suffixes: O output features, I input features, R rank.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from harness.errors import MethodError, unknown
from suites.mixup import kernels
from suites.mixup.settings import Form

INITIAL_STD = 0.005
"""Of the factors around one; from the released code."""


class MixedWeight(nn.Module):
    """The parametrisation of one weight.

    Args:
        pretrained_OI: W0, copied.
        form: `convex` or `code`.
        rank: r, at least 1.
        generator: draws the factors from N(1, std), clamped to [0, 1].
        std: spread of that draw.
    """

    pretrained_OI: Tensor

    def __init__(
        self,
        pretrained_OI: Tensor,
        form: Form,
        rank: int,
        generator: torch.Generator,
        std: float = INITIAL_STD,
    ) -> None:
        super().__init__()
        self.form = form
        self.rank = rank
        self.std = std
        rows, columns = pretrained_OI.shape
        self.register_buffer("pretrained_OI", pretrained_OI.detach().clone(), persistent=False)
        # Near 1 a bfloat16 is 0.004 from the next: alpha's steps would be lost.
        wide = torch.promote_types(pretrained_OI.dtype, torch.float32)
        self.rows_OR = nn.Parameter(pretrained_OI.new_empty(rows, rank, dtype=wide))
        self.columns_RI = nn.Parameter(pretrained_OI.new_empty(rank, columns, dtype=wide))
        self.formed_OI: Tensor | None = None
        """Stands for the mixture while `formed` is in force."""
        self.draw(generator)

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """Redraws both factors."""
        for factor in (self.rows_OR, self.columns_RI):
            noise = torch.randn(factor.shape, generator=generator)
            factor.copy_((1 + self.std * noise).clamp_(0, 1))

    @torch.no_grad()
    def clamp(self) -> None:
        """Brings both factors back into [0, 1]."""
        self.rows_OR.clamp_(0, 1)
        self.columns_RI.clamp_(0, 1)

    def alpha(self) -> Tensor:
        """The attention A, [O, I]."""
        return _product(self.rows_OR, self.columns_RI)

    def forward(self, weight_OI: Tensor) -> Tensor:
        """The mixed weight, [O, I]."""
        if self.formed_OI is not None:
            return self.formed_OI
        alpha_OI, dtype = self.alpha(), weight_OI.dtype
        weight_OI, pretrained_OI = self._widened(weight_OI, self.pretrained_OI)
        if self.form == "convex":
            return torch.lerp(pretrained_OI, weight_OI, alpha_OI).to(dtype)
        rest_OI = _product(1 - self.rows_OR, 1 - self.columns_RI)
        return torch.addcmul(alpha_OI * weight_OI, rest_OI, pretrained_OI).to(dtype)

    def _widened(self, *tensors: Tensor) -> list[Tensor]:
        """The tensors in the factors' precision."""
        return [tensor.to(self.rows_OR.dtype) for tensor in tensors]

    @torch.no_grad()
    def mix(self, weight_OI: Tensor, out_OI: Tensor) -> None:
        """`forward` without gradients, in one sweep where there is a kernel."""
        if self.rank == 1 and kernels.usable(weight_OI, self.pretrained_OI):
            rows_O, columns_I = self.rows_OR[:, 0], self.columns_RI[0]
            convex = self.form == "convex"
            kernels.mix(weight_OI, self.pretrained_OI, rows_O, columns_I, out_OI, convex)
        else:
            out_OI.copy_(self(weight_OI))

    @torch.no_grad()
    def pull(
        self, weight_OI: Tensor, gradient_OI: Tensor, *, weight: bool = True, factors: bool = True
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """From the gradient of the mixed weight to those of W, a and c, as autograd has them.

        Args:
            weight_OI: W.
            gradient_OI: dL/dM; dL/dW is written over it.
            weight: whether dL/dW is wanted; else `gradient_OI` has no meaning afterwards.
            factors: whether dL/da and dL/dc are wanted; else None.
        """
        if not factors:
            if self.rank > 1:
                return gradient_OI.mul_(self.alpha()), None, None
            return gradient_OI.mul_(self.rows_OR).mul_(self.columns_RI), None, None
        if self.rank == 1 and kernels.usable(weight_OI, self.pretrained_OI, gradient_OI):
            rows_O, columns_I = kernels.pull(
                weight_OI,
                self.pretrained_OI,
                self.rows_OR[:, 0],
                self.columns_RI[0],
                gradient_OI,
                self.form == "convex",
                weight,
            )
            return gradient_OI, rows_O[:, None], columns_I[None]
        weight_OI, pretrained_OI, wide_OI = self._widened(
            weight_OI, self.pretrained_OI, gradient_OI
        )
        if self.form == "convex":
            inner_OI = (weight_OI - pretrained_OI).mul_(wide_OI)
        else:
            inner_OI = weight_OI * wide_OI
        rows_OR, columns_RI = inner_OI @ self.columns_RI.T, self.rows_OR.T @ inner_OI
        if self.form == "code":
            torch.mul(pretrained_OI, wide_OI, out=inner_OI)
            rows_OR -= inner_OI @ (1 - self.columns_RI).T
            columns_RI -= (1 - self.rows_OR).T @ inner_OI
        return gradient_OI.mul_(self.alpha()), rows_OR / self.rank, columns_RI / self.rank


class MixedLayer(NamedTuple):
    """A linear layer whose weight is mixed."""

    name: str
    linear: nn.Module
    mixup: MixedWeight
    weight_OI: nn.Parameter
    """W."""


def attach(
    model: nn.Module,
    pattern: str = "",
    form: Form = "convex",
    rank: int = 1,
    generator: torch.Generator | None = None,
    *,
    pooler: bool = True,
    std: float = INITIAL_STD,
) -> list[str]:
    """Mixes the weight of every `nn.Linear` whose dotted name the pattern is found in.

    W starts at the pretrained weight. A layer that shares its weight with an embedding, as the
    output of a language model may, is that embedding and left as it is. Factors are float32 where
    weights are of half precision. Returns the names of the layers.

    Args:
        model: any module, as a Hugging Face encoder.
        pattern: regular expression; the empty one is found in every name.
        form: `convex` as published, `code` as released.
        rank: of the attention.
        generator: draws the factors; by default one with seed 0.
        pooler: whether layers of a pooler are mixed too.
        std: spread of the drawn factors around one.

    Raises:
        MethodError: no linear layer matches, form or rank does not exist, two layers share a
            weight, or a matrix that matches belongs to no linear layer.
    """
    if form not in get_args(Form):
        raise MethodError(unknown("form of mixup", form, get_args(Form)))
    if rank < 1:
        raise MethodError(f"mixup rank {rank} is too small; it must be at least 1")
    generator = generator or torch.Generator().manual_seed(0)
    found = [
        (name, module)
        for name, module in linear_layers(model, pattern)
        if (pooler or "pooler" not in name) and not parametrize.is_parametrized(module)
    ]
    if not found:
        raise MethodError(
            f"no linear layer of {type(model).__name__} matches {pattern!r}; "
            "give a pattern that is found in the names of model.named_modules()"
        )
    for _, module in found:
        mixup = MixedWeight(module.weight, form, rank, generator, std)
        parametrize.register_parametrization(module, "weight", mixup)
    return [name for name, _ in found]


def linear_layers(model: nn.Module, pattern: str = "") -> list[tuple[str, nn.Linear]]:
    """The linear layers that have a weight of their own, by name, in the model's order.

    Args:
        model: any module.
        pattern: regular expression that is found in the names.

    Raises:
        MethodError: two layers share a weight, something else forms the weight of one, or a matrix
            whose name matches is neither a linear layer's nor an embedding's, so that it would be
            passed over.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and re.search(pattern, name) and not _has_weight(module):
            raise MethodError(
                f"{type(model).__name__}: the weight of {name} is no parameter of its own "
                "(pruning, weight or spectral norm, a lazy layer); take that off, or give a "
                "pattern that leaves it out"
            )
    owners: dict[int, list[tuple[str, nn.Module]]] = {}
    for name, module in model.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            owners.setdefault(id(parameter), []).append((name, module))
            matrix = sum(size > 1 for size in parameter.shape) > 1 and "bias" not in own
            known = isinstance(module, nn.Linear | nn.Embedding | parametrize.ParametrizationList)
            if matrix and not known and not isinstance(module, MixedWeight):
                whole = f"{name}.{own}".removeprefix(".")
                if re.search(pattern, whole):
                    raise MethodError(
                        f"{type(model).__name__}: {whole} is a matrix of {type(module).__name__}, "
                        "not of an nn.Linear, and would be passed over; give a pattern that leaves "
                        "it out, or choose another encoder"
                    )
    found = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear) or not re.search(pattern, name):
            continue
        shared = [] if parametrize.is_parametrized(module) else owners.get(id(module.weight), [])
        others = [(other, owner) for other, owner in shared if owner is not module]
        if any(isinstance(owner, nn.Embedding) for _, owner in others):
            continue
        if others:
            raise MethodError(
                f"{type(model).__name__}: {name} and {others[0][0]} share one weight; give a "
                "pattern that leaves both out, or untie them"
            )
        found.append((name, module))
    return found


def _has_weight(linear: nn.Linear) -> bool:
    """Whether the layer's weight is a parameter of it, or formed by a method of this suite."""
    if parametrize.is_parametrized(linear, "weight"):
        parts: Any = linear.parametrizations
        return all(type(part).__module__.startswith(f"{__package__}.") for part in parts["weight"])
    own = dict(linear.named_parameters(recurse=False)).get("weight")
    return own is not None and not isinstance(own, nn.UninitializedParameter)


def mixed(model: nn.Module) -> list[MixedLayer]:
    """The mixed layers of a model, in its order."""
    found = []
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            slot: Any = module.parametrizations["weight"]
            if isinstance(slot[0], MixedWeight):
                found.append(MixedLayer(name, module, slot[0], slot.original))
    return found


@contextmanager
def formed(model: nn.Module, buffers: Sequence[Tensor] | None = None) -> Iterator[list[Tensor]]:
    """Forms every mixed weight once, as a leaf that gradients can be asked of.

    Inside, reading a layer's weight gives the formed one, whatever W and the factors become.

    Args:
        model: with mixed layers.
        buffers: memory for the formed weights, one a layer, to be used again and again.
    """
    layers = mixed(model)
    buffers = buffers or [torch.empty_like(layer.weight_OI) for layer in layers]
    leaves = [buffer.detach().requires_grad_() for buffer in buffers]
    try:
        for layer, buffer, leaf in zip(layers, buffers, leaves, strict=True):
            layer.mixup.mix(layer.weight_OI, buffer)
            layer.mixup.formed_OI = leaf
        yield leaves
    finally:
        for layer in layers:
            layer.mixup.formed_OI = None


def clamp(model: nn.Module) -> None:
    """Brings all factors back into [0, 1]."""
    for layer in mixed(model):
        layer.mixup.clamp()


def factors(model: nn.Module) -> list[nn.Parameter]:
    """The learnable factors a and c of all layers."""
    return [f for layer in mixed(model) for f in (layer.mixup.rows_OR, layer.mixup.columns_RI)]


@torch.no_grad()
def alphas(model: nn.Module) -> dict[str, Tensor]:
    """The attention of every mixed layer, [O, I], by the layer's name."""
    return {layer.name: layer.mixup.alpha() for layer in mixed(model)}


def fold(model: nn.Module) -> None:
    """Puts the mixed weights in place of the mixtures: a plain model with the same outputs."""
    for layer in mixed(model):
        parametrize.remove_parametrizations(layer.linear, "weight", leave_parametrized=True)


def _product(rows_OR: Tensor, columns_RI: Tensor) -> Tensor:
    if rows_OR.size(1) == 1:
        return rows_OR * columns_RI
    return rows_OR @ columns_RI / rows_OR.size(1)
