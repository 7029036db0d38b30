"""Memory and time of upcycling and merging checkpoints, beside a plain load-average-save.

    python benchmarks/checkpoints.py [--width 512] [--layers 8] [--models 3] [--rounds 3]

Every row is a process of its own: its peak of resident memory beyond what its imports take, and
its time after the imports, as a multiple of the plain way's: all checkpoints loaded with
safetensors, averaged in their own precision, and saved. All ways are measured in turn, round after
round; times are medians, of the clock and of the processor, which other work on the machine
disturbs less. The bound on memory is 1.3 times the largest shard that is written plus the largest
tensor of each model; Fisher information and Gram matrices come on top.
mergekit's linear merge is measured too where it is installed.
"""

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from harness import tool

_MEASURE = """
import json, os, resource, sys, threading, time
{imports}
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before, peak, done = resident(), [0], threading.Event()
def watch():
    while not done.wait(0.002):
        peak[0] = max(peak[0], resident())
watcher = threading.Thread(target=watch); watcher.start()
start, spent = time.perf_counter(), time.process_time()
{work}
seconds, spent = time.perf_counter() - start, time.process_time() - spent
done.set(); watcher.join()
print(json.dumps(dict(seconds=seconds, cpu=spent, bytes=max(peak[0] - before, 0))))
"""
_PLAIN = (
    "from safetensors.torch import load_file, save_file\nimport torch",
    """
states = [load_file(path + "/model.safetensors") for path in {models!r}]
mean = {{key: torch.stack([s[key] for s in states]).mean(0) for key in states[0]}}
os.mkdir({out!r})
save_file(mean, {out!r} + "/model.safetensors", dict(format="pt"))
with open({out!r} + "/model.safetensors", "rb") as file:
    os.fsync(file.fileno())
""",
)
_UPCYCLE = (
    "import torch\nfrom suites.bam.model import upcycle",
    """
assert upcycle.main(["--experts", *{models!r}, "--out", {out!r}, *{options!r}]) == 0
""",
)
_MERGE = (
    "import torch, scipy.optimize, transformers\n"
    "from transformers import LlamaForCausalLM\n"
    "from suites.merging.merge import command",
    """
assert command.main(["--models", *{models!r}, "--out", {out!r}, *{options!r}]) == 0
""",
)
_MERGEKIT = (
    "from mergekit.config import MergeConfiguration\n"
    "from mergekit.merge import MergeOptions, run_merge",
    """
config = MergeConfiguration.model_validate(dict(merge_method="linear", dtype="float32",
    models=[dict(model=path, parameters=dict(weight=1.0)) for path in {models!r}]))
run_merge(config, {out!r}, MergeOptions())
""",
)


def measured(way: tuple[str, str], out: Path, models: list[str], *options: str) -> dict[str, float]:
    """Seconds and bytes of one way, in a process of its own."""
    work = way[1].format(models=models, out=str(out), options=list(options))
    code = _MEASURE.format(imports=way[0], work=work)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{out.name}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def make(folder: Path, models: int, width: int, layers: int, vocabulary: int) -> list[str]:
    """Random Llama checkpoints, with Fisher information and Gram matrices of their layers."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=8,
        tie_word_embeddings=False,
    )
    paths = []
    for number in range(models):
        torch.manual_seed(number)
        model = LlamaForCausalLM(config)
        model.save_pretrained(folder / f"m{number}")
        state = model.state_dict()
        save_file({k: v.square() for k, v in state.items()}, folder / f"f{number}.safetensors")
        grams = {}
        for key, value in state.items():
            if "layers.0." in key and value.dim() == 2:
                inputs = torch.randn(2 * value.shape[1], value.shape[1], dtype=torch.float64)
                grams[key] = inputs.T @ inputs
        save_file(grams, folder / f"g{number}.safetensors")
        paths.append(str(folder / f"m{number}"))
    return paths


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--models", type=int, default=3)
    parser.add_argument("--shard", type=tool.size, default=10**9, metavar="SIZE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[""], help="beginnings of the ways' names")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        models = make(folder, args.models, args.width, args.layers, args.vocabulary)
        size = (Path(models[0]) / "model.safetensors").stat().st_size
        tensor = 4 * args.width * max(args.vocabulary, 4 * args.width)
        shard = ("--max-shard-size", str(args.shard))
        beside = {
            n: [str(folder / f"{n}{i}.safetensors") for i in range(args.models)] for n in "fg"
        }
        ways: dict[str, tuple[tuple[str, str], tuple[str, ...]]] = {
            "plain": (_PLAIN, ()),
            "upcycle average": (_UPCYCLE, ("--method", "average", *shard)),
            "upcycle btx": (_UPCYCLE, ("--method", "btx", *shard)),
            "upcycle bam": (_UPCYCLE, ("--method", "bam", *shard)),
            "merge average": (_MERGE, ("--method", "average", *shard)),
            "merge average --align": (_MERGE, ("--method", "average", "--align", *shard)),
            "merge fisher": (_MERGE, ("--method", "fisher", "--information", *beside["f"], *shard)),
            "merge regmean": (_MERGE, ("--method", "regmean", "--grams", *beside["g"], *shard)),
        }
        if importlib.util.find_spec("mergekit"):
            ways["mergekit linear"] = (_MERGEKIT, ())
        print(
            f"{args.models} checkpoints of {size / 1e6:.0f} MB, largest tensor {tensor / 1e6:.0f}"
        )
        ways = {n: w for n, w in ways.items() if n == "plain" or n.startswith(tuple(args.only))}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        cpu: dict[str, list[float]] = {name: [] for name in ways}
        peaks: dict[str, list[float]] = {name: [] for name in ways}
        largest = {}
        for _ in range(args.rounds):
            for name, (way, options) in ways.items():
                out = folder / name.replace(" ", "-")
                found = measured(way, out, models, *options)
                seconds[name].append(found["seconds"])
                cpu[name].append(found["cpu"])
                peaks[name].append(found["bytes"])
                largest[name] = max(f.stat().st_size for f in out.glob("*.safetensors"))
                shutil.rmtree(out)
        print("| way | seconds | times plain | CPU seconds | times plain | peak MB | bound MB |")
        print("|---|---|---|---|---|---|---|")
        for name in ways:
            cells = [name]
            for kind in (seconds, cpu):
                ratios = [s / p for s, p in zip(kind[name], kind["plain"], strict=True)]
                cells += [f"{median(kind[name]):.2f}", f"{median(ratios):.2f}"]
            bound = 1.3 * largest[name] + args.models * tensor
            cells += [f"{max(peaks[name]) / 1e6:.0f}", f"{bound / 1e6:.0f}"]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
