"""Mixout: dropout towards the pretrained weights instead of towards zero.

    M = ((1 - m) W0 + m W - p W0) / (1 - p),     m ~ Bernoulli(1 - p), one an input column

in training; W in evaluation. Takes the place of dropout in every linear layer of the encoder.

Source: Lee et al., "Mixout: Effective Regularization to Finetune Large-scale Pretrained Language
Models", ICLR 2020, Eq. 2 and 7. Their code's backward pass gives W the gradient m * dL/dM, without
1 / (1 - p); ours is the true derivative. AdamW does not see a constant factor.

Shape suffixes: O output features, I input features.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from harness.errors import MethodError
from suites.mixup.encoder import Classifier
from suites.mixup.hooks import Method, Setting
from suites.mixup.mixing import linear_layers
from suites.mixup.settings import MixoutOptions


class MixoutWeight(nn.Module):
    """The parametrisation of one weight; masks are drawn at every read in training.

    They come from the global generator, as dropout does; checkpoints carry it.

    Args:
        target_OI: what is mixed in, copied.
        p: probability of a column to be the target's.
    """

    target_OI: Tensor

    def __init__(self, target_OI: Tensor, p: float) -> None:
        super().__init__()
        self.p = p
        self.register_buffer("target_OI", target_OI.detach().clone())

    def forward(self, weight_OI: Tensor) -> Tensor:
        """The weight of this pass, [O, I]."""
        if not self.training or self.p == 0:
            return weight_OI
        keep_I = torch.empty_like(weight_OI[0]).bernoulli_(1 - self.p) / (1 - self.p)
        return torch.addcmul(self.target_OI, keep_I, weight_OI - self.target_OI)


def encoder_linears(model: Classifier) -> list[nn.Linear]:
    """The linear layers that have pretrained weights, a pooler's among them.

    Raises:
        MethodError: the encoder has weights that are in no linear layer, or none that are.
    """
    found = [linear for _, linear in linear_layers(model.encoder)]
    if not found:
        raise MethodError(
            f"{type(model.encoder).__name__} has no linear layer; choose another encoder"
        )
    return found


def without_dropout(model: Classifier) -> None:
    """Sets every dropout of the model to 0, that of attention too."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):  # those that are applied by a function
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)


class Mixout(Method):
    """Mixes W0 in, column by column."""

    Options = MixoutOptions
    options: MixoutOptions

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Parametrises the encoder's linear layers; takes dropout away."""
        without_dropout(model)
        for linear in encoder_linears(model):
            weight = MixoutWeight(linear.weight, self.options.p)
            parametrize.register_parametrization(linear, "weight", weight)

    def detach(self, model: Classifier) -> None:
        """Leaves W."""
        model.eval()
        for module in encoder_linears(model):
            parametrize.remove_parametrizations(module, "weight")
