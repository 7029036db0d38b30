"""One language model class for the dense seed, BTX and BAM; its configuration tells them apart.

Importing this module registers the model with the Auto classes of transformers.

Shape suffixes: B sequences, T tokens, S keys (cached ones too), N = B * T, D features, V
vocabulary.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    DynamicCache,
    GenerationMixin,
    PreTrainedModel,
)
from transformers.cache_utils import Cache
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.generic import can_return_tuple

from harness.pretrained import CHECKSUM
from suites.bam.model.attention import HeadNorm
from suites.bam.model.configuration import BamConfig
from suites.bam.model.crossentropy import IGNORED, linear_cross_entropy
from suites.bam.model.decoder import Decoder, Norm
from suites.bam.model.feedforward import FeedForward, SharedExpert
from suites.bam.model.masks import token_weights
from suites.bam.model.outputs import BamOutput, add_losses, add_statistics, weighted
from suites.bam.model.remote import AUTO_MAP, CODE_FILE, source
from suites.bam.model.routing import Router


class BamForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[no-untyped-call]
    """Dense model, BTX or BAM with a language-model head.

    Parameters of experts are stacked: the rows of `attention.q.weight` are the heads of expert 0,
    then of expert 1, ...; so are the columns of `attention.o.weight`; `feedforward.{gate,up,down}`
    have the experts as their first dimension.
    """

    config_class = BamConfig
    config: BamConfig
    base_model_prefix = "model"
    accepts_loss_kwargs = True
    supports_gradient_checkpointing = True
    _no_split_modules = ["ParallelLayer", "SequentialLayer"]  # noqa: RUF012
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012
    _supports_sdpa = True

    def __init__(self, config: BamConfig) -> None:
        super().__init__(config)
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        labels: Tensor | None = None,
        *,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        output_routing: bool = False,
        skip_logits: bool = False,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_router_logits: bool | None = None,
    ) -> BamOutput:
        """Runs the model; with `return_dict=False` the fields that are there, as a tuple.

        Args:
            input_ids: [B, T].
            attention_mask: [B, S], 0 for padding (also left out of the auxiliary losses), or
                [B, 1, T, S], True where a token may look.
            position_ids: [T] or [B, T]; None: counted from the start of the cache. Where they start
                again, another packed sequence begins, which does not see the one before it.
            cache: Keys and values of earlier tokens. `past_key_values` is its older name.
            labels: [B, T], the inputs themselves: they are shifted here; -100 does not count.
            use_cache: Return a cache that holds these tokens too. None: as configured, except in
                training and with labels.
            logits_to_keep: Compute logits of the last so many tokens, or of these indices; 0: all.
            output_routing: Return load, probabilities, gates and their entropy by layer.
            skip_logits: Do not compute logits, which the loss does not need.
            past_key_values: See `cache`.
            inputs_embeds: [B, T, D], in place of `input_ids`.
            num_items_in_batch: Tokens to predict in the whole batch of which this is a part; the
                losses of the parts then add up to the mean.
            output_attentions: Return the attention weights; without the fused kernel.
            output_hidden_states: Return the hidden states of all layers.
            output_router_logits: Return them, and add `auxiliary_loss` to `loss`. This and the two
                before it are as configured if None.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        x_BTD = self.model.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        cache = cache if cache is not None else past_key_values
        if use_cache is None:
            use_cache = self.config.use_cache and not self.training and labels is None
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config)
        attentions, states, router_logits = (
            bool(getattr(self.config, name, False) if asked is None else asked)
            for name, asked in (
                ("output_attentions", output_attentions),
                ("output_hidden_states", output_hidden_states),
                ("output_router_logits", output_router_logits),
            )
        )
        decoded = self.model(x_BTD, attention_mask, position_ids, cache, attentions, states)
        output = BamOutput(cache=cache, hidden_states=decoded.hidden_states)
        if labels is not None:
            output.loss = self._loss(decoded.h_BTD, labels, num_items_in_batch)
        if not skip_logits:
            output.logits = self._logits(slice_logits_to_keep(decoded.h_BTD, logits_to_keep))
        if attentions:
            output.attentions = tuple(layer.attention_BHTS for layer in decoded.layers)
        if labels is not None or output_routing or router_logits:
            weight_N = token_weights(attention_mask, x_BTD.size(1))
            zero = decoded.h_BTD.new_zeros((), dtype=torch.float32)
            add_losses(output, decoded.layers, weight_N, zero)
            output.auxiliary_loss = weighted(output, self.config)
            if output_routing:
                add_statistics(output, decoded.layers, weight_N)
        if router_logits:
            output.router_logits = tuple(r.logits_NE for d in decoded.layers if (r := d.ffn))
            if output.loss is not None and output.auxiliary_loss is not None:
                share = _share(labels, num_items_in_batch)
                output.loss = output.loss + share * output.auxiliary_loss
        return output

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | Path, is_main_process: bool = True, **kwargs: Any
    ) -> None:
        """Saves the checkpoint and the code of the model, so that it loads without this package.

        Checksums of what was in the folder before are no longer true and go; so does one file of
        weights where shards were written, and an index where one file was.
        """
        folder = Path(save_directory)
        self.config.auto_map = dict(AUTO_MAP)
        if is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / CHECKSUM).unlink(missing_ok=True)
            (folder / CODE_FILE).write_text(source(), encoding="utf-8")
        kinds = [folder / name for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)]
        before = [file.stat().st_mtime_ns if file.is_file() else 0 for file in kinds]
        super().save_pretrained(folder, is_main_process=is_main_process, **kwargs)
        if is_main_process and all(file.is_file() for file in kinds):
            for file, written in zip(kinds, before, strict=True):
                if file.stat().st_mtime_ns == written:
                    file.unlink()

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Redraws all parameters, from this generator alone."""
        for module in self.modules():
            self._init_weights(module, generator)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module, generator: torch.Generator | None = None) -> None:
        std = self.config.initializer_range
        if isinstance(module, Norm | HeadNorm):
            nn.init.constant_(module.weight, 1.0 - getattr(module, "offset", 0.0))
        elif isinstance(module, Router):
            nn.init.normal_(module.weight, std=self.config.router_init_std, generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=std, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=std, generator=generator)
        elif isinstance(module, FeedForward | SharedExpert):
            for stacked in (module.gate, module.up, module.down):
                nn.init.normal_(stacked, std=std, generator=generator)

    def _logits(self, h_BTD: Tensor) -> Tensor:
        logits: Tensor = self.lm_head(h_BTD) * self.config.logit_scale
        return logits

    def _loss(self, h_BTD: Tensor, labels: Tensor, divisor: Tensor | int | None) -> Tensor:
        target_N = labels[:, 1:].flatten().to(h_BTD.device)
        h_ND = h_BTD[:, :-1].flatten(0, 1)
        head = self.lm_head
        if type(head) is nn.Linear and "forward" not in vars(head) and not head._forward_hooks:
            return linear_cross_entropy(
                h_ND, head.weight, target_N, self.config.logit_scale, divisor
            )
        # What an adapter adds, or a tool that keeps the head elsewhere, is not in its matrix.
        total = F.cross_entropy(self._logits(h_ND).float(), target_N, reduction="sum")
        return total / ((target_N != IGNORED).sum() if divisor is None else divisor)


def _share(labels: Tensor | None, items: Tensor | int | None) -> Tensor | float:
    """Share of the tokens to predict of a whole batch that this part of it has."""
    if labels is None or items is None:
        return 1.0
    return (labels[:, 1:] != IGNORED).sum() / items


AutoConfig.register("bam", BamConfig)
AutoModelForCausalLM.register(BamConfig, BamForCausalLM)
