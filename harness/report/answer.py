"""What a page says first: the suite's sentence while its verdicts stand, else their count."""

from collections.abc import Sequence
from typing import NamedTuple

from harness import number
from harness.claims import Verdict
from harness.suite import Suite


class Reply(NamedTuple):
    """The plain answer at one scale."""

    text: str
    remark: str = ""
    """Why the suite's own sentence is not shown; empty where it is, or where there is none."""


def reply(suite: Suite, scale: str, verdicts: Sequence[Verdict]) -> Reply:
    """The sentence that the suite wrote for these verdicts, or how many came out which way."""
    words = {v.claim: v.word for v in verdicts}
    written = next((a for a in suite.answers if a.scale == scale), None)
    if written is None:
        return Reply(counted(verdicts))
    changed = [
        f"{claim} was {word}, is {words.get(claim) or 'not run'}"
        for claim, word in written.rests_on.items()
        if words.get(claim) != word
    ]
    if changed:
        why = f"The suite's own sentence was written for other verdicts: {'; '.join(changed)}."
        return Reply(counted(verdicts), why)
    return Reply(written.text)


def counted(verdicts: Sequence[Verdict]) -> str:
    """`Of 5 primary claims 4 hold, 1 is not testable here.`"""
    primary = [v.word for v in verdicts if v.role == "primary"] or [
        v.word for v in verdicts if v.role == "secondary"
    ]
    if not primary:
        return "No claim is judged."
    counts = {word: primary.count(word) for word in dict.fromkeys(primary)}
    ways = ", ".join(f"{n} {_verb(word, n)}" for word, n in counts.items())
    kind = "primary claim" if any(v.role == "primary" for v in verdicts) else "claim"
    return f"Of {number.plural(len(primary), kind)} {ways}."


def _verb(word: str, count: int) -> str:
    if word == "holds":
        return "holds" if count == 1 else "hold"
    return f"{'is' if count == 1 else 'are'} {word}"
