"""A GPU that is none: torch's meta device, with the rules of a device of its own.

Shapes and devices are those of a run on a GPU, numbers are not: what is copied to the CPU is
zeros, `.item()` is 0.5. Anything that would fail on a GPU for its device fails here: an operand or
a generator that was left on the CPU.
"""

from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.fx.experimental import _config
from torch.optim import optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
_COPIES = {
    aten._to_copy.default, aten.copy_.default,
    aten.to.device, aten.to.dtype_layout,  # whole only where no gradient can be asked for
}  # fmt: skip
_FUSED = {aten._fused_adam_.default, aten._fused_adamw_.default}
"""Optimisers in one kernel, which meta lacks."""
_INDEXED = {
    aten.index.Tensor, aten.index_put.default, aten.index_put_.default,
    aten._index_put_impl_.default,
}  # fmt: skip
"""Indices may lie on the CPU."""


_AUTOCAST = torch.is_autocast_enabled


def _autocast(device: str | None = None) -> bool:
    """Off on the fake device, which torch's question about autocast does not know."""
    return device != "meta" and (_AUTOCAST(device) if device else _AUTOCAST())


class FakeDevice(TorchDispatchMode):
    """While it is entered, the device `meta` behaves as a GPU would."""

    def __enter__(self) -> "FakeDevice":
        self._patches = [
            _config.patch(meta_nonzero_assume_all_nonzero=True),
            mock.patch.object(torch, "is_autocast_enabled", _autocast),
            mock.patch.object(
                optimizer, "_get_fused_kernels_supported_devices", return_value=["meta"]
            ),
        ]
        for patch in self._patches:
            patch.__enter__()
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        for patch in self._patches:
            patch.__exit__(*raised)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if func is aten._local_scalar_dense.default and tensors[0].is_meta:
            return 1 if not tensors[0].is_floating_point() else 0.5
        if func in _COPIES:
            return self._copied(func, args, kwargs)
        places = {t.device.type for t in tensors if t.dim() > 0}
        if len(places) > 1 and func not in _INDEXED:
            raise RuntimeError(f"{func}: operands on {sorted(places)}")
        if func in _FUSED:
            return None
        if func is aten.bincount.default and tensors[0].is_meta:
            return tensors[0].new_empty(max(kwargs.get("minlength", 0), *args[2:3], 1))
        generator = kwargs.get("generator")
        on_meta = "meta" in places or str(kwargs.get("device")) == "meta"
        if generator is not None and on_meta and generator.device.type != "meta":
            raise RuntimeError(f"{func}: a generator on {generator.device.type} for a GPU's tensor")
        return func(*args, **kwargs)

    def _copied(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Copies to the CPU are zeros; all others are copies."""
        if func is aten.copy_.default:
            target, source = args[:2]
            if source.is_meta and not target.is_meta:
                return target.zero_()
        else:
            named = next((a for a in args[1:] if isinstance(a, torch.device)), None)
            source, device = args[0], kwargs.get("device") or named
            if source.is_meta and device is not None and torch.device(device).type == "cpu":
                dtype = kwargs.get("dtype") or source.dtype
                return torch.zeros(source.shape, dtype=dtype)
        return func(*args, **kwargs)
