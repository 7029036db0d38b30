"""BitFit: the biases and the head learn, all other weights are frozen.

Source: Ben Zaken, Ravfogel and Goldberg, "BitFit: Simple Parameter-efficient Fine-tuning for
Transformer-based Masked Language-models", ACL 2022, section 3; the shifts of norms are biases.
"""

from harness.errors import MethodError
from suites.mixup.encoder import Classifier
from suites.mixup.hooks import Method, Setting


class BitFit(Method):
    """Freezes what is no bias; embeddings that are frozen stay so."""

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Freezes.

        Raises:
            MethodError: the encoder has no biases.
        """
        biases = [
            parameter
            for name, parameter in model.encoder.named_parameters()
            if name.endswith("bias") and parameter.dim() == 1 and parameter.requires_grad
        ]
        if not biases:
            raise MethodError(
                f"bit-fit: {type(model.encoder).__name__} has no biases that learn; choose another "
                "method or encoder"
            )
        model.encoder.requires_grad_(False)
        for bias in biases:
            bias.requires_grad_(True)
