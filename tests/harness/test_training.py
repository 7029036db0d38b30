"""Exact state over an interruption, finite losses, counted operations and parameters."""

import copy
import math

import pytest
import torch
from safetensors.torch import load, save_file
from torch import nn
from torch.nn import functional as F

from harness.errors import DataError, Diverged, StoreError
from harness.settings import AdamW
from harness.store import Checkpoint, Store
from harness.training import (
    State,
    adamw,
    clip,
    count_flops,
    finite,
    parameters,
    read_tensors,
    set_rate,
)

IDENTITY = "ab" * 32


class Tied(nn.Module):
    """Dropout on the global generator, batch norm with buffers, one weight used twice."""

    def __init__(self, width=6):
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)
        self.outer = nn.Linear(width, width, bias=False)
        self.outer.weight = self.inner.weight
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mask", torch.tensor([True] * (width - 1) + [False]))

    def forward(self, x_NF):
        self.seen += 1
        x_NF = F.dropout(self.norm(self.inner(x_NF)), 0.5, self.training)
        return self.outer(x_NF) * self.mask


class Counting(torch.optim.Optimizer):
    """Gradient descent that keeps plain numbers beside its tensors."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.01, "span": (0.5, 2.0)})

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                slots = self.state[p]
                slots["count"] = slots.get("count", 0) + 1
                slots["scale"] = slots.get("scale", 1.0) * 0.9
                slots["last"] = p.grad.clone()
                p.data.sub_(p.grad, alpha=group["lr"] * slots["scale"] / slots["count"])


OPTIMIZERS = {
    "plain-numbers": Counting,
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam-foreach": lambda p: torch.optim.Adam(p, lr=0.01, foreach=True, amsgrad=True),
    "adam-fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, betas=(0.8, 0.95)),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01),
    "sgd-momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
}


class Loop:
    """A training loop as suites write it: private generators, best state, a schedule."""

    def __init__(self, kind, init=0):
        self.data = torch.Generator().manual_seed(7)
        self.dropout = torch.Generator().manual_seed(8)
        torch.manual_seed(init)
        self.model = Tied()
        self.head = nn.Linear(6, 1)
        body = [p for n, p in self.model.named_parameters() if "norm" not in n]
        groups = [{"params": body, "lr": 0.02}, {"params": self.model.norm.parameters()}]
        self.optimizer = OPTIMIZERS[kind](groups)
        self.second = torch.optim.SGD(self.head.parameters(), lr=0.1, momentum=0.5)
        self.state = State(
            modules={"model": self.model, "head": self.head},
            optimizers={"body": self.optimizer, "head": self.second},
            generators={"data": self.data, "dropout": self.dropout},
        )
        self.state.values["best"] = -math.inf
        self.losses = []

    def train(self, first, last):
        for step in range(first, last):
            x_NF = torch.randn(16, 6, generator=self.data)
            keep_NF = torch.rand(16, 6, generator=self.dropout) > 0.2
            loss = (self.head(self.model(x_NF * keep_NF)) - x_NF.sum(1, keepdim=True)).pow(2).mean()
            for optimizer in (self.optimizer, self.second):
                optimizer.zero_grad()
            loss.backward()
            for optimizer in (self.optimizer, self.second):
                optimizer.step()
            self.optimizer.param_groups[0]["lr"] = 0.02 / (step + 1)
            self.losses.append(loss.item())
            if -loss.item() > self.state.values["best"]:
                self.state.values["best"] = -loss.item()
                self.state.tensors["weight"] = self.model.inner.weight.detach().clone()
            self.state.values["steps"] = [step + 1]


@pytest.fixture(autouse=True)
def one_thread():
    """Threads add nothing to layers this small, and take turns on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", tmp_path / "cache")


def passed_on(store, state, step=1):
    """What `state` packs, once it has been to the disk and back."""
    store.save_checkpoint(IDENTITY, step, *state.pack())
    return store.checkpoint(IDENTITY)


def same(a, b):
    """Equal to the last bit, types and structure included."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_state_comes_back_bit_for_bit(store, kind):
    loop = Loop(kind)
    loop.train(0, 3)
    fresh = Loop(kind, init=1)
    assert not same(fresh.model.state_dict(), loop.model.state_dict())
    random_state = torch.get_rng_state()
    checkpoint = passed_on(store, loop.state)
    torch.manual_seed(999)
    fresh.state.unpack(checkpoint)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert same(fresh.model.state_dict(), loop.model.state_dict())
    assert same(fresh.head.state_dict(), loop.head.state_dict())
    assert same(fresh.optimizer.state_dict(), loop.optimizer.state_dict())
    assert same(fresh.second.state_dict(), loop.second.state_dict())
    assert torch.equal(fresh.data.get_state(), loop.data.get_state())
    assert torch.equal(fresh.dropout.get_state(), loop.dropout.get_state())
    assert same(fresh.state.tensors, loop.state.tensors)
    assert same(fresh.state.values, loop.state.values)
    assert fresh.model.outer.weight is fresh.model.inner.weight


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("stop", [1, 4, 8])
def test_going_on_equals_never_having_stopped(store, kind, stop):
    straight = Loop(kind)
    straight.train(0, 8)
    first = Loop(kind)
    first.train(0, stop)
    checkpoint = passed_on(store, first.state, stop)
    second = Loop(kind, init=1)
    torch.manual_seed(999)
    second.state.unpack(checkpoint)
    second.train(checkpoint.step, 8)
    assert first.losses + second.losses == straight.losses
    assert same(second.model.state_dict(), straight.model.state_dict())
    assert same(second.optimizer.state_dict(), straight.optimizer.state_dict())
    assert same(second.state.values, straight.state.values)
    assert same(second.state.tensors, straight.state.tensors)


def test_a_state_before_the_first_step_comes_back_too(store):
    loop, fresh = Loop("adam"), Loop("adam", init=1)
    fresh.state.unpack(passed_on(store, loop.state, 0))
    assert same(fresh.model.state_dict(), loop.model.state_dict())
    assert fresh.state.values == {"best": -math.inf}
    assert fresh.optimizer.state_dict()["state"] == {}


def test_packing_leaves_the_loop_alone_and_is_a_copy():
    loop, twin = Loop("adam"), Loop("adam")
    for each in (loop, twin):
        torch.manual_seed(5)
        each.train(0, 2)
        if each is loop:
            packed, meta = loop.state.pack()
            kept, kept_meta = copy.deepcopy((loop.model.state_dict(), meta))
            assert loop.state.pack() == (packed, meta)
        each.train(2, 4)
    assert loop.losses == twin.losses
    assert meta == kept_meta
    assert torch.equal(load(packed)["modules/model/inner.weight"], kept["inner.weight"])


def test_odd_tensors_and_values_come_back(store):
    state = State()
    state.tensors = {
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 3),
        "half": torch.tensor([1.0], dtype=torch.bfloat16),
        "wide": torch.tensor([0.1], dtype=torch.float64),
        "bool": torch.tensor([True, False]),
        "transposed": torch.arange(6).reshape(2, 3).T,
        "shared": torch.arange(6)[2:4],
        "special": torch.tensor([math.nan, math.inf, -0.0]),
        "with/slash": torch.tensor(3),
        "learning": torch.ones(2, requires_grad=True),
    }
    state.values = {"text": "é", "none": None, "deep": {"list": [1, 0.1, True]}}
    other = State()
    other.unpack(passed_on(store, state))
    assert other.tensors.keys() == state.tensors.keys()
    for name, value in state.tensors.items():
        assert other.tensors[name].dtype == value.dtype
        assert torch.equal(other.tensors[name].nan_to_num(7.0), value.detach().nan_to_num(7.0))
    assert other.values == state.values


def other_model():
    return State(modules={"model": nn.Linear(3, 2)})


@pytest.mark.parametrize(
    ("saved", "wanted"),
    [
        (other_model, lambda: State(modules={"model": nn.Linear(4, 2)})),
        (other_model, lambda: State(modules={"net": nn.Linear(3, 2)})),
        (other_model, lambda: State(modules={"model": nn.Linear(3, 2, bias=False)})),
        (other_model, lambda: State(generators={"data": torch.Generator()})),
        (
            other_model,
            lambda: State(optimizers={"o": torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=1)}),
        ),
        (
            lambda: State(
                optimizers={"o": torch.optim.SGD([nn.Parameter(torch.ones(2))] * 1, lr=1)}
            ),
            lambda: State(optimizers={"o": torch.optim.SGD(nn.Linear(3, 2).parameters(), lr=1)}),
        ),
    ],
)
def test_the_state_of_another_loop_is_one_line(store, saved, wanted):
    checkpoint = passed_on(store, saved())
    with pytest.raises(StoreError) as error:
        wanted().unpack(checkpoint)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"{checkpoint.tensors}: checkpoint of another model (")
    assert text.endswith("remove its folder and run again")


def test_damaged_metadata_is_one_line(store):
    loop = Loop("adam")
    tensors = passed_on(store, loop.state).tensors
    with pytest.raises(StoreError, match="checkpoint of another model"):
        Loop("adam").state.unpack(Checkpoint(1, tensors, {}))


def test_what_is_no_json_is_not_packed():
    state = State()
    state.values["weight"] = torch.ones(1)
    with pytest.raises(TypeError, match="not JSON serializable"):
        state.pack()


def test_the_state_of_a_card_comes_along(store, monkeypatch):
    held = {"state": torch.arange(4, dtype=torch.uint8)}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: held["state"])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda value: held.update(state=value))
    checkpoint = passed_on(store, State())
    held["state"] = torch.zeros(4, dtype=torch.uint8)
    State().unpack(checkpoint)
    assert held["state"].tolist() == [0, 1, 2, 3]
    held["state"] = None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    State().unpack(checkpoint)
    assert held["state"] is None


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_a_number_stops_the_trial(loss):
    with pytest.raises(Diverged, match=rf"loss is {loss} at step 12"):
        finite(loss, 12)


def test_a_loss_that_is_a_number_passes():
    assert finite(-0.25, 3) == -0.25
    assert finite(0.0, 0) == 0.0


@pytest.mark.parametrize(("n", "i", "o"), [(1, 1, 1), (5, 3, 7), (64, 16, 2)])
def test_a_linear_layer_takes_two_operations_for_each_weight_and_row(n, i, o, capsys):
    layer, x_NI = nn.Linear(i, o), torch.ones(n, i)
    assert count_flops(lambda: layer(x_NI)) == 2 * n * i * o
    assert count_flops(lambda: F.relu(x_NI)) == 0
    assert count_flops(lambda: layer(x_NI).sum().backward()) == 2 * 2 * n * i * o
    assert capsys.readouterr().out == ""


def test_parameters_count_what_is_trained_and_shared_ones_once():
    model = Tied(6)
    assert parameters(model) == 6 * 6 + 6 + 6 + 6
    model.inner.bias.requires_grad_(False)
    assert parameters(model) == 6 * 6 + 6 + 6
    layer = nn.Linear(4, 4)
    assert parameters(nn.Sequential(layer, nn.ReLU(), layer)) == 20
    assert parameters(nn.ReLU()) == 0


def test_matrices_are_decayed_and_vectors_are_not():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    model[0].bias.requires_grad_(False)
    optimizer = adamw(model.named_parameters(), AdamW(weight_decay=0.3, betas=(0.5, 0.6)), lr=0.1)
    decayed, rest = optimizer.param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(2, 3)]
    assert [tuple(p.shape) for p in rest["params"]] == [(2,), (2,)]
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.3, 0.0)
    assert all(group["betas"] == (0.5, 0.6) for group in optimizer.param_groups)
    set_rate(optimizer, 0.7)
    assert [group["lr"] for group in optimizer.param_groups] == [0.7, 0.7]


def test_gradients_are_clipped_together():
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))]
    optimizer = torch.optim.SGD(weights, lr=1.0)
    for weight in weights:
        weight.grad = torch.full_like(weight, 3.0)
    clip(optimizer, None)
    assert weights[0].grad.tolist() == [3.0, 3.0]
    clip(optimizer, 1.0)
    whole = torch.cat([weight.grad for weight in weights])
    assert whole.norm().item() == pytest.approx(1.0, abs=1e-5)


def test_tensors_are_read_or_refused_in_one_line(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"w": torch.ones(2), "v": torch.zeros(1)}, path)
    assert sorted(read_tensors(path)) == ["v", "w"]
    assert sorted(read_tensors(path, ["w"])) == ["w"]
    cases = {
        tmp_path / "none.safetensors": None,
        tmp_path / "text.safetensors": b"version https://git-lfs.github.com/spec/v1\n",
        tmp_path / "short.safetensors": path.read_bytes()[:-4],
        tmp_path / "empty.safetensors": b"",
    }
    for broken, content in cases.items():
        if content is not None:
            broken.write_bytes(content)
        with pytest.raises(DataError, match=broken.name) as caught:
            read_tensors(broken)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="missing"):
        read_tensors(path, ["missing"])
    with pytest.raises(DataError, match="nor a folder with model"):
        read_tensors(tmp_path)
