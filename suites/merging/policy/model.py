"""The Decision Transformer: a causal transformer that reads returns-to-go, states and actions.

Three tokens a step, (return-to-go, state, action); the action is read at the state token. Pre-LN
blocks of GPT-2's layout. The names of the parameters are what merging selects by:
`blocks.{n}.attn.qkv`, `.attn.proj`, `.mlp.up`, `.mlp.down`, `.ln_1`, `.ln_2`; the rest belongs to
the task: `embed_*`, `ln_f`, `predict_action`.

Only state tokens are read, and nothing looks at the last action. So the last action token is left
out, and what follows the attention of the last block runs on the tokens that are read: the same
function, a sixth cheaper. Windows are padded behind their end, where nothing before looks: there is
no mask but the causal one.

Shape suffixes: B batch, K steps of context, T tokens (3K - 1), Q tokens that are read, D width,
H heads, S state, A action.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.nn import functional as F

from harness.errors import DataError, SpecError
from harness.store import write_atomic

if TYPE_CHECKING:
    from suites.merging.robots.trajectories import Statistics

Activation = Literal["relu", "gelu_new"]

ALL, LAST = slice(None), slice(-1, None)
"""Which tokens are read: every one; the last one, which sees all others."""


@dataclass(frozen=True)
class Shape:
    """Everything that decides which parameters a policy has."""

    state_dim: int
    action_dim: int
    width: int = 128
    layers: int = 3
    heads: int = 1
    context: int = 20
    """Steps that it sees, three tokens each."""
    max_steps: int = 1000
    """Rows of the time embedding; later steps share the last one."""
    dropout: float = 0.1
    activation: Activation = "relu"


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


class Attention(nn.Module):
    """Causal self-attention through torch's fused kernel."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise SpecError(f"{heads} heads do not divide a width of {width}; choose a divisor")
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.off = False
        """Leaves the sublayer out: the ablation that asks whether attention is needed at all."""

    def forward(self, x_BTD: Tensor, read: slice = ALL) -> Tensor:
        """What is added to the residual stream of the tokens that are read, [B,Q,D]."""
        # Whoever watches a layer wants to see it called.
        watched = bool(self.qkv._forward_hooks or self.proj._forward_hooks)
        if self.heads == 1 and not watched:
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


class MLP(nn.Module):
    """Two linear layers with four times the width between them."""

    def __init__(self, width: int, dropout: float, activation: Activation) -> None:
        super().__init__()
        self.dropout, self.activation = dropout, activation
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """What is added to the residual stream."""
        hidden = self.up(x_BTD)
        if self.activation == "relu":
            # Nothing else holds what `up` gives, nor the gradient that `down` sends back.
            hidden = _Relu.apply(hidden)  # type: ignore[no-untyped-call]
        else:
            hidden = F.gelu(hidden, approximate="tanh")
        out_BTD: Tensor = self.down(hidden)
        return dropout(out_BTD, self.dropout, self.training)


class Block(nn.Module):
    """One pre-LN transformer block, shared by policies and language models."""

    def __init__(self, width: int, heads: int, dropout: float, activation: Activation) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, dropout)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = MLP(width, dropout, activation)

    def forward(self, x_BTD: Tensor, read: slice = ALL) -> Tensor:
        """The residual stream after the block, of the tokens that are read, [B,Q,D]."""
        x_BQD = x_BTD[:, read]
        if not self.attn.off:
            x_BQD = x_BQD + self.attn(self.ln_1(x_BTD), read)
        out_BQD: Tensor = x_BQD + self.mlp(self.ln_2(x_BQD))
        return out_BQD


class DecisionTransformer(nn.Module):
    """A return-conditioned policy over a window of the past (Chen et al., 2021).

    As in the released code, one LayerNorm goes over the embeddings before the time embedding is
    added; the original Decision Transformer adds time first.
    """

    def __init__(self, shape: Shape, generator: torch.Generator) -> None:
        """Fresh weights, drawn from the generator."""
        super().__init__()
        self.shape = shape
        width = shape.width
        with torch.device("meta"):
            self.embed_return = nn.Linear(1, width)
            self.embed_state = nn.Linear(shape.state_dim, width)
            self.embed_action = nn.Linear(shape.action_dim, width)
            self.embed_norm = nn.LayerNorm(width)
            self.embed_time = nn.Embedding(shape.max_steps, width)
            self.blocks = nn.ModuleList(
                Block(width, shape.heads, shape.dropout, shape.activation)
                for _ in range(shape.layers)
            )
            self.ln_f = nn.LayerNorm(width)
            self.predict_action = nn.Linear(width, shape.action_dim)
        self.to_empty(device="cpu")
        # The backbone first: what it draws must not depend on the environment's dimensions.
        init_body([self.blocks, self.embed_time, self.embed_norm, self.ln_f], generator)
        for layer in (self.embed_return, self.embed_state, self.embed_action, self.predict_action):
            bound = layer.in_features**-0.5  # torch's default for linear layers
            nn.init.uniform_(layer.weight, -bound, bound, generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator)

    def forward(
        self,
        states_BKS: Tensor,
        actions_BKA: Tensor,
        returns_to_go_BK1: Tensor,
        timesteps_BK: Tensor,
    ) -> Tensor:
        """Actions in [-1, 1] for every step, [B,K,A]; each looks at what came before it alone.

        Args:
            states_BKS: normalised.
            actions_BKA: only those before a step are looked at.
            returns_to_go_BK1: sums of coming rewards, divided by 1000.
            timesteps_BK: absolute, from 0, below `max_steps`.
        """
        tokens_BK3D = self.embed(states_BKS, actions_BKA, returns_to_go_BK1)
        x_BK3D = tokens_BK3D + self.embed_time(timesteps_BK)[:, :, None]
        return self.read(x_BK3D.flatten(1, 2)[:, :-1], slice(1, None, 3))

    def embed(self, states_BKS: Tensor, actions_BKA: Tensor, returns_to_go_BK1: Tensor) -> Tensor:
        """The three tokens of each step before time is added, [B,K,3,D]."""
        tokens = (
            self.embed_return(returns_to_go_BK1),
            self.embed_state(states_BKS),
            self.embed_action(actions_BKA),
        )
        normed_BK3D: Tensor = self.embed_norm(torch.stack(tokens, dim=2))
        return normed_BK3D

    def read(self, x_BTD: Tensor, read: slice) -> Tensor:
        """Actions at the tokens that are read, [B,Q,A], from tokens with their time."""
        x_BTD = dropout(x_BTD, self.shape.dropout, self.training)
        *early, last = self.blocks
        for block in early:
            x_BTD = block(x_BTD)
        return torch.tanh(self.predict_action(self.ln_f(last(x_BTD, read))))

    @torch.inference_mode()
    def act(self, x_BTD: Tensor) -> Tensor:
        """The deterministic action at the last token, without dropout, [B,A]."""
        was = self.training
        if was:  # setting the mode of all modules takes a while
            self.eval()
        actions_B1A = self.read(x_BTD, LAST)
        if was:
            self.train()
        return actions_B1A[:, 0]


@torch.no_grad()
def init_body(parts: Iterable[nn.Module], generator: torch.Generator) -> None:
    """GPT-2's initialisation: N(0, 0.02), biases 0, residual projections smaller by sqrt(2L)."""
    modules = [module for part in parts for module in part.modules()]
    layers = sum(isinstance(module, Block) for module in modules)
    for module in modules:
        if isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02, generator)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
    for module in modules:
        if isinstance(module, Block):
            module.attn.proj.weight /= math.sqrt(2 * layers)
            module.mlp.down.weight /= math.sqrt(2 * layers)


def save(policy: DecisionTransformer, statistics: "Statistics", folder: Path) -> None:
    """Writes `model.safetensors` and `config.json`, each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "shape": asdict(policy.shape),
        "state_mean": statistics.mean_S.tolist(),
        "state_std": statistics.std_S.tolist(),
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in policy.state_dict().items()}
    write_atomic(folder / "model.safetensors", to_bytes(tensors))
    write_atomic(folder / "config.json", json.dumps(config, indent=1).encode())


def load(folder: Path) -> "tuple[DecisionTransformer, Statistics]":
    """A saved policy, in evaluation mode, with the statistics that its states are normalised by.

    Raises:
        DataError: a file is missing, corrupt, or the two do not belong together.
    """
    import numpy as np

    from suites.merging.robots.trajectories import Statistics

    try:
        config = json.loads((folder / "config.json").read_text())
        shape = Shape(**config["shape"])
        statistics = Statistics(
            np.array(config["state_mean"], np.float32), np.array(config["state_std"], np.float32)
        )
        policy = DecisionTransformer(shape, torch.Generator())
        policy.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = _first_lines(str(error).splitlines())
        raise DataError(
            f"policy {folder}: cannot be read ({reason}); it needs config.json and "
            "model.safetensors as the suite writes them"
        ) from None
    return policy.eval(), statistics


def _first_lines(lines: Iterable[str]) -> str:
    """The message's first two lines as one: torch names the key that is wrong in the second."""
    return " ".join(line.strip() for line in list(lines)[:2]) or "empty message"
