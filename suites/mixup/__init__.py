"""Attention-guided weight mixup: every weight a learnable mixture with its pretrained value."""

from harness.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    dict.fromkeys(("alphas", "attach", "fold"), "suites.mixup.mixing")
    | dict.fromkeys(("encoder", "text_task"), "suites.mixup.own"),
)
