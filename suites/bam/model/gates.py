"""Routers that begin with what their experts are about: mean hidden states of texts.

Each routed expert has a text. The row of a router is the mean, over the tokens of the expert's
text, of what the router reads when the seed model runs on it, less the mean of all rows: what all
rows share moves no gate. Rows are scaled to the standard deviation of random routers.

Shape suffixes: B sequences, T tokens, N tokens of a text, D features, E experts.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

from harness.errors import DataError, MethodError, brief
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig

WINDOW = 512
"""Tokens that the seed sees at a time."""
LONGEST = 8192
"""Tokens of a text that are read."""
_CHARACTERS = 16 * LONGEST
NEAR = 0.01
"""Mean hidden states that differ by less than this share of their length are nearly equal."""


def read(files: Sequence[Path], folder: Path) -> list[Tensor]:
    """Token ids [N] of the beginning of each text, by the tokenizer in a checkpoint's folder.

    Raises:
        DataError: If a file is missing, no UTF-8, or empty, or there is no tokenizer.
    """
    texts = []
    for file in files:
        try:
            with file.open(encoding="utf-8-sig") as opened:
                texts.append(opened.read(_CHARACTERS))
        except (OSError, ValueError) as error:
            raise DataError(f"{file} cannot be read ({brief(error)}); give UTF-8 text") from None
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # whatever readers raise on odd files
        raise DataError(
            f"{folder} has no tokenizer that can be read ({brief(error)}); texts need one"
        ) from None
    found = []
    for file, text in zip(files, texts, strict=True):
        # What looks like a control token in a text is text.
        encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        ids = torch.tensor(encoded["input_ids"][:LONGEST], dtype=torch.long)
        if not len(ids):
            raise DataError(f"{file} has no token; give the expert a text of its domain")
        found.append(ids)
    return found


def routers(
    seed: BamForCausalLM, texts: Sequence[Tensor], config: BamConfig, names: Sequence[str]
) -> dict[str, Tensor]:
    """Weights [E, D] of the named routers, float32.

    Warns where the texts of two experts have nearly equal means: the router could not tell them
    apart.

    Args:
        seed: The dense model that experts come from.
        texts: Token ids [N], one text for each expert of the router that has most.
        config: Of the mixture.
        names: Of the routers in the mixture's state.

    Raises:
        MethodError: If there are more or fewer texts, or there is no router.
        DataError: If a token is not in the seed's vocabulary.
    """
    experts = {
        name: config.num_attention_experts if ".attention." in name else config.num_ffn_experts
        for name in names
    }
    if not experts:
        raise MethodError("router_from: this mixture has no routers; leave the texts out")
    if len(texts) != (most := max(experts.values())):
        raise MethodError(
            f"router_from: {len(texts)} texts for {most} routed experts; give one for each, in the "
            "order of the models"
        )
    for number, ids in enumerate(texts, 1):
        if int(ids.max()) >= seed.config.vocab_size:
            raise DataError(
                f"router_from: text {number} has token {int(ids.max())}, beyond the seed's "
                f"vocabulary of {seed.config.vocab_size}"
            )
    means = [_means(seed, ids) for ids in texts]
    found, closest = {}, (float("inf"), "", 0, 0)
    for name, count in experts.items():
        part = name.removesuffix(".router.weight")
        mean_ED = torch.stack([mean[part] for mean in means[:count]])
        closest = min(closest, _closest(mean_ED, name))
        row_ED = mean_ED - mean_ED.mean(dim=0)
        found[name] = row_ED * (config.router_init_std / row_ED.std().clamp_min(1e-12))
    distance, name, one, other = closest
    if distance < NEAR:
        warnings.warn(
            f"router_from: texts {one + 1} and {other + 1} have nearly equal mean hidden states "
            f"at {name} (they differ by {distance:.2g} of their length); the router cannot tell "
            "these experts apart; give texts that differ more",
            stacklevel=2,
        )
    return found


def _closest(mean_ED: Tensor, name: str) -> tuple[float, str, int, int]:
    """Smallest distance of two rows, as a share of their length, with the rows' numbers."""
    apart_EE = torch.cdist(mean_ED, mean_ED) / mean_ED.norm(dim=1).mean().clamp_min(1e-12)
    apart_EE.fill_diagonal_(torch.inf)
    place = int(apart_EE.argmin())
    one, other = sorted(divmod(place, len(mean_ED)))
    return float(apart_EE.min()), name, one, other


@torch.no_grad()
def _means(seed: BamForCausalLM, ids: Tensor) -> dict[str, Tensor]:
    """Mean input [D] of every attention and feed-forward layer over the tokens of a text."""
    totals: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        def add(module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
            h_BTD: Tensor = arguments[0]
            total_D = h_BTD.double().sum(dim=(0, 1))
            totals[name] = totals[name] + total_D if name in totals else total_D

        return add

    handles = [
        module.register_forward_pre_hook(watch(name))
        for name, module in seed.named_modules()
        if name.endswith((".attention", ".feedforward"))
    ]
    try:
        for window in torch.split(ids, WINDOW):
            seed(window[None], use_cache=False, skip_logits=True)
    finally:
        for handle in handles:
            handle.remove()
    return {name: (total_D / len(ids)).float() for name, total_D in totals.items()}
