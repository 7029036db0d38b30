"""What tools of the field ask of a language model, with Hugging Face's Llama as the oracle.

In the manner of transformers' own common tests. `llama` is a dense model of ours beside the Llama
that it was made of; the other kinds have experts.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    StaticCache,
    Trainer,
    TrainingArguments,
)

from suites.bam.model import checkpoints
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.upcycle import upcycle

SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": None,
}
KINDS: dict[str, dict[str, Any]] = {
    "dense": {"method": "average"},
    "btx": {"method": "btx", "ffn_top_k": 2, "norm_topk_prob": True},
    "bam": {"method": "bam"},
    "bam-shared-kv": {"method": "bam-shared-kv", "attention_routing": "top2"},
    "shared-expert": {"method": "bam", "shared_expert_weight": 0.5},
}
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def llama(seed: int = 0, **options: Any) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    windowed = "sliding_window" in options
    config_class, model_class = (
        (MistralConfig, MistralForCausalLM) if windowed else (LlamaConfig, LlamaForCausalLM)
    )
    model = model_class(config_class(**(SIZES | options)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.3)
            if "norm" in name:
                parameter.add_(1.0)
    return model.eval()


def ours(model: Any) -> BamForCausalLM:
    return checkpoints.convert(model.config, model.state_dict(), "llama")


def make(kind: str, **options: Any) -> BamForCausalLM:
    experts = [ours(llama(seed, **options)) for seed in range(3)]
    return upcycle(experts, generator=torch.Generator().manual_seed(1), **KINDS[kind])


def ids(rows: int = 2, length: int = 9, seed: int = 0) -> Tensor:
    return torch.randint(2, 40, (rows, length), generator=torch.Generator().manual_seed(seed))


# --- the forward pass --------------------------------------------------------------------------


def test_everything_that_llama_returns() -> None:
    theirs = llama()
    theirs.set_attn_implementation("eager")
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[0, :3] = 0
    labels = ids()
    labels[0, :4] = -100  # what padding predicts is nothing
    asked = {
        "attention_mask": mask,
        "labels": labels,
        "output_hidden_states": True,
        "output_attentions": True,
        "use_cache": True,
    }
    expected, found = theirs(ids(), **asked), ours(theirs)(ids(), **asked)
    torch.testing.assert_close(found.loss, expected.loss, **CLOSE)
    kept = mask.bool()
    for name in ("hidden_states", "attentions"):
        assert len(found[name]) == len(expected[name])
        for mine, others in zip(found[name], expected[name], strict=True):
            assert mine.shape == others.shape
            rows = [t.transpose(1, 2) if name == "attentions" else t for t in (mine, others)]
            torch.testing.assert_close(rows[0][kept], rows[1][kept], **CLOSE)
    torch.testing.assert_close(found.logits[kept], expected.logits[kept], **CLOSE)
    for mine, others in zip(found.cache.layers, expected.cache.layers, strict=True):
        values = [cached.values.transpose(1, 2)[kept] for cached in (mine, others)]
        torch.testing.assert_close(*values, **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_attention_weights_are_those_of_the_fused_kernel(kind: str) -> None:
    model = make(kind)
    plain, explicit = model(ids()), model(ids(), output_attentions=True)
    torch.testing.assert_close(explicit.logits, plain.logits, **CLOSE)
    heads = 4 * model.config.num_attention_experts
    for weight in explicit.attentions:
        assert weight.shape == (2, heads, 9, 9)
        torch.testing.assert_close(weight.sum(-1), torch.ones(2, heads, 9))
    assert plain.attentions is None
    assert plain.hidden_states is None


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_in_place_of_tokens(kind: str) -> None:
    model = make(kind)
    embedded = model.get_input_embeddings()(ids())
    assert torch.equal(model(inputs_embeds=embedded).logits, model(ids()).logits)
    options = {"max_new_tokens": 5, "do_sample": False}
    generated = model.generate(ids(), **options)[:, 9:]
    assert torch.equal(model.generate(inputs_embeds=embedded, **options), generated)
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        model()


def test_a_tuple_where_no_dictionary_is_wanted() -> None:
    model = make("bam")
    output = model(ids(), labels=ids(), return_dict=False)
    assert type(output) is tuple
    torch.testing.assert_close(output[0], model(ids(), labels=ids()).loss)
    assert torch.equal(output[1], model(ids()).logits)


def test_the_configuration_may_ask() -> None:
    model = make("btx")
    model.config.output_hidden_states = True
    model.config.output_router_logits = True
    output = model(ids())
    assert len(output.hidden_states) == 3
    assert [tuple(t.shape) for t in output.router_logits] == [(18, 3)] * 2
    assert model(ids(), output_hidden_states=False).hidden_states is None


def test_losses_of_parts_add_up_to_the_batch() -> None:
    theirs = llama()
    labels = ids(4)
    labels[0, 3:] = -100
    items = (labels[:, 1:] != -100).sum()
    for model in (ours(theirs), make("bam")):
        whole = model(ids(4), labels=labels).loss
        model.zero_grad()
        whole.backward()
        expected = {name: p.grad.clone() for name, p in model.named_parameters()}
        model.zero_grad()
        parts = [
            model(ids(4)[rows], labels=labels[rows], num_items_in_batch=items).loss
            for rows in (slice(0, 1), slice(1, 4))
        ]
        sum(parts).backward()
        torch.testing.assert_close(sum(parts), whole)
        for name, parameter in model.named_parameters():
            if expected[name] is not None:
                torch.testing.assert_close(parameter.grad, expected[name], **CLOSE)
    rows = slice(0, 1)
    arguments = {"labels": labels[rows], "num_items_in_batch": items}
    torch.testing.assert_close(
        ours(theirs)(ids(4)[rows], **arguments).loss, theirs(ids(4)[rows], **arguments).loss
    )


# --- packed sequences --------------------------------------------------------------------------

PACKED = [[*range(4), *range(5)], [*range(2), *range(6), 0]]


@pytest.mark.parametrize("options", [{}, {"sliding_window": 3}])
def test_packed_sequences_do_not_see_each_other(options: dict[str, Any]) -> None:
    theirs = llama(**options)
    position = torch.tensor(PACKED)
    expected = theirs(ids(), position_ids=position, use_cache=False).logits
    for cached in (False, True):
        found = ours(theirs)(ids(), position_ids=position, use_cache=cached).logits
        torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_are_those_alone(kind: str) -> None:
    model = make(kind)
    found = model(ids(), position_ids=torch.tensor(PACKED)).logits
    torch.testing.assert_close(found[0, :4], model(ids()[:1, :4]).logits[0], **CLOSE)
    torch.testing.assert_close(found[0, 4:], model(ids()[:1, 4:]).logits[0], **CLOSE)
    torch.testing.assert_close(found[1, 2:8], model(ids()[1:, 2:8]).logits[0], **CLOSE)
    whole = torch.ones(2, 9, dtype=torch.long)
    masked = model(ids(), attention_mask=whole, position_ids=torch.tensor(PACKED)).logits
    torch.testing.assert_close(masked, found)
    one = model(ids()[:1], position_ids=torch.tensor(PACKED[0])).logits
    torch.testing.assert_close(one, found[:1], **CLOSE)


@pytest.mark.parametrize(
    "numbers",
    [lambda m: (m.cumsum(1) - 1).clamp_min(0), lambda m: (m.cumsum(1) - 1).masked_fill(m == 0, 1)],
)
@pytest.mark.parametrize("mask", [[0, 0, 0, 1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1, 0, 0, 1]])
def test_padding_is_no_new_sequence(mask: list[int], numbers: Any) -> None:
    theirs = llama()
    mask_BS = torch.tensor([mask])
    arguments = {"attention_mask": mask_BS, "position_ids": numbers(mask_BS)}
    kept = mask_BS.bool()
    torch.testing.assert_close(
        ours(theirs)(ids(1), **arguments).logits[kept],
        theirs(ids(1), **arguments).logits[kept],
        **CLOSE,
    )


# --- training ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_checkpointed_gradients_are_equal(kind: str, reentrant: bool) -> None:
    grads = []
    for checkpointed in (False, True):
        model = make(kind).train()
        if checkpointed:
            model.activation_checkpointing_enable({"use_reentrant": reentrant})
            assert all(layer.gradient_checkpointing for layer in model.model.layers)
        model(ids(), labels=ids(), output_router_logits=True).loss.backward()
        grads.append({name: p.grad for name, p in model.named_parameters()})
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize("kind", ["btx", "bam"])
def test_the_trainer_minimises_the_auxiliary_losses_too(kind: str, tmp_path: Path) -> None:
    rows = [{"input_ids": row, "labels": row} for row in ids(8)]
    losses, states = {}, {}
    for asked in (False, True):
        model = make(kind)
        model.config.output_router_logits = asked
        expected = model(ids(8), labels=ids(8), output_router_logits=False)
        arguments = TrainingArguments(
            str(tmp_path / str(asked)),
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            max_steps=1,
            learning_rate=0.0,
            logging_steps=1,
            report_to=[],
            use_cpu=True,
            save_strategy="no",
            disable_tqdm=True,
        )
        trainer = Trainer(model, arguments, train_dataset=rows)
        trainer.train()
        losses[asked] = trainer.state.log_history[0]["loss"]
        total = expected.loss + (expected.auxiliary_loss if asked else 0)
        assert losses[asked] == pytest.approx(total.item(), abs=2e-3)
        states[asked] = trainer.evaluate(rows)["eval_loss"]
        assert trainer.predict(rows).predictions.shape == (8, 9, 40)
        trainer.save_model(str(tmp_path / "saved"))
        assert torch.equal(checkpoints.load(tmp_path / "saved")(ids()).logits, model(ids()).logits)
    assert losses[True] - losses[False] > 0.01
    assert states[True] - states[False] > 0.01


def test_auxiliary_losses_are_in_the_loss_where_router_logits_are_asked_for() -> None:
    model = make("btx")
    plain = model(ids(), labels=ids())
    asked = model(ids(), labels=ids(), output_router_logits=True)
    torch.testing.assert_close(asked.loss, plain.loss + plain.auxiliary_loss)
    assert asked.aux_loss is asked.auxiliary_loss
    routers = [layer.feedforward.router for layer in model.model.layers]
    assert all(router.weight.grad is None for router in routers)
    # The loss of Switch, by autograd of its own definition.
    balance = sum(
        3 * (p.topk(2).indices.flatten().bincount(minlength=3) / len(p) * p.mean(0)).sum()
        for p in (logits.softmax(-1) for logits in asked.router_logits)
    )
    z = sum(logits.logsumexp(-1).square().mean() for logits in asked.router_logits)
    expected = model.config.load_balancing_weight * balance + model.config.z_loss_weight * z
    torch.testing.assert_close(asked.auxiliary_loss, expected)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_learns_as_on_llama(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    theirs = llama()
    losses = []
    names = {"theirs": ["q_proj", "v_proj"], "ours": ["q", "v"]}
    for kind, model in (("theirs", theirs), ("ours", ours(theirs))):
        config = peft.LoraConfig(
            task_type="CAUSAL_LM", r=2, target_modules=names[kind], lora_alpha=4
        )
        adapted = peft.get_peft_model(model, config).train()
        with torch.no_grad():
            generator = torch.Generator().manual_seed(3)
            for name, parameter in adapted.named_parameters():
                if "lora" in name:
                    parameter.normal_(generator=generator)
        optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], 0.1)
        of_model = []
        for _ in range(3):
            loss = adapted(input_ids=ids(), labels=ids()).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            of_model.append(loss.item())
        losses.append(of_model)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][0] > losses[0][-1]
    adapted.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(ours(llama()), tmp_path).eval()
    torch.testing.assert_close(again(ids()).logits, adapted.eval()(ids()).logits)
    assert again.generate(input_ids=ids(), max_new_tokens=3).shape == (2, 12)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_on_the_head_is_in_the_loss() -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["lm_head", "router"])
    adapted = peft.get_peft_model(make("btx"), config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora" in name:
                parameter.normal_()
    output = adapted(input_ids=ids(), labels=ids())
    expected = torch.nn.functional.cross_entropy(
        output.logits[:, :-1].flatten(0, 1), ids()[:, 1:].flatten()
    )
    torch.testing.assert_close(output.loss, expected)


# --- saving, resizing, placing -----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_saved_twice_and_in_shards(kind: str, tmp_path: Path) -> None:
    model = make(kind)
    checkpoints.save(model, tmp_path)
    with torch.no_grad():
        model.model.norm.weight.mul_(2)
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    for loaded in (AutoModelForCausalLM.from_pretrained(tmp_path), checkpoints.load(tmp_path)):
        torch.testing.assert_close(loaded(ids()).logits, model(ids()).logits, **CLOSE)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    model.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.glob("*.safetensors*")] == ["model.safetensors"]
    again = checkpoints.load(tmp_path)
    torch.testing.assert_close(again(ids()).logits, model(ids()).logits, **CLOSE)


@pytest.mark.parametrize("tied", [False, True])
def test_more_and_fewer_tokens(tied: bool, tmp_path: Path) -> None:
    model = make("bam", tie_word_embeddings=tied)
    with torch.no_grad():
        before = model(ids()).logits
    model.resize_token_embeddings(47, mean_resizing=False)
    assert model.config.vocab_size == 47
    torch.testing.assert_close(model(ids()).logits[..., :40], before)
    model(torch.full((1, 3), 46), labels=torch.full((1, 3), 46)).loss.backward()
    model.save_pretrained(tmp_path)
    again = checkpoints.load(tmp_path)
    assert torch.equal(again(ids()).logits, model(ids()).logits)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    model.resize_token_embeddings(40)
    torch.testing.assert_close(model(ids()).logits, before)


@pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}])
def test_device_maps(device_map: Any, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    model = make("bam")
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, device_map=device_map)
    torch.testing.assert_close(loaded(ids()).logits, model(ids()).logits, **CLOSE)


def test_layers_kept_on_the_disk(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    model = make("bam")
    model.save_pretrained(tmp_path / "model")
    places = {"model.embed_tokens": "cpu", "model.norm": "cpu", "lm_head": "cpu"}
    places |= {"model.layers.0": "cpu", "model.layers.1": "disk"}
    places["lm_head"] = "disk"
    loaded = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", device_map=places, offload_folder=str(tmp_path / "offload")
    )
    found, expected = (m(ids(), labels=ids()).loss for m in (loaded, model))
    torch.testing.assert_close(found, expected, **CLOSE)
    torch.testing.assert_close(loaded(ids()).logits, model(ids()).logits, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = make(kind)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    expected = model(ids()).logits
    model.save_pretrained(tmp_path)
    half = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype)
    assert half.dtype == dtype
    logits = half(ids()).logits
    assert logits.dtype == dtype
    assert (logits - expected).abs().max() < 0.1 * expected.abs().max()
    half.train()(ids(), labels=ids(), output_router_logits=True).loss.backward()
    assert all(p.grad.isfinite().all() for p in half.parameters() if p.grad is not None)
    assert half.eval().generate(ids(), max_new_tokens=3).shape == (2, 12)


# --- generation --------------------------------------------------------------------------------


def greedy(model: Any, prompt: Tensor, **options: Any) -> Tensor:
    generated: Tensor = model.generate(prompt, max_new_tokens=8, do_sample=False, **options)
    return generated


@pytest.mark.parametrize("implementation", ["dynamic", "static", "offloaded", None])
@pytest.mark.parametrize("kind", [*KINDS, "window"])
def test_caches(kind: str, implementation: str | None) -> None:
    model = make("bam", sliding_window=4) if kind == "window" else make(kind)
    expected = greedy(model, ids(), use_cache=False)
    if implementation == "offloaded" and not torch.cuda.is_available():
        pytest.skip("offloading needs a GPU")
    assert torch.equal(greedy(model, ids(), cache_implementation=implementation), expected)


def test_a_window_is_mistrals() -> None:
    theirs = llama(sliding_window=4)
    model = ours(theirs)
    torch.testing.assert_close(model(ids()).logits, theirs(ids()).logits, **CLOSE)
    assert torch.equal(greedy(model, ids()), greedy(theirs, ids()))
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[0, :5] = 0
    assert torch.equal(
        greedy(model, ids(), attention_mask=mask), greedy(theirs, ids(), attention_mask=mask)
    )


def test_a_static_cache_by_hand() -> None:
    model = make("bam")
    cache = StaticCache(config=model.config, max_cache_len=16)
    full = model(ids()).logits
    parts = [model(ids()[:, a:b], cache=cache).logits for a, b in ((0, 4), (4, 5), (5, 9))]
    torch.testing.assert_close(torch.cat(parts, dim=1), full, **CLOSE)


def test_quantised_caches_are_refused_in_one_line() -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ImportError) as caught:
        greedy(make("bam"), ids(), cache_implementation="quantized")
    assert "quanto" in str(caught.value)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_on_either_side_changes_nothing(kind: str, side: str) -> None:
    model = make(kind)
    alone = model(ids(1, 6)).logits
    pads = torch.zeros(1, 3, dtype=torch.long)
    parts = [pads, ids(1, 6)] if side == "left" else [ids(1, 6), pads]
    padded = torch.cat(parts, dim=1)
    mask = (padded != 0).long()
    position = (mask.cumsum(1) - 1).masked_fill(mask == 0, 1)
    logits = model(padded, attention_mask=mask, position_ids=position).logits
    torch.testing.assert_close(logits[mask.bool()], alone[0], **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_beams_and_assistants(kind: str) -> None:
    model = make(kind)
    expected = greedy(model, ids(1))
    assert torch.equal(greedy(model, ids(1), assistant_model=ours(llama(0))), expected)
    assert torch.equal(greedy(model, ids(1), prompt_lookup_num_tokens=2), expected)
    cached, uncached = (greedy(model, ids(), num_beams=3, use_cache=u) for u in (True, False))
    assert torch.equal(cached, uncached)


def test_beams_are_llamas() -> None:
    theirs = llama()
    for options in ({"num_beams": 3}, {"num_beams": 4, "num_return_sequences": 2}):
        assert torch.equal(greedy(ours(theirs), ids(), **options), greedy(theirs, ids(), **options))


def test_scores_and_states_of_generation() -> None:
    model = make("bam")
    output = greedy(
        model,
        ids(),
        return_dict_in_generate=True,
        output_scores=True,
        output_hidden_states=True,
        output_attentions=True,
    )
    assert len(output.scores) == len(output.hidden_states) == len(output.attentions) == 8
    assert output.attentions[-1][0].shape == (2, 12, 1, 16)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler about itself
@pytest.mark.parametrize("kind", ["dense", "bam"])
def test_compiled(kind: str) -> None:
    model = make(kind)
    expected = model(ids(), labels=ids())
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager")
    output = compiled(ids(), labels=ids())
    torch.testing.assert_close(output.logits, expected.logits, **CLOSE)
    packed = torch.tensor(PACKED)
    torch.testing.assert_close(
        compiled(ids(), position_ids=packed).logits,
        model(ids(), position_ids=packed).logits,
        **CLOSE,
    )
    output.loss.backward()
    assert model.model.embed_tokens.weight.grad.isfinite().all()
