"""Finetuning methods by name; a method is one small file and one line here."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from suites.mixup.hooks import Method


def _lazily(module: str, name: str) -> Callable[..., Method]:
    def make(**options: Any) -> Method:
        method: Method = getattr(import_module(f"{__name__}.{module}"), name)(**options)
        return method

    return make


METHODS: dict[str, Callable[..., Method]] = {
    "vanilla": _lazily("vanilla", "Vanilla"),
    "vanilla-pairs": _lazily("pairs", "VanillaPairs"),
    "majority": _lazily("floor", "Majority"),
    "zero-shot": _lazily("floor", "ZeroShot"),
    "probe": _lazily("probe", "Probe"),
    "probe-pairs": _lazily("pairs", "ProbePairs"),
    "lp-ft": _lazily("probe", "LPFT"),
    "wise-ft": _lazily("probe", "WiSEFT"),
    "bit-fit": _lazily("bit_fit", "BitFit"),
    "sam": _lazily("sam", "SAM"),
    "ema": _lazily("ema", "EMA"),
    "l2-sp": _lazily("l2_sp", "L2SP"),
    "top-k": _lazily("top_k", "TopK"),
    "mixout": _lazily("mixout", "Mixout"),
    "r3f": _lazily("r3f", "R3F"),
    "r-drop": _lazily("r_drop", "RDrop"),
    "rec-adam": _lazily("rec_adam", "RecallAdam"),
    "child-tuning-d": _lazily("child_tuning", "ChildTuningD"),
    "child-tuning-f": _lazily("child_tuning", "ChildTuningF"),
    "re-init": _lazily("re_init", "ReInit"),
    "dps-dense": _lazily("dps", "DPSDense"),
    "dps-mix": _lazily("dps", "DPSMix"),
    "lora": _lazily("lora", "LoRA"),
    "mixup": _lazily("mixup", "Mixup"),
    "averaging": _lazily("averaging", "Averaging"),
    "joint": _lazily("joint", "Joint"),
    "random-alpha": _lazily("random_alpha", "RandomAlpha"),
}
