"""What the arguments of `GATEConv` must be, when it is made and when it runs: one line where not.

Shape suffixes as in `conv.py`.
"""

import math
from numbers import Real

import torch
from torch import Tensor

from harness.errors import MethodError, SpecError, unknown

REDUCTIONS = {
    "add": "sum",
    "sum": "sum",
    "mean": "mean",
    "min": "amin",
    "max": "amax",
    "mul": "prod",
}
"""What PyG calls a reduction, and what torch calls it."""


def demand_whole(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SpecError(f"GATEConv: {name}={value!r}; it must be a whole number, at least 1")


def pair_of_widths(in_channels: object) -> tuple[int, int]:
    if isinstance(in_channels, tuple | list):
        if len(in_channels) != 2:
            raise SpecError(
                f"GATEConv: in_channels={in_channels!r}; it must be one width, or a pair of "
                f"source and target width"
            )
        source, target = in_channels
    else:
        source = target = in_channels
    for width in (source, target):
        demand_whole("in_channels", width)
    return source, target


def demand_number(name: str, value: object, low: float, high: float) -> None:
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not low <= number <= high:
        bounds = f"from {low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g}"
    elif math.isfinite(number):
        return
    else:
        bounds = "finite"
    raise SpecError(f"GATEConv: {name}={value!r}; it must be a number, {bounds}")


def demand_fill_value(value: object, edge_dim: int | None) -> None:
    if isinstance(value, str):
        if value not in REDUCTIONS:
            there = ("a number", "a tensor", *REDUCTIONS)
            raise SpecError(unknown("fill_value of GATEConv", value, there))
    elif isinstance(value, Tensor):
        if value.numel() not in {1, edge_dim or 1} or value.dim() > 1:
            raise SpecError(
                f"GATEConv: fill_value is a tensor of shape {list(value.shape)}; with "
                f"edge_dim={edge_dim} it must hold 1 or {edge_dim or 1} numbers"
            )
    else:
        demand_number("fill_value", value, -math.inf, math.inf)


def pair_of_features(x: object) -> tuple[Tensor, Tensor]:
    if isinstance(x, Tensor):
        return x, x
    if isinstance(x, tuple | list) and len(x) == 2 and all(isinstance(y, Tensor) for y in x):
        return x[0], x[1]
    is_pair = isinstance(x, tuple | list)
    given = f"({', '.join(type(y).__name__ for y in x)})" if is_pair else type(x).__name__  # type: ignore[attr-defined]
    raise MethodError(
        f"GATEConv: x is {given}; it must be a tensor [nodes, features], or a pair of these for "
        f"sources and targets"
    )


def demand_alike(what: str, tensor: Tensor, weight: Tensor) -> None:
    """Of the dtype and on the device of the layer; autocast takes any precision."""
    kind = weight.device.type
    casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    cast_too = casts and tensor.is_floating_point()
    if tensor.device != weight.device or not (tensor.dtype == weight.dtype or cast_too):
        raise MethodError(
            f"GATEConv: {what}: {tensor.dtype} on {tensor.device}; the layer is {weight.dtype} on "
            f"{weight.device}; move or convert one of them with .to()"
        )


def demand_edges(edge_index: object) -> None:
    if not isinstance(edge_index, Tensor):
        given = type(edge_index).__name__
        way = (
            "take its coo() as torch.stack([col, row])"
            if given == "SparseTensor"
            else "build one with torch.tensor(edges) or torch.from_numpy(edges)"
        )
        raise MethodError(
            f"GATEConv: edge_index is a {given}; it must be a tensor, torch.int64 [2, edges], "
            f"source then target; {way}"
        )
    if edge_index.layout != torch.strided:
        raise MethodError(
            f"GATEConv: edge_index is a sparse matrix ({edge_index.layout}); of an adj_t take "
            "torch_geometric.utils.to_edge_index(adj_t)[0].flip(0), which is [2, edges]"
        )
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or edge_index.dtype != torch.int64:
        raise MethodError(
            f"GATEConv: edge_index is {edge_index.dtype} {list(edge_index.shape)}; it must be "
            f"torch.int64 [2, edges], source then target"
        )
