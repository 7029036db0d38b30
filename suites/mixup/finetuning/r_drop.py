"""R-Drop: two passes with different dropout must predict the same.

    (L1 + L2) / 2 + strength * (KL(p1 || p2) + KL(p2 || p1)) / 2

and the mean squared difference of the two outputs for a regression.

Source: Liang et al., "R-Drop: Regularized Dropout for Neural Networks", NeurIPS 2021, Eq. 4. The
divergence is summed over the batch in its released snippet; we take the mean, as of the task loss.
"""

from torch import Tensor
from torch.nn.functional import mse_loss

from suites.mixup.encoder import Batch, Classifier, task_loss
from suites.mixup.finetuning.r3f import symmetric_divergence
from suites.mixup.hooks import Method
from suites.mixup.settings import RDropOptions


class RDrop(Method):
    """Two passes per batch."""

    Options = RDropOptions
    options: RDropOptions

    def loss(self, model: Classifier, batch: Batch) -> Tensor:
        """Mean task loss of both passes, and their divergence."""
        one_BC, other_BC = model(batch), model(batch)
        task = sum(
            (task_loss(logits, batch.labels_B, model.regression) for logits in (one_BC, other_BC)),
            start=one_BC.new_zeros(()),
        )
        if model.regression:
            apart = mse_loss(one_BC, other_BC)
        else:
            apart = symmetric_divergence(one_BC, other_BC) / 2
        return task / 2 + self.options.strength * apart
