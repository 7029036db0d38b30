"""The Decision Transformer of `model.py` with less work: what the suite trains and evaluates.

The same parameters, initial values and function; tests hold the two equal.

- Only state tokens are read, and nothing looks at the last action. So the last action token is left
  out, and what follows the attention of the last block runs on the tokens that are read: a sixth
  cheaper.
- Attention with one head folds its four products of all tokens into two.
- Relu works in place, and dropout draws four fates at a time.

Shape suffixes: as in `model.py`; T tokens (3K - 1), Q tokens that are read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from suites.merging.policy.model import MLP, Attention, Block, DecisionTransformer

ALL, STATES, LAST = slice(None), slice(1, None, 3), slice(-1, None)
"""Which tokens are read: every one; those of states; the last one, which sees all others."""


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """Zeroes a share of the elements and scales the rest, so that the mean stays.

    On the CPU torch draws each element's fate from a number of its own, which takes a tenth of a
    training step. Here 16 bits decide, four fates a draw; the rate is a multiple of 2^-16.
    """
    if not training or not rate or x.device.type != "cpu":
        return F.dropout(x, rate, training)
    dropped = round(rate * 2**16)
    if dropped == 2**16:  # nothing is left to scale
        return x * 0
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - 2**15
    return x * (kept * (1 / (1 - dropped / 2**16)))


class FastAttention(Attention):
    """Causal self-attention of the tokens that are read, folded where it has one head."""

    folded = True
    """False: `qkv` and `proj` are called as layers, for whoever watches them; see `unfolded`."""

    def forward(self, x_BTD: Tensor, read: slice = ALL) -> Tensor:
        """What is added to the residual stream of the tokens that are read, [B,Q,D]."""
        if self.heads == 1 and self.folded:
            out_BQD = self._folded(x_BTD, read)
        else:
            q_BTD, k_BTD, v_BTD = self.qkv(x_BTD).chunk(3, dim=-1)
            out_BQD = self.proj(self._attend(q_BTD[:, read], k_BTD, v_BTD, read))
        return dropout(out_BQD, self.dropout, self.training)

    def _folded(self, x_BTD: Tensor, read: slice) -> Tensor:
        """The same for one head, where two products of all tokens do for four.

        (Wq y + bq) . (Wk x + bk) is (Wk'Wq y + Wk'bq) . x but for what is the same for all x; and
        Wo (sum of p (Wv x + bv)) is the sum of p (WoWv x + Wobv), or, where the weights p add up
        to 1, WoWv (sum of p x) + Wobv: fewer tokens.
        """
        (q_DD, k_DD, v_DD), (q_D, _, v_D) = self.qkv.weight.chunk(3), self.qkv.bias.chunk(3)
        q_BQD = F.linear(x_BTD[:, read], k_DD.T @ q_DD, q_D @ k_DD)
        out_DD, out_D = self.proj.weight @ v_DD, self.proj.weight @ v_D
        if self.training and self.dropout:
            v_BTD = F.linear(x_BTD, out_DD, out_D)
            return self._attend(q_BQD, x_BTD, v_BTD, read) + self.proj.bias
        return F.linear(self._attend(q_BQD, x_BTD, x_BTD, read), out_DD, out_D + self.proj.bias)

    def _attend(self, q_BQD: Tensor, k_BTD: Tensor, v_BTD: Tensor, read: slice) -> Tensor:
        seen_QT = None
        if read not in (ALL, LAST):
            tokens = k_BTD.size(1)
            seen_QT = k_BTD.new_ones(tokens, tokens, dtype=torch.bool).tril()[read]
        q_BHQE, k_BHTE, v_BHTE = (
            x.view(*x.shape[:2], self.heads, -1).transpose(1, 2) for x in (q_BQD, k_BTD, v_BTD)
        )
        y_BHQE = F.scaled_dot_product_attention(
            q_BHQE,
            k_BHTE,
            v_BHTE,
            attn_mask=seen_QT,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=read == ALL,
        )
        return y_BHQE.transpose(1, 2).flatten(2)


class _Relu(torch.autograd.Function):
    """Rectifies in place, and its gradient too: the widest tensors of a pass are not copied."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.detach().relu_()  # in place on the view that `up` gives, autograd would copy it
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        into = torch.ops.aten.threshold_backward.grad_input
        rectified: Tensor = into(gradient, y, 0, grad_input=gradient)
        return rectified


class FastMLP(MLP):
    """An MLP that rectifies in place."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        """What is added to the residual stream."""
        out_BTD: Tensor = self.down(self.activate(self.up(x_BTD)))
        return dropout(out_BTD, self.dropout, self.training)

    def activate(self, hidden_BTU: Tensor) -> Tensor:
        """Overwrites its argument: nothing else holds what `up` gives."""
        if self.activation == "relu":
            rectified_BTU: Tensor = _Relu.apply(hidden_BTU)  # type: ignore[no-untyped-call]
            return rectified_BTU
        return super().activate(hidden_BTU)


class FastBlock(Block):
    """A block that computes the tokens that are read."""

    attention, feed_forward = FastAttention, FastMLP

    def forward(self, x_BTD: Tensor, read: slice = ALL) -> Tensor:
        """The residual stream after the block, of the tokens that are read, [B,Q,D]."""
        x_BQD = x_BTD[:, read]
        if not self.attn.off:
            x_BQD = x_BQD + self.attn(self.ln_1(x_BTD), read)
        out_BQD: Tensor = x_BQD + self.mlp(self.ln_2(x_BQD))
        return out_BQD


class FastDecisionTransformer(DecisionTransformer):
    """A policy whose last block computes the tokens that are read."""

    block = FastBlock

    def at_states(self, x_BTD: Tensor) -> Tensor:
        """Actions at the state tokens, [B,K,A]; the last action's token is left out."""
        return self._at(x_BTD[:, :-1], STATES)

    def at_last(self, x_BTD: Tensor) -> Tensor:
        """The action at the last token, [B,A]."""
        return self._at(x_BTD, LAST)[:, 0]

    def _at(self, x_BTD: Tensor, read: slice) -> Tensor:
        x_BTD = dropout(x_BTD, self.shape.dropout, self.training)
        *early, last = self.blocks
        for block in early:
            x_BTD = block(x_BTD)
        return torch.tanh(self.predict_action(self.ln_f(last(x_BTD, read))))


@contextmanager
def unfolded(network: nn.Module) -> Iterator[None]:
    """Lets every layer of the attention be called, so that hooks on it see its inputs."""
    folded = [m for m in network.modules() if isinstance(m, FastAttention) and m.folded]
    for module in folded:
        module.folded = False
    try:
        yield
    finally:
        for module in folded:
            module.folded = True
