"""Two Llama experts of one's own in the suite bam: their mixtures, on two tasks of one's own.

harness run bam --plugin docs/examples/my_experts.py --methods '*checkpoint*' \
    --tasks 'texts-*,lm-eval-*' --scale smoke
"""

from pathlib import Path

from harness.plugins import Plugin
from suites import bam

HERE = Path(__file__).parent


def plugin() -> tuple[Plugin, ...]:
    # Both were trained from one seed; `seed=True` on a third would add that model to the mixtures.
    return (
        bam.expert("medicine", HERE / "experts/medicine", HERE / "experts/medicine.jsonl"),
        bam.expert("law", HERE / "experts/law", HERE / "experts/law.jsonl"),
        # Without a folder these are names of tasks that lm-eval has: "arc_easy", "hellaswag".
        bam.lm_eval_tasks("which_field", "last_word", folder=HERE / "lm-eval"),
    )
