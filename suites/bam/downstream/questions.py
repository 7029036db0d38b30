"""The questions of a benchmark: read, checked for their use, and cut to what a model can read."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from transformers import PreTrainedTokenizerBase

from harness import rows
from harness.errors import DataError, quoted
from harness.rows import ADVICE, Field, Row, Schema

Question = dict[str, Any]
T = TypeVar("T")

SOLUTION = 150
"""Characters of a solution that `mbpp-choice` shows, so that small models can read it whole."""

_CHOICE = Schema(
    (
        Field("question"),
        Field("choices", "texts", low=2),
        Field("answer", "integer", index_of="choices"),
    )
)
_JUDGEMENT = Schema((Field("text"), Field("answer", allowed=("No", "Yes"))))
_LETTERS = ("A", "B", "C", "D")
_PROGRAM = Schema(
    (
        Field("task_id", "integer"),
        *map(Field, ("text", "code", "test_setup_code")),
        Field("test_list", "texts", low=1),
    )
)
SCHEMAS: Mapping[str, Schema] = MappingProxyType(
    {
        **dict.fromkeys(
            ("mathqa", "openbookqa", "arc-easy", "arc-challenge", "siqa", "piqa", "winogrande",
             "generated"),
            _CHOICE,
        ),
        **dict.fromkeys(
            ("overruling", "governing-law", "hearsay", "proa", "personal-jurisdiction"), _JUDGEMENT
        ),
        **dict.fromkeys(("mbpp", "mbpp-choice"), _PROGRAM),
        "gsm8k": Schema((Field("question"), Field("answer"))),
        "nq-open": Schema((Field("question"), Field("answer", "texts", low=1))),
        "humaneval": Schema(
            tuple(map(Field, ("prompt", "entry_point", "canonical_solution", "test")))
        ),
        "mmlu": Schema(
            (*map(Field, ("question", *_LETTERS)), Field("answer", allowed=_LETTERS)), columns=6
        ),
    }
)  # fmt: skip
"""What a row of each benchmark's files holds."""


def read(name: str, path: Path) -> list[Question]:
    """The questions in a file of a benchmark.

    Raises:
        DataError: the file cannot be read, or a row is no question: a field is missing or of
            another type, the answer is not among the choices, WinoGrande has no blank.
    """
    found = rows.read(path, SCHEMAS[name])
    for row in found:
        _fits(name, row, f"{path}:{row.line}")
    return [row.values for row in found]


def of_split(name: str, questions: list[Question], split: str) -> list[Question]:
    """Those of a benchmark that belong to a split, in the form in which they are asked."""
    return _TRANSFORMS[name](questions, split) if name in _TRANSFORMS else questions


def thinned(questions: list[T], limit: int | None) -> list[T]:
    """At most `limit` of them, spread evenly."""
    if limit is None or limit >= len(questions):
        return questions
    return [questions[place * len(questions) // limit] for place in range(limit)]


def shortened(
    choices: Sequence[str], tokenizer: PreTrainedTokenizerBase, delimiter: str, tokens: int
) -> list[str]:
    """Every choice up to its longest beginning of at most `tokens` tokens, at least a character.

    What is scored is then what is there: a metric by length counts the characters of that text.

    Args:
        choices: texts.
        tokenizer: of the model.
        delimiter: what stands before a choice, counted with it.
        tokens: at most.
    """

    def fits(text: str) -> bool:
        ids = tokenizer.encode(delimiter + text, add_special_tokens=False)
        return len(ids) <= tokens

    def cut(text: str) -> str:
        if fits(text):
            return text
        low, high = 1, len(text)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(text[:middle]) else (low, middle)
        return text[:low]

    return [cut(choice) for choice in choices]


def _fits(name: str, row: Row, place: str) -> None:
    values = row.values
    if not all(choice.strip() for choice in values.get("choices", ())):
        raise DataError(f"{place}: an empty choice; {ADVICE}")
    if "choices" in values and values["question"].strip().isdigit():
        raise DataError(
            f"{place}: the question {quoted(values['question'])} is a number alone, which lm-eval "
            f"takes for the place of a choice; {ADVICE}"
        )
    if name == "winogrande":
        before, blank, after = values["question"].partition("_")
        rest = after.strip()
        if not blank or "_" in after or not rest or rest.isdigit():
            raise DataError(
                f"{place}: the question {quoted(before + blank + after)} must have one _ and text "
                f"after it; {ADVICE}"
            )
        if len(values["choices"]) != 2:
            raise DataError(f"{place}: {len(values['choices'])} choices, 2 wanted; {ADVICE}")


def _mbpp(questions: list[Question], split: str) -> list[Question]:
    """Tasks 11 to 510 are for testing, 2 to 4 are the examples."""
    wanted = range(11, 511) if split == "test" else range(2, 5)
    return [row for row in questions if row["task_id"] in wanted]


def _mbpp_choice(questions: list[Question], split: str) -> list[Question]:
    """Each task with its own solution among those of the next three, its place in turn.

    Solutions are cut after `SOLUTION` characters.
    """
    questions = _mbpp(questions, split)
    made = []
    for number, row in enumerate(questions):
        place = number % 4
        others = [questions[(number + step) % len(questions)] for step in (1, 2, 3)]
        solutions = [
            r["code"].replace("\r\n", "\n")[:SOLUTION]
            for r in (*others[:place], row, *others[place:])
        ]
        made.append({"text": row["text"], "solutions": solutions, "place": place})
    return made


_TRANSFORMS: Mapping[str, Callable[[list[Question], str], list[Question]]] = MappingProxyType(
    {"mbpp": _mbpp, "mbpp-choice": _mbpp_choice}
)
