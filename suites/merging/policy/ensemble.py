"""An ensemble of policies for one environment: what averaging the outputs gives instead.

Averaging weights keeps one network; averaging outputs keeps all of them, at the cost of each. It
shows what a merge could reach at best if the networks need not share anything.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from suites.merging.policy.model import DecisionTransformer


class Ensemble(nn.Module):
    """Policies with the same input layers and time embedding; its action is the mean of theirs."""

    def __init__(self, members: Sequence[DecisionTransformer]) -> None:
        """The first member supplies what all share."""
        super().__init__()
        self.members = nn.ModuleList(members)
        self.shape = members[0].shape
        self.embed, self.at_time = members[0].embed, members[0].at_time

    @torch.inference_mode()
    def act(self, x_BTD: Tensor) -> Tensor:
        """The mean of the members' deterministic actions at the last token, [B,A]."""
        return torch.stack([member.act(x_BTD) for member in self.members]).mean(0)  # type: ignore[operator]
