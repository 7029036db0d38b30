"""ReInit: the pooler and the top layers start from new weights.

Source: Zhang et al., "Revisiting Few-sample BERT Fine-tuning", ICLR 2021, section 5.
"""

from torch import nn

from suites.mixup.encoder import Classifier, initialise
from suites.mixup.hooks import Method, Setting
from suites.mixup.settings import ReInitOptions


class ReInit(Method):
    """Weights N(0, 0.02), biases 0, LayerNorms 1 and 0."""

    Options = ReInitOptions
    options: ReInitOptions

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Draws the new weights.

        Raises:
            MethodError: the encoder has fewer layers.
        """
        top = model.top_layers(self.options.layers, "re-init")
        generator = setting.generator("init", "re-init")
        pooler = getattr(model.encoder, "pooler", None)
        for module in [*top, *([pooler] if isinstance(pooler, nn.Module) else [])]:
            initialise(module, generator)
