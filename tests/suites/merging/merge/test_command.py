"""The merging command: files in, a whole folder out, one clear line for whatever is wrong."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness import weights
from harness.store import file_digest
from suites.merging.merge import command as merge
from suites.merging.merge import rules
from suites.merging.policy.model import DecisionTransformer, Shape

KEYS = ("transformer.h.0.attn.c_attn.weight", "transformer.h.0.mlp.c_fc.weight")


def state(seed: int, vocabulary: int = 5) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "transformer.wte.weight": torch.randn(vocabulary, 4, generator=generator),
        KEYS[0]: torch.randn(4, 12, generator=generator),
        KEYS[1]: torch.randn(4, 16, generator=generator),
        "transformer.h.0.attn.bias": torch.ones(1, 1, 2, 2, dtype=torch.uint8) * seed,
    }


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    """A folder with a configuration, a bare file, and a folder of two shards; and a base."""
    whole, shards = tmp_path / "A", tmp_path / "C"
    whole.mkdir()
    shards.mkdir()
    save_file(state(1), whole / "model.safetensors", {"format": "pt", "step": "70"})
    (whole / "config.json").write_text('{"model_type": "gpt2"}')
    (whole / "tokenizer.json").write_text("{}")
    (whole / "pytorch_model.bin").write_text("stale")
    (whole / ".cache").write_text("hidden")
    save_file(state(2), tmp_path / "B.safetensors")
    third = list(state(3).items())
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    save_file(dict(third[:2]), shards / names[0])
    save_file(dict(third[2:]), shards / names[1])
    places = {k: names[n // 2] for n, (k, _) in enumerate(third)}
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    save_file(state(9), tmp_path / "base.safetensors")
    return [str(whole), str(tmp_path / "B.safetensors"), str(shards)]


def run(method: str, models: list[str], out: Path, *more: str) -> int:
    return merge.main(["--method", method, "--models", *models, "--out", str(out), *more])


def merged(out: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = load_file(out / "model.safetensors")
    return found


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[k], b[k]) for k in a)


def test_an_average_of_a_folder_a_file_and_shards(
    models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out"
    assert run("average", models, out, "--include", "attn,mlp") == 0
    assert capsys.readouterr().out == (
        f"{out}/model.safetensors: 2 of 4 tensors merged from 3 models, 112 of 136 parameters\n"
    )
    assert same(merged(out), rules.average([state(1), state(2), state(3)], KEYS))
    assert sorted(p.name for p in out.iterdir()) == [
        "config.json", "model.safetensors", "recipe.json", "tokenizer.json",
    ]  # fmt: skip
    with safe_open(out / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert [p.name for p in out.parent.iterdir()] == ["out"], "no temporary folder stays"


def test_the_recipe_names_everything_that_went_in_and_came_out(
    models: list[str], tmp_path: Path
) -> None:
    base = tmp_path / "base.safetensors"
    assert run("ties", models, tmp_path / "o", "--base", str(base), "--density", "0.5") == 0
    recipe = json.loads((tmp_path / "o" / "recipe.json").read_text())
    assert recipe == {
        "tool": "merge-checkpoints",
        "method": "ties",
        "include": ["all"],
        "options": {
            "density": 0.5,
            "scale": 1.0,
            "base": {"path": str(base), "sha256": {base.name: file_digest(base)}},
        },
        "aligned": False,
        "models": [
            {
                "path": path,
                "sha256": {
                    f.name: file_digest(f)
                    for f in sorted(Path(path).glob("*.safetensors")) or [Path(path)]
                },
            }
            for path in models
        ],
        "parameters": {"merged": 132, "all": 136},
        "sha256": {"model.safetensors": file_digest(tmp_path / "o" / "model.safetensors")},
    }
    assert len(recipe["models"][2]["sha256"]) == 2


def info(tmp_path: Path) -> list[str]:
    paths = []
    for n in range(2):
        f = {k: v.abs() for k, v in state(20 + n).items() if v.is_floating_point()}
        save_file(f, tmp_path / f"f{n}.safetensors")
        paths.append(str(tmp_path / f"f{n}.safetensors"))
    return paths


def gram(tmp_path: Path) -> list[str]:
    paths = []
    for n in range(2):
        x = state(30 + n)[KEYS[1]]
        save_file({KEYS[1]: x.T @ x}, tmp_path / f"g{n}.safetensors")
        paths.append(str(tmp_path / f"g{n}.safetensors"))
    return paths


A, B, BASE = state(1), state(2), state(9)
EXPECTED: dict[str, tuple[Callable[[Path], list[str]], Callable[[], dict[str, Tensor]]]] = {
    "average": (
        lambda _: ["--weights", "1", "3"],
        lambda: rules.average([A, B], KEYS, [1, 3]),
    ),
    "interpolate": (lambda _: ["--p", "0.25"], lambda: rules.interpolate(A, B, KEYS, 0.25)),
    "slerp": (lambda _: ["--p", "0.25"], lambda: rules.slerp(A, B, KEYS, 0.25)),
    "fisher": (
        lambda t: ["--information", *info(t)],
        lambda: rules.fisher(
            [A, B],
            KEYS,
            [{k: v.abs() for k, v in state(n).items() if k != "transformer.h.0.attn.bias"}
             for n in (20, 21)],
        ),
    ),
    "regmean": (
        lambda t: ["--grams", *gram(t)],
        lambda: rules.regmean(
            [A, B], KEYS, [{KEYS[1]: state(n)[KEYS[1]].T @ state(n)[KEYS[1]]} for n in (30, 31)]
        ),
    ),
    "task-arithmetic": (
        lambda t: ["--base", str(t / "base.safetensors"), "--scale", "0.3"],
        lambda: rules.task_arithmetic([A, B], KEYS, BASE, 0.3),
    ),
    "ties": (
        lambda t: ["--base", str(t / "base.safetensors")],
        lambda: rules.ties([A, B], KEYS, BASE, 0.2, 1.0),
    ),
    "dare": (
        lambda t: [
            "--base", str(t / "base.safetensors"), "--scale", "0.5", "--drop", "0.3", "--seed", "4",
        ],
        lambda: rules.dare(
            [A, B], KEYS, BASE, 0.3, 0.5, generator=torch.Generator().manual_seed(4)
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("method", merge.METHODS)
def test_every_method_is_its_rule_and_repeats_to_the_byte(
    method: str, models: list[str], tmp_path: Path
) -> None:
    options, rule = EXPECTED[method]
    more = ["--include", "attn,mlp", *options(tmp_path)]
    for name in ("once", "again"):
        assert run(method, models[:2], tmp_path / name, *more) == 0
    assert same(merged(tmp_path / "once"), rule())
    for file in ("model.safetensors", "recipe.json"):
        assert (tmp_path / "once" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_policies_are_aligned_with_the_heads_of_their_configuration(tmp_path: Path) -> None:
    shape = Shape(3, 2, width=8, layers=1, heads=2, context=2, max_steps=4)
    policy = DecisionTransformer(shape, torch.Generator().manual_seed(0)).state_dict()
    swapped = {k: v.clone() for k, v in policy.items()}
    rows = torch.arange(24).view(3, 2, 4).flip(1).flatten()  # the two heads change places
    for part in ("weight", "bias"):
        swapped[f"blocks.0.attn.qkv.{part}"] = policy[f"blocks.0.attn.qkv.{part}"][rows]
    swapped["blocks.0.attn.proj.weight"] = policy["blocks.0.attn.proj.weight"][:, rows[:8]]
    swapped["blocks.0.mlp.up.weight"] = policy["blocks.0.mlp.up.weight"].flip(0).contiguous()
    swapped["blocks.0.mlp.down.weight"] = policy["blocks.0.mlp.down.weight"].flip(1).contiguous()
    for name, tensors in (("A", policy), ("B", swapped)):
        (tmp_path / name).mkdir()
        save_file(dict(tensors), tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text(json.dumps({"shape": {"heads": 2}}))
    both = [str(tmp_path / "A"), str(tmp_path / "B")]
    assert run("average", both, tmp_path / "plain", "--include", "blocks") == 0
    assert not same(merged(tmp_path / "plain"), policy)
    assert run("average", both, tmp_path / "aligned", "--include", "blocks", "--align") == 0
    assert same(merged(tmp_path / "aligned"), policy)
    assert json.loads((tmp_path / "aligned" / "recipe.json").read_text())["aligned"] is True


def write(path: Path, tensors: dict[str, Tensor]) -> str:
    save_file(tensors, path)
    return str(path)


def wrong_shape(t: Path, m: list[str]) -> list[str]:
    return [m[0], write(t / "wide.safetensors", state(2) | {KEYS[0]: torch.ones(4, 15)})]


def wrong_type(t: Path, m: list[str]) -> list[str]:
    return [m[0], write(t / "half.safetensors", state(2) | {KEYS[0]: A[KEYS[0]].half()})]


def no_tensor(t: Path, m: list[str]) -> list[str]:
    return [m[0], write(t / "less.safetensors", {KEYS[1]: A[KEYS[1]]})]


def with_nan(t: Path, m: list[str]) -> list[str]:
    broken = state(2)
    broken[KEYS[0]][2, 3] = torch.nan
    return [m[0], write(t / "nan.safetensors", broken)]


def truncated(t: Path, m: list[str]) -> list[str]:
    (t / "cut.safetensors").write_bytes((t / "B.safetensors").read_bytes()[:-9])
    return [m[0], str(t / "cut.safetensors")]


def lost_shard(t: Path, m: list[str]) -> list[str]:
    (t / "C" / "model-00002-of-00002.safetensors").unlink()
    return [m[0], m[2]]


def short_shard(t: Path, m: list[str]) -> list[str]:
    write(t / "C" / "model-00002-of-00002.safetensors", {"other": torch.ones(1)})
    return [m[0], m[2]]


def bad_index(t: Path, m: list[str]) -> list[str]:
    (t / "C" / "model.safetensors.index.json").write_text("[]")
    return [m[0], m[2]]


@pytest.mark.parametrize(
    ("choose", "more", "code", "line"),
    [
        (wrong_shape, [], 1, f"{KEYS[0]} is [4, 15] float32 in "),
        (wrong_type, [], 1, f"{KEYS[0]} is [4, 12] float16 in "),
        (no_tensor, [], 1, f"{KEYS[0]} is nothing in "),
        (with_nan, [], 1, f"{KEYS[0]} is not finite once merged"),
        (truncated, [], 1, "cut.safetensors is not an intact safetensors file"),
        (lost_shard, [], 1, "model-00002-of-00002.safetensors does not exist"),
        (short_shard, [], 1, "model-00002-of-00002.safetensors holds other, other than"),
        (bad_index, [], 1, "model.safetensors.index.json: not an index of shards"),
        (lambda t, m: [m[0], str(t / "D")], [], 1, "D does not exist; give a .safetensors"),
        (lambda _, m: m[:1], [], 2, "--method average needs two models or more"),
        (lambda _, m: m[:2], ["--include", "atn"], 2, "unknown group 'atn': did you mean 'attn'"),
        (lambda _, m: m[:2], ["--include", "ln"], 2, "group 'ln' holds none of the 3 floating"),
        (lambda _, m: m[:2], ["--p", "0.5"], 2, "average has no use for --p; it takes --weights"),
        (lambda _, m: m[:2], ["--method", "slerp"], 2, "--method slerp needs --p"),
        (lambda _, m: m, ["--method", "slerp", "--p", "1"], 2, "slerp merges two models, not 3"),
        (lambda _, m: m[:2], ["--method", "slerp", "--p", "2"], 1, "p is 2.0; it has to be a num"),
        (lambda _, m: m[:2], ["--method", "mean"], 2, "argument --method: invalid choice: 'mean'"),
        (lambda _, m: m[:2], ["--method", "ties"], 2, "--method ties needs --base"),
        (lambda _, m: m[:2], ["--weights", "1"], 1, "weights [1.0] for 2 models"),
        (
            lambda _, m: m[:2],
            ["--method", "ties", "--base", "D", "--align"],
            2,
            "--method ties and --align do not go together",
        ),
    ],
)  # fmt: skip
def test_whatever_is_wrong_is_one_line_and_writes_nothing(
    choose: Callable[[Path, list[str]], list[str]],
    more: list[str],
    code: int,
    line: str,
    models: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = choose(tmp_path, models)
    before = sorted(tmp_path.rglob("*"))
    assert run("average", chosen, tmp_path / "out", "--include", "attn", *more) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("merge-checkpoints: ")
    assert line in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_with_something_in_it_is_never_overwritten(
    models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert run("average", models, tmp_path / "empty") == 0
    before = (tmp_path / "empty" / "model.safetensors").read_bytes()
    assert run("average", models[:2], tmp_path / "empty") == 2
    assert (tmp_path / "empty" / "model.safetensors").read_bytes() == before
    (tmp_path / "file").write_text("mine")
    assert run("average", models, tmp_path / "file") == 2
    assert (tmp_path / "file").read_text() == "mine"
    assert capsys.readouterr().err.count("is there already; name a folder that is new or") == 2


def test_a_disk_that_fills_up_leaves_nothing_behind(
    models: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(merge.weights, "write", full)
    before = sorted(tmp_path.rglob("*"))
    assert run("average", models, tmp_path / "out") == 4
    assert capsys.readouterr().err == (
        f"merge-checkpoints: cannot write {tmp_path}/out: No space left on device; free space or "
        "make the folder writable, then run the same command again\n"
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_runs_as_a_module(models: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "suites.merging.merge", "--out", str(tmp_path / "o")]
    done = subprocess.run(
        [*command, "--method", "average", "--models", *models], capture_output=True, text=True,
        cwd=Path(merge.__file__).parents[3], check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    bad = subprocess.run(
        [*command, "--method", "average", "--models", *models], capture_output=True, text=True,
        cwd=Path(merge.__file__).parents[3], check=False,
    )  # fmt: skip
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("merge-checkpoints: --out ")


# -- other people's files --------------------------------------------------------------------------


def folder(path: Path, tensors: dict[str, Tensor], **files: str) -> str:
    path.mkdir()
    save_file(tensors, path / "model.safetensors")
    for name, content in files.items():
        (path / name.replace("__", ".")).write_text(content)
    return str(path)


@pytest.mark.parametrize(
    ("other", "include", "line"),
    [
        ({"h.1.attn.q.weight": torch.ones(2)}, "attn", "h.1.attn.q.weight is nothing in"),
        ({"h.0.attn.q.bias": torch.ones(2)}, "all", "h.0.attn.q.bias is nothing in"),
        ({"h.0.attn.k.weight": torch.ones(2).to(torch.float8_e5m2)}, "attn", "is float8_e5m2"),
        ({"h.0.attn.q.qweight": torch.ones(2, dtype=torch.int32)}, "attn", "fewer bits"),
    ],
)
def test_tensors_that_the_first_model_lacks_are_not_forgotten(
    other: dict[str, Tensor], include: str, line: str, tmp_path: Path, capsys: Any
) -> None:
    own = {"h.0.attn.q.weight": torch.ones(2), "head": torch.ones(3)}
    both = [folder(tmp_path / "A", own), folder(tmp_path / "B", own | other)]
    for order in (both, both[::-1]):
        assert run("average", order, tmp_path / "out", "--include", include) == 1
        assert line.partition(" is ")[0] in capsys.readouterr().err


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8])
def test_weights_kept_as_integers_are_refused(
    kind: torch.dtype, tmp_path: Path, capsys: Any
) -> None:
    own = {"h.0.mlp.up.weight": torch.ones(2, 4, dtype=kind), "h.0.mlp.up.bias": torch.ones(2)}
    both = [folder(tmp_path / name, own) for name in "AB"]
    assert run("average", both, tmp_path / "out") == 1
    assert "h.0.mlp.up.weight belongs to weights of fewer bits" in capsys.readouterr().err


def test_a_head_outside_of_what_is_merged_may_be_a_models_own(tmp_path: Path) -> None:
    own = {"h.0.attn.q.weight": torch.ones(2)}
    one = folder(tmp_path / "A", own)
    other = folder(tmp_path / "B", {"h.0.attn.q.weight": torch.zeros(2), "head": torch.ones(3)})
    assert run("average", [one, other], tmp_path / "out", "--include", "attn") == 0
    assert merged(tmp_path / "out").keys() == own.keys()


@pytest.mark.parametrize(
    ("one", "other", "line"),
    [
        ('{"n_head": 1}', '{"n_head": 4}', "config.json: n_head is 1 in"),
        (
            '{"shape": {"heads": 1, "state_dim": 3}}',
            '{"shape": {"heads": 2, "state_dim": 5}}',
            "config.json: shape.heads is 1 in",
        ),
        (
            '{"model_type": "llama", "rope_theta": 10000.0}',
            '{"model_type": "llama", "rope_theta": 500.0}',
            "config.json: rope_",
        ),
        ('{"quantization_config": {"bits": 4}}', "{}", "quantised weights"),
        ("version https://git-lfs.github.com/spec/v1", "{}", "git lfs pull"),
        ("[]", "{}", "not an object"),
    ],
)
def test_models_that_read_their_weights_differently_are_refused(
    one: str, other: str, line: str, tmp_path: Path, capsys: Any
) -> None:
    own = {"h.0.attn.q.weight": torch.ones(2)}
    both = [
        folder(tmp_path / name, own, config__json=text)
        for name, text in (("A", one), ("B", other))
    ]  # fmt: skip
    assert run("average", both, tmp_path / "out", "--include", "attn") == 1
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_concerns_the_task_alone_may_differ(tmp_path: Path) -> None:
    own = {"h.0.attn.q.weight": torch.ones(2)}
    both = [
        folder(tmp_path / "A", own, config__json='{"shape": {"heads": 1, "state_dim": 3}}'),
        folder(
            tmp_path / "B",
            own,
            config__json='{"shape": {"heads": 1, "state_dim": 5}, "attn_pdrop": 0.1}',
            checksum__json="{}",
            recipe__json="{}",
        ),
    ]
    assert run("average", both[::-1], tmp_path / "out", "--include", "attn") == 0
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == ["config.json", "model.safetensors", "recipe.json"]
    assert json.loads((tmp_path / "out" / "recipe.json").read_text())["method"] == "average"


def test_unlike_types_are_cast_to_the_one_that_is_chosen(tmp_path: Path) -> None:
    key = "h.0.attn.q.weight"
    one, two = torch.randn(50), torch.randn(50).bfloat16()
    both = [
        folder(tmp_path / "A", {key: one, "head": torch.ones(2)}, config__json='{"dtype": "x"}'),
        folder(tmp_path / "B", {key: two}),
    ]
    more = ["--include", "attn", "--dtype", "bfloat16"]
    assert run("average", both, tmp_path / "out", *more) == 0
    found = merged(tmp_path / "out")
    assert torch.equal(found[key], ((one.double() + two.double()) / 2).bfloat16()), "rounded once"
    assert found["head"].dtype == torch.bfloat16
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == {"dtype": "bfloat16"}


@pytest.mark.parametrize("piece", [7, weights.PIECE])
@pytest.mark.parametrize("method", merge.METHODS)
def test_shards_and_pieces_change_no_number(
    method: str, piece: int, models: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "PIECE", piece)
    options, rule = EXPECTED[method]
    more = ["--include", "attn,mlp", *options(tmp_path), "--max-shard-size", "100B"]
    assert run(method, models[:2], tmp_path / "out", *more) == 0
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    assert len(files) > 2
    found: dict[str, Tensor] = {}
    for file in files:
        found |= load_file(file)
    assert same(found, rule())


@pytest.mark.parametrize("seed", [str(2**70), "-" + "9" * 30, "x", "1e3"])
def test_seeds_that_are_none_are_one_line(seed: str, models: list[str], tmp_path: Path) -> None:
    more = ["--base", models[0], "--scale", "1", "--seed", seed]
    assert run("dare", models, tmp_path / "out", *more) == 2


_PEAK = """
import resource, sys
import scipy.optimize, torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM
from suites.merging.merge import command
own = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = own()
assert command.main(sys.argv[1:]) == 0
print(own() - before)
"""
_VOCABULARY, _WIDTH, _UNITS = 16_000, 256, 1024


@pytest.fixture(scope="module")
def llamas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three checkpoints of 66 MB, their Fisher information and Gram matrices."""
    made = tmp_path_factory.mktemp("llamas")
    config = transformers.LlamaConfig(
        vocab_size=_VOCABULARY, hidden_size=_WIDTH, intermediate_size=_UNITS,
        num_hidden_layers=8, num_attention_heads=4, tie_word_embeddings=False,
    )  # fmt: skip
    for number in range(3):
        torch.manual_seed(number)
        model = transformers.LlamaForCausalLM(config)
        model.save_pretrained(made / f"m{number}")
        tensors = model.state_dict()
        save_file({k: v.square() for k, v in tensors.items()}, made / f"f{number}.safetensors")
        inputs = {
            k: torch.eye(v.shape[1]) for k, v in tensors.items() if "layers." in k and v.dim() == 2
        }
        save_file(inputs, made / f"g{number}.safetensors")
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    ["average", "average --align", "slerp --p 0.5", "fisher --information f", "regmean --grams g"],
)
def test_memory_is_a_shard_and_a_tensor_of_each_model(
    words: str, llamas: Path, tmp_path: Path
) -> None:
    count = 2 if "slerp" in words else 3
    beside = {n: [str(llamas / f"{n}{k}.safetensors") for k in range(count)] for n in "fg"}
    options = [part for word in words.split() for part in beside.get(word, [word])]
    folders = [str(llamas / f"m{number}") for number in range(count)]
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, "--models", *folders, "--out", str(tmp_path / "out"),
         "--max-shard-size", "40MB", "--method", *options],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    shards = [file.stat().st_size for file in (tmp_path / "out").glob("*.safetensors")]
    assert len(shards) > 1
    tensor = 4 * _VOCABULARY * _WIDTH
    assert int(done.stdout.split()[-1]) < 1.3 * max(shards) + count * tensor
