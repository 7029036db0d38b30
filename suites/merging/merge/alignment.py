"""Git Re-Basin: permutes the units of one network to match those of another.

Hidden units can change places without changing what a network computes. Two networks trained from
different initialisations may have learnt the same units in another order, and then average badly;
aligned first, like meets like. Units are matched by their weights: the permutation that maximises
the inner product with the reference, found exactly by linear assignment; where permutations depend
on each other (those of the residual stream and of the layers in it) one is improved at a time until
none gets better.

What can change places, exactly:

- the hidden units of each feed-forward layer, of the usual architectures too;
- in the attention of this suite's policies, given the number of heads: the heads; inside a head the
  channels that queries and keys share, and those that values and projection share;
- on request the channels of the residual stream of this suite's policies, which run through every
  layer, the input and output layers included.

Names say what may be a feed-forward layer, sizes decide what it is: all tensors that share units
have to agree on how many there are, and where two layouts fit, nothing is guessed.

Source: Ainsworth et al., "Git Re-Basin" (2023), section 3.2, with the matching of heads added.

Shape suffixes: U units of a group, H heads.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.errors import MethodError
from harness.weights import pieces

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Axis:
    """Where the units of a group lie in one tensor: elements `start` to `start + size` of `dim`."""

    key: str
    dim: int
    start: int
    size: int


@dataclass(frozen=True)
class Units:
    """Units that change places together, and everywhere that they lie.

    Several `parts` are several kinds of channels that the same heads own: units move inside their
    head, each kind in its own order, and whole heads move with both kinds.
    """

    name: str
    parts: tuple[tuple[Axis, ...], ...]
    heads: int = 1


# Feed-forward layers of a block: the layers into the hidden units and the one out of them; torch
# keeps their weights as [out, in], those marked True may also be kept as [in, out] (GPT-2's Conv1D;
# GPT-Neo, GPT-BigCode and nanoGPT give the same names to linear layers).
_BLOCK = re.compile(r"(?:.*\.)?(?:blocks?|h|layers?)\.\d+(?:\.mlp)?")
_NORM = re.compile(r"(ln|ln_\w+|\w*norm\w*)\.(weight|bias)", re.IGNORECASE)
_FEED_FORWARD = (
    (("mlp.up",), "mlp.down", False),
    (("mlp.c_fc",), "mlp.c_proj", True),
    (("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj", False),
    (("mlp.dense_h_to_4h",), "mlp.dense_4h_to_h", False),
    (("fc1",), "fc2", False),
    (("intermediate.dense",), "output.dense", False),
    (("linear1",), "linear2", False),
)
# The residual stream: the dimension of each tensor of this suite's policies that it runs along.
_RESIDUAL = (
    (r"embed_(return|state|action)\.(weight|bias)", 0),
    (r"embed_norm\.(weight|bias)", 0),
    (r"embed_time\.weight", 1),
    (r"blocks\.\d+\.(ln_1|ln_2)\.(weight|bias)", 0),
    (r"blocks\.\d+\.(attn\.qkv|mlp\.up)\.weight", 1),
    (r"blocks\.\d+\.(attn\.qkv|mlp\.up)\.bias", None),
    (r"blocks\.\d+\.(attn\.proj|mlp\.down)\.(weight|bias)", 0),
    (r"ln_f\.(weight|bias)", 0),
    (r"predict_action\.weight", 1),
    (r"predict_action\.bias", None),
)


def align(
    reference: State, other: State, heads: int | None = None, residual: bool = False
) -> dict[str, Tensor]:
    """`other` with its units in the places where `reference` has the like; the same function.

    Tensors that only one of the two has, or that differ in shape (the input and output layers of
    policies for different tasks), take part in the permutation but not in the comparison.

    Args:
        heads: Attention heads of both; None leaves the attention alone.
        residual: Permute the residual stream as well.

    Raises:
        MethodError: nothing can be permuted, sizes that do not agree, a layout that cannot be
            told, heads that do not divide the width, or a residual stream of an architecture that
            is not this suite's.
    """
    if not residual:
        aligned = Aligned(reference, other, other, heads)
        return {key: aligned[key].detach().clone() for key in other}
    # The embeddings tell the stream's order before units are matched.
    groups = [residual_stream(other), *_groups(other, heads)]
    changed = {key: value.detach().clone() for key, value in other.items()}
    improved = True
    while improved:
        improved = False
        for units in groups:
            orders = _match(reference, changed, units)
            for part, order_U in zip(units.parts, orders, strict=True):
                if not torch.equal(order_U, torch.arange(len(order_U))):
                    improved = True
                    for axis in part:
                        _permute(changed[axis.key], axis, order_U)
    return changed


class Aligned(Mapping[str, Tensor]):
    """A state with its hidden units and heads aligned; tensors are permuted as they are asked for.

    Without the residual stream no two groups share an axis: one round finds every order.

    Raises:
        MethodError: see `align`.
    """

    def __init__(
        self, reference: State, other: State, shapes: State, heads: int | None = None
    ) -> None:
        """`shapes`: `other` itself, or its tensors on the meta device."""
        self._other, self.shapes = other, shapes
        self.groups = _groups(shapes, heads)
        self._moves: dict[str, list[tuple[Axis, Tensor]]] = {}
        for units in self.groups:
            for part, order_U in zip(units.parts, _match(reference, other, units), strict=True):
                if not torch.equal(order_U, torch.arange(len(order_U))):
                    for axis in part:
                        self._moves.setdefault(axis.key, []).append((axis, order_U))

    @property
    def moved(self) -> set[str]:
        """Names of the tensors that are not as they were."""
        return set(self._moves)

    def __iter__(self) -> Iterator[str]:
        return iter(self._other)

    def __len__(self) -> int:
        return len(self._other)

    def __getitem__(self, key: str) -> Tensor:
        tensor = self._other[key]
        if key in self._moves:
            tensor = tensor.detach().clone()
            for axis, order_U in self._moves[key]:
                _permute(tensor, axis, order_U)
        return tensor

    def pieces(self, key: str) -> Iterator[Tensor]:
        """The elements of a tensor in their order, in flat pieces."""
        return pieces({key: self[key]} if key in self._moves else self._other, key)


def _groups(shapes: State, heads: int | None) -> list[Units]:
    groups = [*feed_forward(shapes), *(attention(shapes, heads) if heads is not None else [])]
    if not groups:
        raise MethodError(
            f"no feed-forward layer known among {', '.join(list(shapes)[:3])}, ...; "
            "align models with names such as blocks.0.mlp.up.weight, or merge them unaligned"
        )
    return groups


def feed_forward(state: State) -> list[Units]:
    """The hidden units of every feed-forward layer whose names are known.

    Raises:
        MethodError: tensors of a layer that do not agree on the number of units, a layout that
            cannot be told, or a tensor between them that is not known.
    """
    groups = []
    for into, out, either in _FEED_FORWARD:
        tail = f".{out}.weight"
        for key in state:
            block = key.removesuffix(tail)
            if block == key or not _BLOCK.fullmatch(block):
                continue
            if any(f"{block}.{name}.weight" not in state for name in into):
                continue
            layouts = [_layer(state, block, into, out, t) for t in ((False, True)[: 1 + either])]
            fitting = [axes for axes in layouts if _agree(state, block, out, axes)]
            if len(fitting) != 1:
                shapes = ", ".join(f"{a.key} {list(state[a.key].shape)}" for a in layouts[0])
                raise MethodError(
                    f"the hidden units of {block} cannot be told: {shapes} "
                    f"{'fit two layouts' if fitting else 'do not fit together'}; leave --align out"
                )
            _nothing_between(state, block, fitting[0])
            groups.append(Units(key, (tuple(fitting[0]),)))
    return groups


def _layer(
    state: State, block: str, into: Sequence[str], out: str, inputs_first: bool
) -> list[Axis]:
    """Where the hidden units of a layer lie, if its weights are kept that way round."""
    key = f"{block}.{out}.weight"
    dim = 0 if inputs_first else 1
    axes = [Axis(key, dim, 0, state[key].shape[dim])]
    for name in into:
        weight, bias = f"{block}.{name}.weight", f"{block}.{name}.bias"
        axes.append(Axis(weight, 1 - dim, 0, state[weight].shape[1 - dim]))
        if bias in state:
            axes.append(Axis(bias, 0, 0, state[bias].shape[0]))
    return axes


def _agree(state: State, block: str, out: str, axes: Sequence[Axis]) -> bool:
    """Whether all tensors have as many hidden units, and the other sides are the block's width."""
    if len({axis.size for axis in axes}) != 1:
        return False
    sides = {state[axis.key].shape[1 - axis.dim] for axis in axes if state[axis.key].dim() == 2}
    if (bias := state.get(f"{block}.{out}.bias")) is not None:
        sides.add(len(bias))
    place = block.removesuffix(".mlp")
    for key, value in state.items():  # a norm of the block is as wide as the residual stream
        own = key.removeprefix(f"{place}.")
        if own != key and _NORM.fullmatch(own) and value.dim() == 1:
            sides.add(len(value))
    return len(sides) == 1


def _nothing_between(state: State, block: str, axes: Sequence[Axis]) -> None:
    """Refuses a layer with a further vector over its hidden units, such as a norm inside of it."""
    size, known = axes[0].size, {axis.key for axis in axes}
    width = state[axes[0].key].shape[1 - axes[0].dim]
    for key, value in state.items():
        inside = key.startswith(f"{block}.") and value.dim() == 1 and len(value) == size != width
        if inside and key not in known and "attn" not in key and "attention" not in key:
            raise MethodError(
                f"{key} has as many elements as the hidden units of {block}, and what it does to "
                "them is not known; leave --align out"
            )


def products_agree(state: State, aligned: Aligned) -> bool:
    """Whether every group computes the same linear map through its units as before.

    The product over the units of what goes in and what comes out does not depend on their order.
    It is compared on random vectors: two products that differ agree there with probability 0.
    """
    generator = torch.Generator().manual_seed(0)
    for units in aligned.groups:
        for part in units.parts:
            first, *others = (axis for axis in part if aligned.shapes[axis.key].dim() == 2)
            for second in others:
                width = aligned.shapes[second.key].shape[1 - second.dim]
                probe_OV = torch.randn(width, 2, dtype=torch.float64, generator=generator)
                before, after = (
                    _units(s[first.key], first).T @ (_units(s[second.key], second) @ probe_OV)
                    for s in (state, aligned)
                )
                if not torch.allclose(before, after, rtol=0, atol=1e-9 * float(before.norm())):
                    return False
    return True


def attention(state: State, heads: int) -> list[Units]:
    """The heads and channels of every attention layer named as this suite names them.

    Raises:
        MethodError: `heads` does not divide the width.
    """
    groups = []
    for key in state:
        if not key.endswith("attn.qkv.weight"):
            continue
        prefix = key.removesuffix("qkv.weight")
        width = state[f"{prefix}proj.weight"].shape[1]
        if heads < 1 or width % heads:
            raise MethodError(f"{heads} heads do not divide the width {width} of {key}")
        query, keys, value = (
            (Axis(key, 0, n * width, width), Axis(f"{prefix}qkv.bias", 0, n * width, width))
            for n in range(3)
        )
        match = (*query, *keys)
        carry = (*value, Axis(f"{prefix}proj.weight", 1, 0, width))
        parts = tuple(tuple(a for a in axes if a.key in state) for axes in (match, carry))
        groups.append(Units(key, parts, heads))
    return groups


def residual_stream(state: State) -> Units:
    """The channels of the residual stream, in every tensor that they run along.

    Raises:
        MethodError: a tensor that is not one of this suite's policies.
    """
    axes = []
    for key, value in state.items():
        dims = [dim for pattern, dim in _RESIDUAL if re.fullmatch(pattern, key)]
        if not dims:
            raise MethodError(
                f"{key} is not a tensor of this suite's policies, whose residual stream is known; "
                "align without the residual stream"
            )
        if dims[0] is not None:
            axes.append(Axis(key, dims[0], 0, value.shape[dims[0]]))
    return Units("the residual stream", (tuple(axes),))


def _match(reference: State, other: State, units: Units) -> list[Tensor]:
    """For each part, which unit of `other` belongs in each place; nothing moves without a gain."""
    alike = [_similarity(reference, other, part) for part in units.parts]
    if units.heads == 1:
        return [_assign(alike_UU) for alike_UU in alike]
    channels = len(alike[0]) // units.heads
    tiles = [s_UU.view(units.heads, channels, units.heads, channels) for s_UU in alike]
    inside = [
        [[_assign(tile[h, :, g]) for g in range(units.heads)] for h in range(units.heads)]
        for tile in tiles
    ]
    places = torch.arange(channels)
    gains_HH = torch.tensor(
        [
            [
                sum(
                    float(tile[h, places, g, orders[h][g]].sum())
                    for tile, orders in zip(tiles, inside, strict=True)
                )
                for g in range(units.heads)
            ]
            for h in range(units.heads)
        ],
        dtype=torch.float64,
    )
    moved = _assign(gains_HH).tolist()
    return [
        torch.cat([orders[h][g] + g * channels for h, g in enumerate(moved)]) for orders in inside
    ]


def _similarity(reference: State, other: State, part: Sequence[Axis]) -> Tensor:
    """Inner products of every unit's weights with every other's, over all that is comparable."""
    size = part[0].size
    total_UU = torch.zeros(size, size, dtype=torch.float64)
    for axis in part:
        theirs, own = reference.get(axis.key), other[axis.key]
        if theirs is not None and theirs.shape == own.shape:
            total_UU += _units(theirs, axis) @ _units(own, axis).T
    return total_UU


def _units(tensor: Tensor, axis: Axis) -> Tensor:
    taken = tensor.detach().narrow(axis.dim, axis.start, axis.size).movedim(axis.dim, 0)
    return taken.reshape(axis.size, -1).double().cpu()


def _assign(gain_UU: Tensor) -> Tensor:
    """The assignment of the largest total gain; the order as it is, where none is better."""
    from scipy.optimize import linear_sum_assignment  # a third of the start of a command line

    # Costs, not gains: to maximise, the solver would first copy the matrix.
    cost_UU = gain_UU.contiguous().neg_()
    _, columns = linear_sum_assignment(cost_UU.numpy())
    gain_UU = cost_UU.neg_()
    order_U = torch.as_tensor(columns, dtype=torch.int64)
    places = torch.arange(len(order_U))
    better = float(gain_UU[places, order_U].sum())
    stay = float(gain_UU.trace())
    noise = 1e-9 * float(gain_UU.norm())  # of rounding, on which the rounds could continue forever
    return order_U if better > stay + noise else places


def _permute(tensor: Tensor, axis: Axis, order_U: Tensor) -> None:
    moved = tensor.narrow(axis.dim, axis.start, axis.size)
    moved.copy_(moved.index_select(axis.dim, order_U.to(tensor.device)))
