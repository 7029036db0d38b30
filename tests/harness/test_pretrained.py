"""What is compared of two models' folders, and what travels along."""

import json

import pytest

from harness import pretrained
from harness.errors import DataError, MethodError


def tokenizer(**changes):
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
    whole = {
        "added_tokens": [{"id": 3, "content": "<s>", "special": True}],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel"},
        "model": model,
    }
    return whole | changes


def write(folder, **files):
    folder.mkdir()
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [
        ({"a": 1}, {"a": 2}, "a"),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "a.b[1]"),
        ({"a": [1]}, {"a": [1, 2]}, "a[1]"),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, "a[0].b"),
        ({}, {"z": 1}, "z"),
        ({"a": 1}, {"a": True}, "a"),
        ([1], {"a": 1}, ""),
    ],
)
def test_the_first_difference_is_named(one, other, place):
    assert pretrained.difference(one, other).place == place
    assert pretrained.difference(other, one).place == place


def test_a_field_that_says_nothing_is_no_difference():
    assert pretrained.difference({"a": None, "b": False}, {"c": []}) is None
    assert pretrained.difference({"a": 1, "x": 1}, {"a": 1, "x": 2}, {"x"}) is None
    assert pretrained.difference({"a": 1}, {"a": 1.0}) is None


@pytest.mark.parametrize(
    ("name", "one", "other", "message"),
    [
        (
            "tokenizer__json",
            tokenizer(),
            tokenizer(normalizer={"type": "NFC"}),
            "tokenizer.json: normalizer is missing in",
        ),
        (
            "tokenizer__json",
            tokenizer(),
            tokenizer(added_tokens=[{"id": 3, "content": "<e>", "special": True}]),
            "tokenizer.json: added_tokens[0].content is '<s>' in",
        ),
        (
            "tokenizer__json",
            tokenizer(),
            tokenizer(model=tokenizer()["model"] | {"merges": ["b a"]}),
            "tokenizer.json: model.merges[0] is",
        ),
        ("tokenizer__model", "\n\x01a", "\n\x01b", "tokenizer.model is"),
        ("vocab__txt", "a\nb", "b\na", "vocab.txt is"),
    ],
)
def test_tokenizers_that_read_text_differently_are_refused(name, one, other, message, tmp_path):
    folders = [write(tmp_path / "A", **{name: one}), write(tmp_path / "B", **{name: other})]
    with pytest.raises(MethodError) as caught:
        pretrained.check_tokenizers(folders, "advice")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    pretrained.check_tokenizers([folders[0], folders[0], write(tmp_path / "C")], "advice")


def test_merges_are_the_same_in_either_notation(tmp_path):
    listed = tokenizer(model=tokenizer()["model"] | {"merges": [["a", "b"]]})
    listed["truncation"] = {"max_length": 9}
    folders = [
        write(tmp_path / "A", tokenizer__json=tokenizer()),
        write(tmp_path / "B", tokenizer__json=listed),
    ]
    pretrained.check_tokenizers(folders, "advice")


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (
            {"tokenizer_config__json": {"eos_token": "<s>"}},
            {"tokenizer_config__json": {"eos_token": {"content": "<e>"}}},
            "tokenizer_config.json: eos_token is '<s>'",
        ),
        (
            {"special_tokens_map__json": {"pad_token": "<p>"}},
            {"special_tokens_map__json": {}},
            "special_tokens_map.json: pad_token is '<p>'",
        ),
        (
            {"chat_template__jinja": "{{ a }}"},
            {"tokenizer_config__json": {"chat_template": "{{ b }}"}},
            "chat template is '{{ a }}'",
        ),
    ],
)
def test_special_tokens_and_templates_are_compared(one, other, message, tmp_path):
    folders = [
        write(tmp_path / "A", tokenizer__json=tokenizer(), **one),
        write(tmp_path / "B", tokenizer__json=tokenizer(), **other),
    ]
    with pytest.raises(MethodError) as caught:
        pretrained.check_tokenizers(folders, "advice")
    assert message in str(caught.value)


def test_tokenizers_without_a_file_in_common_cannot_be_compared(tmp_path):
    folders = [
        write(tmp_path / "A", tokenizer__json=tokenizer()),
        write(tmp_path / "B", tokenizer__model="x"),
    ]
    with pytest.raises(MethodError, match="cannot be compared"):
        pretrained.check_tokenizers(folders, "advice")


def test_what_travels_along_is_the_thing_itself(tmp_path):
    folder = write(
        tmp_path / "A",
        tokenizer__json=tokenizer(),
        LICENSE="free",
        generation_config__json={"eos_token_id": [2, 7]},
        config__json={},
        trainer_state__json={},
    )
    names = [path.name for path in pretrained.companions(folder)]
    assert names == ["tokenizer.json", "generation_config.json", "LICENSE"]
    (folder / "merges.txt").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match="git lfs pull"):
        pretrained.companions(folder)


def test_quantised_models_and_adapters_are_refused(tmp_path):
    for config in ({"quantization_config": {"bits": 4}}, {"peft_type": "LORA"}):
        with pytest.raises(DataError):
            pretrained.check_plain(config, tmp_path)


def test_the_digests_of_a_model_are_of_all_that_it_needs(tmp_path):
    folder = write(
        tmp_path / "a", config__json={}, model__safetensors="w", tokenizer__json={}, notes__md="-"
    )
    found = pretrained.digests(folder, "model a", lambda path: path.name[0] * 3)
    assert found == {"config.json": "ccc", "model.safetensors": "mmm", "tokenizer.json": "ttt"}
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"^model a: .* must hold config\.json, .* save_pre"):
        pretrained.digests(folder, "model a")
