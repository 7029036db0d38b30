"""Child-Tuning: only a child network of the weights gets gradients.

Source: Xu et al., "Raise a Child in Large Language Model", EMNLP 2021, sections 2.2 and 2.3, and
its released code. Only parameters of the layers are masked; embeddings, pooler and head train.
Gradients are masked before they are clipped, in the released code after it. AdamW's decoupled decay
still shrinks masked weights, and its moments still move them a little after a mask has changed.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from suites.mixup.encoder import Classifier, task_loss
from suites.mixup.hooks import Method, Setting, trained
from suites.mixup.settings import ChildTuningOptions


class ChildTuning(Method):
    """What both kinds share: gradients of the layers are multiplied by a mask."""

    Options = ChildTuningOptions
    options: ChildTuningOptions

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Looks for the layers.

        Raises:
            MethodError: the encoder has no list of them.
        """
        self.masked(model)

    @staticmethod
    def masked(model: Classifier) -> list[Tensor]:
        """The parameters of the layers, LayerNorms and biases among them."""
        return trained(model.layers())


class ChildTuningF(ChildTuning):
    """Task-free: a fresh Bernoulli(p) mask at each step, gradients divided by p."""

    def after_backward(self, model: Classifier, step: int) -> None:
        """Masks at random, from the global generator that dropout draws from."""
        for parameter in self.masked(model):
            if parameter.grad is not None:
                keep = torch.empty_like(parameter.grad).bernoulli_(self.options.share)
                parameter.grad.mul_(keep).div_(self.options.share)


class ChildTuningD(ChildTuning):
    """Task-driven: the weights with the largest Fisher information, one threshold for all.

    The information of a weight is the mean over batches of its squared gradient, the gradient of
    each tensor clipped by itself.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._masks: list[Tensor] = []

    def attach(self, model: Classifier, setting: Setting) -> None:
        """One pass over the data, before training, fixes the mask."""
        parameters = self.masked(model)
        fisher = [torch.zeros_like(p) for p in parameters]
        model.train()
        device = parameters[0].device
        generator = setting.generator("fisher")
        order = torch.randperm(len(setting.data), generator=generator).tolist()
        starts = range(0, len(order), setting.batch_size)
        # Dropout draws from a stream of its own: a resumed trial makes the same mask.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(generator.initial_seed())
            for start in starts:
                batch = setting.data.batch(order[start : start + setting.batch_size]).to(device)
                loss = task_loss(model(batch), batch.labels_B, model.regression)
                model.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                for total, parameter in zip(fisher, parameters, strict=True):
                    if parameter.grad is not None:  # each tensor is clipped by itself
                        nn.utils.clip_grad_norm_([parameter], self.options.fisher_clip)
                        total.addcmul_(parameter.grad, parameter.grad, value=1 / len(starts))
        model.zero_grad()
        values = torch.cat([f.flatten() for f in fisher])
        # At or above the percentile 1 - p, between two values where it falls between them.
        place = math.ceil((1 - self.options.share) * (values.numel() - 1))
        threshold = values.kthvalue(place + 1).values
        self._masks = [(f >= threshold).to(f.dtype) for f in fisher]

    def after_backward(self, model: Classifier, step: int) -> None:
        """Masks."""
        for mask, parameter in zip(self._masks, self.masked(model), strict=True):
            if parameter.grad is not None:
                parameter.grad.mul_(mask)
