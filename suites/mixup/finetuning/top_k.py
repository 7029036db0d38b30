"""Top-K tuning: the top K layers and the head learn, the rest is frozen.

Source: Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", ICML 2019.
"""

from suites.mixup.encoder import Classifier
from suites.mixup.hooks import Method, Setting
from suites.mixup.settings import TopKOptions


class TopK(Method):
    """Freezes the embeddings and all layers but the top ones; a pooler stays trained."""

    Options = TopKOptions
    options: TopKOptions

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Freezes.

        Raises:
            MethodError: the encoder has fewer layers.
        """
        top = model.top_layers(self.options.layers, "top-k")
        pooler = [p for n, p in model.encoder.named_parameters() if n.startswith("pooler")]
        trained = [*pooler, *(p for layer in top for p in layer.parameters())]
        model.encoder.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)
