"""A small causal language model with the blocks of the policies, to start them from.

It replaces ChibiT (Reid et al., 2022), a model trained on Wikipedia: it reads bytes, of books and
encyclopedia articles of the data folder, or of the reference manual that ships with every Python.
What it shares with a policy is the
backbone: blocks, final norm, and a table of positions that can become the policy's time embedding.

Shape suffixes: B batch, T tokens, D width, V vocabulary, C centres, N bytes of the text.
"""

import json
import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.errors import DataError, brief
from harness.run import Context
from harness.settings import AdamW
from harness.training import State, adamw, clip, parameters, set_rate
from suites.merging.policy.fast import FastBlock, dropout
from suites.merging.policy.model import DecisionTransformer, Shape, init_backbone
from suites.merging.policy.training import Batches, Term
from suites.merging.robots.mixtures import TEXTS
from suites.merging.settings import Training

VOCABULARY = 256


class LanguageModel(nn.Module):
    """Predicts the next byte; the output layer is the transposed token embedding."""

    def __init__(self, shape: Shape, positions: int, generator: torch.Generator) -> None:
        """Fresh weights; of `shape` only what concerns the backbone is used."""
        super().__init__()
        with torch.device("meta"):
            self.embed_token = nn.Embedding(VOCABULARY, shape.width)
            self.embed_position = nn.Embedding(positions, shape.width)
            self.blocks = nn.ModuleList(
                FastBlock(shape.width, shape.heads, shape.dropout, shape.activation)
                for _ in range(shape.layers)
            )
            self.ln_f = nn.LayerNorm(shape.width)
        self.to_empty(device="cpu")
        self.dropout = shape.dropout
        init_backbone([self], generator)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits of the next byte, [B,T,V]."""
        positions_T = torch.arange(tokens_BT.size(1), device=tokens_BT.device)
        x_BTD = self.embed_token(tokens_BT) + self.embed_position(positions_T)
        x_BTD = dropout(x_BTD, self.dropout, self.training)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        logits_BTV: Tensor = self.ln_f(x_BTD) @ self.embed_token.weight.T
        return logits_BTV


GENERAL = "general-text"
"""The dataset of general text; a document per line, `{"text": ...}`."""


def read(ctx: Context, which: str) -> Tensor:
    """The text as bytes, [N], noted for the record.

    `manual` is half a megabyte and differs between versions of Python; `general` is 12 MB.

    Raises:
        DataError: a file of the data folder is missing or holds something else.
    """
    if which == "manual":
        content = manual()
        ctx.texts("pydoc topics", f"Python {platform.python_version()}", [content])
    else:
        content = "\n\n".join(_documents(ctx.dataset_file(GENERAL, file)) for file in TEXTS)
    return torch.from_numpy(np.frombuffer(content.encode(), np.uint8).copy())


def manual() -> str:
    """Python's reference manual."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def _documents(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as lines:
            return "\n\n".join(json.loads(line)["text"] for line in lines)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: cannot be read as documents ({brief(error)}); replace it by the original, or "
            "train the language model on Python's manual with --set text=manual"
        ) from None


def loss(model: LanguageModel, text_N: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    """Cross-entropy, nats per byte, of `batch` pieces as long as the table of positions."""
    length = model.embed_position.num_embeddings
    first_B1 = torch.randint(len(text_N) - length, (batch, 1), generator=generator)
    pieces_BT = text_N[(first_B1 + torch.arange(length + 1))].long()
    pieces_BT = pieces_BT.to(model.embed_token.weight.device)
    logits_BTV = model(pieces_BT[:, :-1])
    return F.cross_entropy(logits_BTV.flatten(0, 1), pieces_BT[:, 1:].flatten())


def fit(
    ctx: Context, model: LanguageModel, text_N: Tensor, recipe: Training, settings: AdamW
) -> float:
    """Trains in place, resumably; returns the mean loss of the last tenth, in nats per byte."""
    generator = ctx.torch_generator("batch", "language")
    optimizer = adamw(model.named_parameters(), settings, decayed=lambda _name, _parameter: True)
    state = State(
        modules={"language": model},
        optimizers={"adamw": optimizer},
        generators={"batch": generator},
    )
    state.values["late"] = 0.0
    late_from = recipe.updates - max(recipe.updates // 10, 1)
    model.train()
    for done in ctx.steps(recipe.updates, state):
        optimizer.zero_grad()
        error = loss(model, text_N, recipe.batch, generator)
        error.backward()  # type: ignore[no-untyped-call]
        ctx.log(done, loss=error.item())
        if done >= late_from:
            state.values["late"] = float(state.values["late"]) + error.item()  # type: ignore[arg-type]
        clip(optimizer, settings.clip)
        set_rate(optimizer, recipe.rate(done))
        optimizer.step()
    model.eval()
    ctx.count(parameters=parameters(model), updates=recipe.updates)
    return float(state.values["late"]) / (recipe.updates - late_from)  # type: ignore[arg-type]


@torch.no_grad()
def start_from(
    policy: DecisionTransformer, language: Mapping[str, Tensor], positions: bool = True
) -> None:
    """Gives a policy the blocks and the final norm of a language model.

    With `positions` its time embedding becomes the table of positions, repeated where the table
    is shorter (released code, `--extend_positions`).
    """
    state = policy.state_dict()
    for name, value in language.items():
        if name.startswith(("blocks.", "ln_f.")):
            state[name].copy_(value)
    if positions:
        table_TD = language["embed_position.weight"]
        state["embed_time.weight"].copy_(
            table_TD[torch.arange(policy.shape.max_steps) % len(table_TD)]
        )


def co_training(
    policy: DecisionTransformer,
    language: Mapping[str, Tensor],
    *,
    batch: int,
    weight: float,
    text_N: Tensor,
    generator: torch.Generator,
) -> Term:
    """The language model's loss on the policy's own blocks, as a further term.

    The embeddings of the language model are trained along; the policy never sees them.
    """
    positions = len(language["embed_position.weight"])
    model = LanguageModel(policy.shape, positions, torch.Generator())
    model.load_state_dict(dict(language))
    model.blocks, model.ln_f = policy.blocks, policy.ln_f
    model.to(policy.embed_time.weight.device).train()

    def term(_done: int, _batches: Batches) -> Tensor:
        return weight * loss(model, text_N, batch, generator)

    return Term(term, model, generator)


def centres(embeddings_VD: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Unit centres of the token embeddings by k-means with cosine similarity, [C,D].

    Twenty rounds from randomly chosen tokens; a centre that loses all its tokens stays put.
    """
    unit_VD = F.normalize(embeddings_VD, dim=-1)
    chosen_C = torch.randperm(len(unit_VD), generator=generator)[:count]
    centres_CD = unit_VD[chosen_C]
    for _ in range(20):
        nearest_V = (unit_VD @ centres_CD.T).argmax(-1)
        sums_CD = torch.zeros_like(centres_CD).index_add_(0, nearest_V, unit_VD)
        empty_C1 = sums_CD.norm(dim=-1, keepdim=True) == 0
        centres_CD = torch.where(empty_C1, centres_CD, F.normalize(sums_CD, dim=-1))
    return centres_CD
