"""LoRA: a low-rank change of some weights learns, and the head; the encoder is frozen.

    M = W0 + (scale / rank) B A,    B = 0 and A kaiming-uniform at the start

Source: Hu et al., "LoRA", ICLR 2022; the layers are those of the package `peft`, whose defaults
these are: queries and values, rank 8, scale 8, no dropout.
"""

import re

import torch
from torch import nn

from harness.errors import MethodError
from suites.mixup.encoder import Classifier, draw
from suites.mixup.hooks import Method, Setting
from suites.mixup.settings import LoRAOptions


class LoRA(Method):
    """Adapters by `peft`."""

    Options = LoRAOptions
    options: LoRAOptions

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Freezes the encoder and adapts its layers.

        Raises:
            MethodError: no layer matches, or `peft` is not installed.
        """
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ModuleNotFoundError:
            raise MethodError(
                "lora needs the package peft, which is not installed; run "
                "`pip install 'attention-harness[mixup]'`"
            ) from None
        names = [
            name
            for name, module in model.encoder.named_modules()
            if isinstance(module, nn.Linear) and re.search(self.options.pattern, name)
        ]
        if not names:
            raise MethodError(
                f"lora: no linear layer of {type(model.encoder).__name__} matches "
                f"{self.options.pattern!r}; give a pattern that is found in their names"
            )
        model.encoder.requires_grad_(False)
        config = LoraConfig(
            r=self.options.rank,
            lora_alpha=self.options.scale,  # type: ignore[arg-type]
            target_modules=names,
        )
        inject_adapter_in_model(config, model.encoder)
        generator = setting.generator("init", "lora")
        for name, parameter in model.encoder.named_parameters():
            if "lora_A" in name:  # peft draws from the global generator
                draw(
                    parameter,
                    lambda new: nn.init.kaiming_uniform_(new, a=5**0.5, generator=generator),
                )

    @torch.no_grad()
    def detach(self, model: Classifier) -> None:
        """Adds the change to W0 and takes the adapters away."""
        from peft.tuners.lora import LoraLayer

        for name, module in list(model.encoder.named_modules()):
            if isinstance(module, LoraLayer):
                module.merge()
                parent, _, own = name.rpartition(".")
                setattr(model.encoder.get_submodule(parent), own, module.get_base_layer())
        model.encoder.requires_grad_(True)
