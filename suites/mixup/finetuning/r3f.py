"""R3F: the prediction must not change when noise is added to the word embeddings.

    L + strength * (KL(p || q) + KL(q || p)) / B

with p the prediction on the embeddings, and q on detached embeddings plus noise.

Source: Aghajanyan et al., "Better Fine-Tuning by Reducing Representational Collapse", ICLR 2021,
Eq. 3; noise and reduction as in its released code.

Shape suffixes: B batch, T tokens, D width, C classes.
"""

import torch
from torch import Tensor

from harness.errors import MethodError
from suites.mixup.encoder import Batch, Classifier, task_loss
from suites.mixup.hooks import Method, Setting
from suites.mixup.settings import R3FOptions


def symmetric_divergence(one_BC: Tensor, other_BC: Tensor) -> Tensor:
    """KL(p || q) + KL(q || p) of two sets of logits, summed over classes, mean over the batch."""
    p_BC, q_BC = one_BC.log_softmax(1), other_BC.log_softmax(1)
    return ((p_BC.exp() - q_BC.exp()) * (p_BC - q_BC)).sum(1).mean()


class R3F(Method):
    """Regularises by the symmetric divergence under noise; not for regression."""

    Options = R3FOptions
    options: R3FOptions

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Nothing is changed.

        Raises:
            MethodError: the task is a regression: there is no distribution to compare.
        """
        if setting.regression:
            raise MethodError(
                "r3f compares distributions over classes, the task is a regression; choose a "
                "classification task or another method"
            )

    def loss(self, model: Classifier, batch: Batch) -> Tensor:
        """Task loss and divergence."""
        logits_BC = model(batch)
        embeddings_BTD = model.token_embeddings(batch).detach()
        radius = self.options.radius
        noise_BTD = torch.empty_like(embeddings_BTD).uniform_(-radius, radius)
        noisy_BC = model(batch, inputs_embeds=embeddings_BTD + noise_BTD)
        task = task_loss(logits_BC, batch.labels_B, model.regression)
        return task + self.options.strength * symmetric_divergence(logits_BC, noisy_BC)
