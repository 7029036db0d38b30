"""Counted sizes, against closed forms written out by hand and against torch's own counter."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.suite import Exact
from harness.training import count_flops
from suites.bam import counts
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig

D, HIDDEN, LAYERS, VOCABULARY = 1024, 2048, 6, 256_000
FFN = 3 * D * HIDDEN
FIXED = 2 * VOCABULARY * D + D + LAYERS * D  # embeddings, final norm, one norm a layer


def by_hand(ffn: int, queries: int, keys: int) -> int:
    """Parameters with so many FFN experts, query/output matrices and key/value pairs."""
    routers = D * ((ffn if ffn > 1 else 0) + (queries if queries > 1 else 0))
    return FIXED + LAYERS * (ffn * FFN + 2 * queries * D**2 + 2 * keys * D**2 + routers)


@pytest.mark.parametrize(
    ("name", "experts"),
    [
        ("dense", (1, 1, 1)),
        ("btx-4", (4, 1, 1)),
        ("btx-5", (5, 1, 1)),
        ("btx-6", (6, 1, 1)),
        ("btx-7", (7, 1, 1)),
        ("btx-8", (8, 1, 1)),
        ("btx-6-top3", (6, 1, 1)),
        ("bam", (4, 4, 4)),
        ("bam-shared-kv", (4, 4, 1)),
    ],
)
def test_small_models_have_as_many_parameters_as_their_matrices(
    name: str, experts: tuple[int, int, int]
) -> None:
    total, active = counts.parameters(BamConfig(**counts.PAPER_CONFIGS[name]))
    unused = experts[0] - (3 if name == "btx-6-top3" else 1)
    assert total == by_hand(*experts) == counts.COUNTS[name]["parameters-total"]
    assert active == total - LAYERS * unused * FFN == counts.COUNTS[name]["parameters-active"]


def test_the_large_seed_ties_its_embeddings_and_groups_its_queries() -> None:
    d, narrow = 2304, 6 * 128
    layer = d + 2 * d**2 + 2 * d * narrow + 3 * d * 9216
    expected = 18 * layer + VOCABULARY * d + d
    total, active = counts.parameters(BamConfig(**counts.PAPER_CONFIGS["dense-2b"]))
    assert total == active == expected == counts.COUNTS["dense-2b"]["parameters-total"]


@pytest.mark.parametrize("name", ["btx-4", "btx-6-top3", "bam", "bam-shared-kv"])
def test_flops_are_those_of_table_10(name: str) -> None:
    flops = counts.flops_per_token(BamConfig(**counts.PAPER_CONFIGS[name]), 256)
    found = {
        "flops-layer": flops.total,
        "flops-attention": flops.attention,
        "flops-ffn": flops.ffn,
    }
    expected = {k: v for k, v in counts.COUNTS[name].items() if k.startswith("flops")}
    assert {k: found[k] for k in expected} == expected


def test_flops_of_a_dense_model_are_what_torch_counts() -> None:
    config = BamConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, head_dim=4,
    )  # fmt: skip
    model, tokens = BamForCausalLM(config), 7
    ids = torch.arange(tokens)[None]
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        counted = count_flops(lambda: model(ids, use_cache=False))
    # The table leaves out the product of scores and values: as many operations as the scores.
    values = tokens * 3 * 2 * tokens * 16
    assert counted - values == tokens * counts.training_flops(config, tokens) // 3


def test_routed_attention_computes_fewer_queries_but_all_keys() -> None:
    base = {"hidden_size": 8, "num_attention_heads": 2, "head_dim": 4, "num_attention_experts": 4}
    soft = counts.flops_per_token(BamConfig(**base), 10)
    top1 = counts.flops_per_token(BamConfig(**base, attention_routing="top1"), 10)
    uniform = counts.flops_per_token(BamConfig(**base, attention_routing="uniform"), 10)
    queries_and_scores = 4 * 8 * 8 + 2 * 10 * 8
    assert soft.attention - top1.attention == 3 * queries_and_scores
    assert soft.routers == 2 * 4 * 8
    assert uniform == (soft.attention, soft.ffn, 0)


def test_a_shared_expert_is_read_by_every_token() -> None:
    base = {"hidden_size": 8, "num_ffn_experts": 4, "vocab_size": 5, "num_hidden_layers": 1}
    plain, shared = (BamConfig(**base, shared_expert_weight=w) for w in (0.0, 0.5))
    one = 3 * 8 * plain.intermediate_size
    for before, after in zip(counts.parameters(plain), counts.parameters(shared), strict=True):
        assert after - before == one
    flops = [counts.flops_per_token(config, 10).ffn for config in (plain, shared)]
    assert flops == [2 * one, 4 * one]


def test_the_method_returns_the_metrics_of_its_task() -> None:
    noted: dict[str, int] = {}
    ctx = SimpleNamespace(
        settings=lambda model: model(counted="bam"), count=lambda **n: noted.update(n)
    )
    found = counts.run(cast(Any, ctx))
    assert tuple(found) == counts.METRICS == counts.tasks()[0].metrics
    assert {k: found[k] for k in counts.COUNTS["bam"]} == counts.COUNTS["bam"]
    assert noted == {"parameters": 776_002_560}


def test_claims_are_exact_and_about_tasks_and_metrics_that_exist() -> None:
    tasks = {t.name for t in counts.tasks()}
    metrics = {m.name for m in counts.metrics()}
    claims = counts.claims()
    assert len(claims) == sum(len(of) for of in counts.COUNTS.values())
    for claim in claims:
        assert isinstance(claim, Exact)
        assert set(claim.tasks) <= tasks
        assert claim.metric in metrics
        assert claim.a == counts.method().name


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, suites.bam.counts as c, suites.bam.downstream.benchmarks as b\n"
        "c.tasks(), c.claims(), b.tasks(), b.metrics(), b.datasets()\n"
        "print({'torch', 'transformers', 'numpy', 'lm_eval'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )  # fmt: skip
    assert done.stdout.strip() == "set()"
