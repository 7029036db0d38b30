"""Cross-entropy of a linear output layer without ever holding the logits of all tokens.

Shape suffixes: N tokens, M tokens of one chunk, D features, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

IGNORED = -100
"""Target of a token that does not count, as everywhere in torch."""

# Logits held at a time: on a CPU they should stay in its cache, on a GPU they should fill it.
CHUNK_ELEMENTS = {"cpu": 2**20, "cuda": 2**27}


def linear_cross_entropy(
    h_ND: Tensor,
    weight_VD: Tensor,
    target_N: Tensor,
    scale: float,
    divisor: Tensor | int | None = None,
) -> Tensor:
    """Mean over the tokens that count of -log softmax(scale * W h)[target], nats.

    With `divisor` the sum is divided by it in place of by how many count: batches that are split
    into unequal parts then add up to their mean.

    Gradients are computed with the loss, chunk by chunk, since every chunk's logits are at hand
    then; the loss can be differentiated once. NaN where no token counts, as in torch.
    """
    needed = torch.is_grad_enabled() and (h_ND.requires_grad or weight_VD.requires_grad)
    loss: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        h_ND, weight_VD, target_N, scale, divisor, needed
    )
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        h_ND: Tensor,
        weight_VD: Tensor,
        target_N: Tensor,
        scale: float,
        divisor: Tensor | int | None,
        needed: bool,
    ) -> Tensor:
        if torch.is_autocast_enabled(device := h_ND.device.type):
            dtype = torch.get_autocast_dtype(device)
            h_ND, matrix_VD = h_ND.to(dtype), weight_VD.to(dtype)
        else:
            matrix_VD = weight_VD
        counts_N = target_N != IGNORED
        share_N = counts_N / (counts_N.sum() if divisor is None else divisor)
        safe_N = target_N.where(counts_N, 0)
        loss = h_ND.new_zeros((), dtype=torch.float32)
        grad_ND = torch.empty_like(h_ND) if needed else None
        grad_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if needed else None
        rows = max(1, CHUNK_ELEMENTS.get(device, 2**20) // weight_VD.size(0))
        for start in range(0, h_ND.size(0), rows):
            chunk = slice(start, start + rows)
            h_MD, share_M1 = h_ND[chunk], share_N[chunk].unsqueeze(1)
            target_M1 = safe_N[chunk].unsqueeze(1)
            # One array all the way: logits, their exponentials, their gradients.
            work_MV = (h_MD @ matrix_VD.T).float()
            if scale != 1.0:
                work_MV *= scale
            work_MV -= work_MV.amax(dim=1, keepdim=True)
            logit_M1 = work_MV.gather(1, target_M1)
            total_M1 = work_MV.exp_().sum(dim=1, keepdim=True)
            loss += ((total_M1.log() - logit_M1) * share_M1).sum()
            if grad_ND is None or grad_VD is None:
                continue
            work_MV *= share_M1 * scale / total_M1
            work_MV.scatter_add_(1, target_M1, -share_M1 * scale)
            grad_MV = work_MV.to(h_MD.dtype)
            torch.mm(grad_MV, matrix_VD, out=grad_ND[chunk])
            grad_VD += grad_MV.T @ h_MD
        if grad_ND is not None and grad_VD is not None:
            ctx.save_for_backward(grad_ND, grad_VD.to(weight_VD.dtype))
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_ND, grad_VD = ctx.saved_tensors
        return grad_ND * grads[0], grad_VD * grads[0], None, None, None, None
