"""Weights on disk, against safetensors itself; whatever else is there is one line."""

import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from harness import weights
from harness.errors import DataError, UsageError
from harness.weights import INDEX, WEIGHTS, Weights

QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def tensors(seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return {
        "b.weight": torch.randn(5, 3, generator=generator).to(dtype),
        "a.weight": torch.randn(2, generator=generator).to(dtype),
        "é.scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 4),
        "mask": torch.tensor([True, False]),
        "steps": torch.tensor([7], dtype=torch.int64),
        "half": torch.randn(3, generator=generator).to(torch.bfloat16),
    }


def same(a, b):
    return set(a) == set(b) and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


def meta(state):
    return {key: torch.empty_like(value, device="meta") for key, value in state.items()}


def test_a_file_is_what_safetensors_reads_and_writes(tmp_path):
    state = tensors()
    save_file(state, tmp_path / "theirs.safetensors", {"format": "pt"})
    assert same(dict(Weights(tmp_path / "theirs.safetensors")), state)
    digests = weights.write(tmp_path, meta(state), state.__getitem__)
    assert (tmp_path / WEIGHTS).read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()
    assert digests == Weights(tmp_path).digests()
    shapes = Weights(tmp_path).meta
    assert all(shapes[k].shape == v.shape and shapes[k].dtype == v.dtype for k, v in state.items())


def test_types_are_laid_out_in_the_order_of_the_format(tmp_path):
    kinds = [getattr(torch, kind) for kind in weights._NAMES]
    state = {f"t{n}": torch.ones(3).to(kind) for n, kind in enumerate(kinds)}
    save_file(state, tmp_path / "theirs.safetensors", {"format": "pt"})
    weights.write(tmp_path, meta(state), state.__getitem__)
    assert (tmp_path / WEIGHTS).read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


@pytest.mark.parametrize("size", [1, 40, 100, 10**9])
def test_shards_hold_what_fits_and_read_as_one(size, tmp_path):
    state = tensors()
    files = weights.write(tmp_path, meta(state), state.__getitem__, size)
    for file in files:
        held = load_file(tmp_path / file)
        assert len(held) == 1 or sum(t.nbytes for t in held.values()) <= size
    assert (tmp_path / INDEX).exists() == (len(files) > 1)
    assert same(dict(Weights(tmp_path)), state)
    assert list(Weights(tmp_path)) == sorted(state)


@pytest.mark.parametrize("piece", [1, 4, weights.PIECE])
def test_pieces_are_the_tensor(piece, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "PIECE", piece)
    state = tensors()
    save_file(state, tmp_path / "theirs.safetensors", {"format": "pt"})
    opened = Weights(tmp_path / "theirs.safetensors")
    for held in (opened, state):
        for key, tensor in state.items():
            found = list(weights.pieces(held, key))
            assert all(0 < part.numel() <= piece and part.dim() == 1 for part in found)
            whole = weights.joined(found, tensor)
            assert whole.dtype == tensor.dtype
            assert torch.equal(whole, tensor)
    (tmp_path / "out").mkdir()
    weights.write(tmp_path / "out", meta(state), lambda name: weights.pieces(opened, name))
    written = (tmp_path / "out" / WEIGHTS).read_bytes()
    assert written == (tmp_path / "theirs.safetensors").read_bytes()


@pytest.mark.parametrize(
    "made",
    [
        torch.ones(3),
        torch.ones(2, 1),
        torch.ones(2, dtype=torch.float64),
        [torch.ones(1)],
        [torch.ones(2), torch.ones(1)],
        [torch.ones(1), torch.ones(1, dtype=torch.float16)],
        [],
    ],
)
def test_what_is_made_has_to_be_as_announced(made, tmp_path):
    with pytest.raises(ValueError, match="not as announced"):
        weights.write(tmp_path, {"a": torch.empty(2, device="meta")}, lambda _: made)


# -- the manifest ----------------------------------------------------------------------------------


@pytest.fixture
def shards(tmp_path):
    """Two shards and their index, and two of an older save that nothing names."""
    names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    save_file({"a": torch.ones(2)}, tmp_path / names[0])
    save_file({"b": torch.ones(3)}, tmp_path / names[1])
    index = {"weight_map": {"a": names[0], "b": names[1]}}
    (tmp_path / INDEX).write_text(json.dumps(index))
    save_file({"a": torch.zeros(2)}, tmp_path / "model-00001-of-00003.safetensors")
    return tmp_path


def test_the_index_says_which_files_count(shards):
    state = dict(Weights(shards))
    assert same(state, {"a": torch.ones(2), "b": torch.ones(3)})
    assert [file.name[6:11] for file in Weights(shards).files] == ["00001", "00002"]


def damage(name):
    def lacking(folder):
        save_file({"c": torch.ones(1)}, folder / "model-00002-of-00002.safetensors")

    def surplus(folder):
        held = {"b": torch.ones(3), "c": torch.ones(1)}
        save_file(held, folder / "model-00002-of-00002.safetensors")

    def gone(folder):
        (folder / "model-00002-of-00002.safetensors").unlink()

    def both(folder):
        save_file({"a": torch.ones(2)}, folder / WEIGHTS)

    def outside(folder):
        (folder / INDEX).write_text('{"weight_map": {"a": "../x.safetensors"}}')

    def number(folder):
        (folder / INDEX).write_text('{"weight_map": {"a": 3}}')

    def array(folder):
        (folder / INDEX).write_text("[]")

    def deep(folder):
        (folder / INDEX).write_text("[" * 100_000)

    def pointer(folder):
        (folder / INDEX).write_text("version https://git-lfs.github.com/spec/v1\n")

    def no_index(folder):
        (folder / INDEX).unlink()

    def link(folder):
        for file in folder.iterdir():
            file.unlink()
        (folder / WEIGHTS).symlink_to("../blobs/gone")

    return locals()[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lacking", "lacks b|holds c"),
        ("surplus", "holds c, other than"),
        ("gone", "model-00002-of-00002.safetensors does not exist"),
        ("both", "one of them is stale"),
        ("outside", "is not the name of a file beside it"),
        ("number", "is not the name of a file beside it"),
        ("array", "no weight_map"),
        ("deep", "not JSON"),
        ("pointer", "git lfs pull"),
        ("no_index", "model-00001-of-00002.safetensors is neither"),
        ("link", "a link to a file that is not there"),
    ],
)
def test_a_folder_that_is_not_what_its_index_says_is_one_line(name, message, shards):
    damage(name)(shards)
    with pytest.raises(DataError, match=message) as caught:
        Weights(shards)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n <!DOCTYPE html><html>", "a web page"),
        (b"PK\x03\x04" + b"\0" * 80, "zip archive"),
        (b"\xff" * 100, "not an intact safetensors file"),
        (None, "a folder"),
    ],
)
def test_what_stands_in_the_place_of_a_file_is_named(data, message, tmp_path):
    if data is None:
        (tmp_path / WEIGHTS).mkdir()
    else:
        (tmp_path / WEIGHTS).write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        Weights(tmp_path)
    assert "\n" not in str(caught.value)


def test_numbers_that_mean_nothing_alone_are_refused():
    shapes = {"a": torch.empty(2, device="meta", dtype=torch.float8_e4m3fn)}
    with pytest.raises(DataError, match="a is float8_e4m3fn, which cannot be averaged"):
        weights.check_floating(shapes, ["a"], "model")
    with pytest.raises(UsageError, match="dtype 'int8'"):
        weights.dtype_of("int8")


# -- any bytes -------------------------------------------------------------------------------------

entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "I64", "F4", "F8_E4M3", "X", 3]),
        "shape": st.lists(st.integers(-1, 2**65), max_size=3) | st.just("x"),
        "data_offsets": st.lists(st.integers(-1, 2**65) | st.integers(0, 16), max_size=3),
    }
)
headers = st.dictionaries(st.text(max_size=4), entries | st.none() | st.text(), max_size=3)


def value_or_line(path):
    try:
        state = dict(Weights(path))
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert same(state, load_file(path))


@QUICK
@given(header=headers, body=st.binary(max_size=20))
def test_any_header_is_a_value_or_one_line(header, body, tmp_path):
    text = json.dumps(header).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    value_or_line(path)


@QUICK
@given(cut=st.integers(0, 700), at=st.integers(0, 700), byte=st.integers(0, 255))
def test_any_damage_is_a_value_or_one_line(cut, at, byte, tmp_path):
    path = tmp_path / "a.safetensors"
    state = tensors()
    del state["é.scalar"]  # not every changed byte is UTF-8, which their reader insists on too
    save_file(state, path)
    data = bytearray(path.read_bytes())
    data[at % len(data)] = byte
    path.write_bytes(bytes(data[: len(data) - cut % len(data)] if cut % 2 else data))
    value_or_line(path)
