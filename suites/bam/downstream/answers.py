"""Bits per byte of right answers: what a model knows where it still chooses at chance.

What is scored is what is counted: an answer of more than the tokens that are read of one is cut
first, by the rule of `questions.shortened`, and its bits are divided by the bytes of what is left.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedTokenizerBase

from suites.bam.downstream import questions


def told(
    lm: HFLM,
    samples: Sequence[Mapping[str, Any]],
    config: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    tokens: int,
) -> tuple[float, int]:
    """Bits that a model needs for the right answers of a task, and the bytes of these.

    Args:
        lm: the model as lm-eval asks it.
        samples: of lm-eval: every question with its requests and their results.
        config: of the task.
        tokenizer: of the model.
        tokens: of an answer at most.
    """

    def cut(text: str) -> str:
        return questions.shortened([text], tokenizer, "", tokens)[0]

    if config["output_type"] == "multiple_choice":
        places = [right(sample) for sample in samples]
        chosen = list(zip(samples, places, strict=True))
        nats = [float(sample["filtered_resps"][place][0]) for sample, place in chosen]
        texts = [cut(sample["arguments"][place][1]) for sample, place in chosen]
    else:
        texts = [cut(_written(sample, config)) for sample in samples]
        requests = [
            Instance(
                request_type="loglikelihood",
                doc={},
                arguments=(sample["arguments"][0][0], text),
                idx=0,
            )
            for sample, text in zip(samples, texts, strict=True)
            if text
        ]
        nats = [float(value) for value, _ in lm.loglikelihood(requests, disable_tqdm=True)]
    return -sum(nats) / math.log(2), sum(len(text.encode()) for text in texts)


def _written(sample: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """What a model should write; the first of several right answers."""
    target = sample["target"]
    answer = target if isinstance(target, str) else target[0]
    return f"{config.get('target_delimiter', ' ')}{answer}" if answer else ""


def right(sample: Mapping[str, Any]) -> int:
    """Which of a question's requests has the right answer.

    The target is its place or its text; where all requests end alike (WinoGrande), their beginnings
    are the choices, and the row says which.
    """
    target = sample["target"]
    if isinstance(target, int):
        return target
    endings = [ending.strip() for _, ending in sample["arguments"]]
    if len(set(endings)) == 1 and len(endings) > 1:
        return int(sample["doc"]["answer"])
    return endings.index(str(target).strip())
