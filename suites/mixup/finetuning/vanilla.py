"""Vanilla finetuning, also with as many updates, or as much time, as the bilevel mixup takes."""

from suites.mixup.hooks import Method, Setting
from suites.mixup.settings import SearchOptions, VanillaOptions


class Vanilla(Method):
    """AdamW on everything."""

    Options = VanillaOptions
    options: VanillaOptions

    def steps(self, setting: Setting) -> int:
        """Updates of finetuning; `time` is matched in passes, which is where time goes."""
        matched = (len(setting.data), setting.batch_size, setting.total_steps)
        search = SearchOptions(repeats=self.options.repeats)
        if self.options.budget == "updates":
            return search.updates(*matched)
        if self.options.budget == "time":
            return search.passes(*matched)
        return setting.total_steps
