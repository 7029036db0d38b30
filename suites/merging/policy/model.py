"""The Decision Transformer: a causal transformer that reads returns-to-go, states and actions.

Three tokens per step, (return-to-go, state, action); the action is read at the state token. Pre-LN
blocks of GPT-2's layout. The names of the parameters are what merging selects by:
`blocks.{n}.attn.qkv`, `.attn.proj`, `.mlp.up`, `.mlp.down`, `.ln_1`, `.ln_2`; the rest belongs to
the task: `embed_*`, `ln_f`, `predict_action`.

Windows are padded behind their end, where nothing before looks: there is no mask but the causal
one. The suite runs the same function with less work: see `fast.py`.

Shape suffixes: B batch, K steps of context, T tokens (3K), D width, H heads, E width of a head,
S state, A action.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.errors import SpecError

Activation = Literal["relu", "gelu_new"]


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

    def forward(self, x_BTD: Tensor) -> Tensor:
        """What is added to the residual stream."""
        q_BHTE, k_BHTE, v_BHTE = (
            part_BTD.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part_BTD in self.qkv(x_BTD).chunk(3, dim=-1)
        )
        rate = self.dropout if self.training else 0.0
        mixed_BHTE = F.scaled_dot_product_attention(
            q_BHTE, k_BHTE, v_BHTE, dropout_p=rate, is_causal=True
        )
        out_BTD = self.proj(mixed_BHTE.transpose(1, 2).flatten(2))
        return F.dropout(out_BTD, self.dropout, self.training)


class MLP(nn.Module):
    """Two linear layers with four times the width between them."""

    def __init__(self, width: int, dropout: float, activation: Activation) -> None:
        super().__init__()
        self.dropout, self.activation = dropout, activation
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """What is added to the residual stream."""
        out_BTD = self.down(self.activate(self.up(x_BTD)))
        return F.dropout(out_BTD, self.dropout, self.training)

    def activate(self, hidden_BTU: Tensor) -> Tensor:
        """The nonlinearity between the two layers."""
        if self.activation == "relu":
            return F.relu(hidden_BTU)
        return F.gelu(hidden_BTU, approximate="tanh")


class Block(nn.Module):
    """One pre-LN transformer block, shared by policies and language models."""

    attention: type[Attention] = Attention
    feed_forward: type[MLP] = MLP

    def __init__(self, width: int, heads: int, dropout: float, activation: Activation) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = self.attention(width, heads, dropout)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = self.feed_forward(width, dropout, activation)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The residual stream after the block."""
        if not self.attn.off:
            x_BTD = x_BTD + self.attn(self.ln_1(x_BTD))
        out_BTD: Tensor = x_BTD + self.mlp(self.ln_2(x_BTD))
        return out_BTD


class DecisionTransformer(nn.Module):
    """A return-conditioned policy over a window of the past (Chen et al., 2021).

    As in the released code, one LayerNorm goes over the embeddings before the time embedding is
    added; the original Decision Transformer adds time first.
    """

    block: type[Block] = Block

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
                self.block(width, shape.heads, shape.dropout, shape.activation)
                for _ in range(shape.layers)
            )
            self.ln_f = nn.LayerNorm(width)
            self.predict_action = nn.Linear(width, shape.action_dim)
        self.to_empty(device="cpu")
        # The backbone first: what it draws must not depend on the environment's dimensions.
        init_backbone([self.blocks, self.embed_time, self.embed_norm, self.ln_f], generator)
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
            timesteps_BK: absolute, from 0.
        """
        tokens_BK3D = self.embed(states_BKS, actions_BKA, returns_to_go_BK1)
        x_BK3D = tokens_BK3D + self.at_time(timesteps_BK)[:, :, None]
        return self.at_states(x_BK3D.flatten(1, 2))

    def at_time(self, timesteps: Tensor) -> Tensor:
        """What is added to the tokens of these steps, [...,D]; late ones share the last row."""
        embedded: Tensor = self.embed_time(timesteps.clamp(max=self.shape.max_steps - 1))
        return embedded

    def embed(self, states_BKS: Tensor, actions_BKA: Tensor, returns_to_go_BK1: Tensor) -> Tensor:
        """The three tokens of each step before time is added, [B,K,3,D]."""
        tokens = (
            self.embed_return(returns_to_go_BK1),
            self.embed_state(states_BKS),
            self.embed_action(actions_BKA),
        )
        normed_BK3D: Tensor = self.embed_norm(torch.stack(tokens, dim=2))
        return normed_BK3D

    def at_states(self, x_BTD: Tensor) -> Tensor:
        """Actions at the state tokens, [B,K,A], from all tokens with their time."""
        return self.at_tokens(x_BTD)[:, 1::3]

    def at_last(self, x_BTD: Tensor) -> Tensor:
        """The action at the last token, [B,A]."""
        return self.at_tokens(x_BTD)[:, -1]

    def at_tokens(self, x_BTD: Tensor) -> Tensor:
        """Actions at all tokens, [B,T,A]."""
        x_BTD = F.dropout(x_BTD, self.shape.dropout, self.training)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return torch.tanh(self.predict_action(self.ln_f(x_BTD)))

    @torch.inference_mode()
    def act(self, x_BTD: Tensor) -> Tensor:
        """The deterministic action at the last token, without dropout, [B,A]."""
        was_training = self.training
        if was_training:  # setting the mode of all modules takes a while
            self.eval()
        action_BA = self.at_last(x_BTD)
        if was_training:
            self.train()
        return action_BA


@torch.no_grad()
def init_backbone(parts: Iterable[nn.Module], generator: torch.Generator) -> None:
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
