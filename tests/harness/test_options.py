"""What the words on the command line mean, and which mean nothing."""

from pathlib import Path

import pytest

from harness import options
from harness.errors import UsageError


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (None, ()),
        (["a"], ("a",)),
        (["a, b*,,a", "c"], ("a", "b*", "c")),
        (["", "a"], ("a",)),
    ],
)
def test_words_of_an_option_given_once_or_more(
    texts: list[str] | None, found: tuple[str, ...]
) -> None:
    assert options.words(texts, "--methods") == found


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "--tasks is empty: name at least one, or leave the option out for all"),
        ([""], "--tasks is empty: name at least one, or leave the option out for all"),
        ([" , ,", ""], "--tasks is empty: name at least one, or leave the option out for all"),
        (["a," + "b" * 201], f"--tasks '{'b' * 50}...{'b' * 20}': longer than any name"),
    ],
)
def test_an_option_without_words_is_no_wish_for_all(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        options.words(texts, "--tasks")
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (None, ()),
        (["3"], (3,)),
        (["0,1,5-9", "1", "00"], (0, 1, 5, 6, 7, 8, 9)),
        (["4-4"], (4,)),
        (["0-9999"], tuple(range(10_000))),
        (["9" * 18], (10**18 - 1,)),
    ],
)
def test_seeds(texts: list[str] | None, found: tuple[int, ...]) -> None:
    assert options.numbers(texts) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--seeds is empty: name at least one, or leave the option out for all"),
        ("²", "seeds '²': '²' is not a number or a range like 0-4"),
        ("0,١", "seeds '0,١': '١' is not a number or a range like 0-4"),
        ("-1", "seeds '-1': '-1' is not a number or a range like 0-4"),
        ("1-", "seeds '1-': '1-' is not a number or a range like 0-4"),
        ("1-2-3", "seeds '1-2-3': '1-2-3' is not a number or a range like 0-4"),
        ("1\n", None),
        ("1e3", "seeds '1e3': '1e3' is not a number or a range like 0-4"),
        ("1\x1b", r"seeds '1\x1b': '1\x1b' is not a number or a range like 0-4"),
        ("9" * 190, f"seeds '{'9' * 50}...{'9' * 20}': '{'9' * 50}...{'9' * 20}' is not a number "
         "or a range like 0-4"),
        ("3-1", "seeds '3-1': the range ends before it begins; try 1-3"),
        ("0-99999999999", "seeds '0-99999999999': at most 10,000 seeds at a time"),
        ("0-10000", "seeds '0-10000': at most 10,000 seeds at a time"),
        ("0-9999,20000", "seeds '20000': at most 10,000 seeds at a time"),
    ],
)  # fmt: skip
def test_what_are_no_seeds(text: str, message: str | None) -> None:
    if message is None:
        assert options.numbers([text]) == (1,)
        return
    with pytest.raises(UsageError) as error:
        options.numbers([text])
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "found"),
    [("90m", 5400), ("2h", 7200), ("1.5h", 5400), ("30", 1800), ("5s", 5), (".5", 30), ("1.s", 1)],
)
def test_durations(text: str, found: float) -> None:
    assert options.seconds(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "0", "0s", "-5m", "1e400h", "1e3", "nan", "inf", "٣h", "²", "h", "1_0", " 5", "5 m", "5d",
     "999999999999h", "9" * 5000, ".", "1..2", "5mm", "\0"],
)  # fmt: skip
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"^time '.*': give minutes, or a number with s, m or h, e"
    ):
        options.seconds(text)


@pytest.mark.parametrize("text", [".", "results", "/x", "a\nb", "~", "\udcff", "x" * 5000])
def test_folders(text: str) -> None:
    assert options.folder(text, "--results") == Path(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--results is empty: give a folder, `.` for the current one"),
        ("a\0b", r"--results 'a\x00b': there are no zero bytes in a path"),
    ],
)
def test_what_is_no_folder(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        options.folder(text, "--results")
    assert str(error.value) == message


def test_a_suite_named_twice_is_meant_once() -> None:
    assert options.suites(["b", "a", "b"]) == ("b", "a")
    assert options.suites(None) == ()


@pytest.mark.parametrize(
    ("text", "found"), [(None, (1, 1)), ("1/1", (1, 1)), ("2/4", (2, 4)), ("4/4", (4, 4))]
)
def test_shares(text: str | None, found: tuple[int, int]) -> None:
    assert options.share(text) == found


@pytest.mark.parametrize("text", ["", "0/4", "5/4", "1", "a/b", "1/2/3", "-1/2", "1/0", "²/2"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--shard .*: give i/n, the i-th of n shares"):
        options.share(text)
