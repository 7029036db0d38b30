"""Top-K tuning: the top K layers and the head learn, the rest is frozen.

Source: Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", ICML 2019.
"""

from suites.mixup.encoder import Classifier
from suites.mixup.method import Method, Setting


class TopK(Method):
    """Freezes the embeddings and all layers but the top ones; a pooler stays trained.

    Args:
        layers: K; 0 trains the head alone.
    """

    def __init__(self, layers: int = 1) -> None:
        self.layers = layers

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Freezes.

        Raises:
            MethodError: the encoder has fewer layers.
        """
        top = model.top_layers(self.layers, "top-k")
        pooler = [p for n, p in model.encoder.named_parameters() if n.startswith("pooler")]
        trained = [*pooler, *(p for layer in top for p in layer.parameters())]
        model.encoder.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)
