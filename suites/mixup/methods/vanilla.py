"""Vanilla finetuning, also with as many updates, or as much time, as the bilevel mixup takes."""

from typing import Literal, get_args

from harness.errors import MethodError
from suites.mixup.method import Method, Setting
from suites.mixup.search import Plan

Budget = Literal["epochs", "updates", "time"]


class Vanilla(Method):
    """AdamW on everything.

    Args:
        budget: `epochs` trains as long as all methods finetune; `updates` makes as many updates
            of W as the mixup with `repeats` repeats in search and finetuning; `time` as many
            passes, which is where its time goes.
        repeats: K of the mixup that is matched.
    """

    def __init__(self, budget: Budget = "epochs", repeats: int = 5) -> None:
        if budget not in get_args(Budget):
            raise MethodError(f"budget {budget!r} does not exist; choose from {get_args(Budget)}")
        self.budget = budget
        self.plan = Plan(repeats=repeats)

    def steps(self, setting: Setting) -> int:
        """Updates of finetuning."""
        matched = (len(setting.data), setting.batch_size, setting.total_steps)
        if self.budget == "updates":
            return self.plan.updates(*matched)
        if self.budget == "time":
            return self.plan.passes(*matched)
        return setting.total_steps
