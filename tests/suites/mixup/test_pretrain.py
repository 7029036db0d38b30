"""The suite's own masked language model: what it hides, and that it can be loaded again."""

from pathlib import Path

import pytest
import torch

from harness import plan, registry
from harness.data import Sources
from harness.run import Context
from harness.store import Store
from suites.mixup import encoder, pretrain
from suites.mixup.settings import Pretraining

SENTENCES = [f"the {a} {b} the {c}" for a in "abcdef" for b in ("eats", "sees") for c in "uvwxyz"]


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    suite = registry.load("mixup")
    gpu = suite.scale("gpu")
    short = {"pretraining": Pretraining(steps=60, batch_size=16)}
    scale = gpu.model_copy(update={"settings": gpu.settings.model_copy(update=short)})
    wanted = plan.Filters(("mlm-vanilla",), ("sst-2-n300",), (0,))
    trials, nodes = plan.trials(suite, scale, "cpu", wanted)
    node = next(iter(nodes.values()))
    small = {"vocabulary": 60, "width": 32, "layers": 2, "mlm_tokens": 16}
    node = node._replace(artifact=node.artifact.model_copy(update={"params": small}))
    store = Store(tmp_path / "r", tmp_path / "c")
    made = Context(trials[0], store, Sources(None, tmp_path), node=node)
    made.out.mkdir(parents=True)
    monkeypatch.setattr(pretrain, "collect", lambda ctx: SENTENCES)
    return made


def test_the_encoder_learns_and_loads(context: Context) -> None:
    info = pretrain.make(context)
    assert info["sentences"] == len(SENTENCES)
    assert float(info["loss"]) < 3.4  # type: ignore[arg-type]  # uniform over 60 pieces: 4.1
    pretrained = encoder.load("mlm", torch.Generator(), folder=context.out)
    found = pretrained.tokenizer(["the a eats"], ["the u"], max_length=16, truncation=True)
    assert found["token_type_ids"][0] == [0, 0, 0, 0, 0, 1, 1, 1]
    out = pretrained.model.eval()(input_ids=torch.tensor(found["input_ids"]))
    assert out.last_hidden_state.shape == (1, 8, 32)


def test_what_is_hidden_is_what_is_predicted() -> None:
    generator = torch.Generator().manual_seed(0)
    ids_BT = torch.arange(5, 25).repeat(400, 1)
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[:, 15:] = 0
    inputs_BT, targets_BT = pretrain.corrupt(ids_BT, mask_BT, 4, 5000, generator)
    chosen_BT = targets_BT != -100
    assert torch.equal(targets_BT[chosen_BT], ids_BT[chosen_BT])
    assert torch.equal(inputs_BT[~chosen_BT], ids_BT[~chosen_BT])
    assert not chosen_BT[:, 0].any()
    assert not chosen_BT[:, 14:].any()
    assert chosen_BT[:, 1:14].float().mean() == pytest.approx(0.15, abs=0.015)
    hidden = inputs_BT[chosen_BT]
    assert (hidden == 4).float().mean() == pytest.approx(0.8, abs=0.05)
    assert (hidden == ids_BT[chosen_BT]).float().mean() == pytest.approx(0.1, abs=0.04)


def test_something_is_always_hidden() -> None:
    ids_BT = torch.tensor([[2, 9, 3]])
    for seed in range(20):
        _, targets_BT = pretrain.corrupt(
            ids_BT, torch.ones_like(ids_BT), 4, 50, torch.Generator().manual_seed(seed)
        )
        assert targets_BT.tolist() == [[-100, 9, -100]]
