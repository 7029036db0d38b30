"""Merging Decision Transformers: rules of merging that work on any state dict."""

from harness.lazy import face

_RULES = ("average", "dare", "fisher", "regmean", "slerp", "task_arithmetic", "ties")

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "align": "suites.merging.merge.alignment",
        **dict.fromkeys(("environment", "policies"), "suites.merging.own"),
        **dict.fromkeys(_RULES, "suites.merging.merge.rules"),
        **dict.fromkeys(("iso_c", "tsv_m"), "suites.merging.merge.spectral"),
    },
)
