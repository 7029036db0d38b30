"""ReInit: the pooler and the top layers start from new weights.

Source: Zhang et al., "Revisiting Few-sample BERT Fine-tuning", ICLR 2021, section 5.
"""

from torch import nn

from harness.errors import MethodError
from suites.mixup.encoder import Classifier, initialise
from suites.mixup.method import Method, Setting


class ReInit(Method):
    """Weights N(0, 0.02), biases 0, LayerNorms 1 and 0.

    Args:
        layers: how many layers from the top.
    """

    def __init__(self, layers: int = 1) -> None:
        self.layers = layers

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Draws the new weights.

        Raises:
            MethodError: the encoder has fewer layers.
        """
        stack = list(model.layers())
        if not 0 <= self.layers <= len(stack):
            raise MethodError(
                f"re-init wants {self.layers} layers, the encoder has {len(stack)}; choose 0 to "
                f"{len(stack)}"
            )
        generator = setting.generator("init", "re-init")
        pooler = getattr(model.encoder, "pooler", None)
        fresh = stack[len(stack) - self.layers :]
        for module in [*fresh, *([pooler] if isinstance(pooler, nn.Module) else [])]:
            initialise(module, generator)
