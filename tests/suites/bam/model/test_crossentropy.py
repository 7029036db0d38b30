"""The chunked loss against torch's own on whole logits."""

import pytest
import torch
from torch.nn import functional as F

from suites.bam.model import crossentropy
from suites.bam.model.crossentropy import linear_cross_entropy


@pytest.mark.parametrize("rows_at_a_time", [1, 3, 100])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_value_and_gradients(
    rows_at_a_time: int, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(crossentropy.CHUNK_ELEMENTS, "cpu", 13 * rows_at_a_time)
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(10, 5, generator=generator, requires_grad=True)
    weight = torch.randn(13, 5, generator=generator, requires_grad=True)
    target = torch.randint(13, (10,), generator=generator)
    target[[2, 7]] = -100
    results = []
    for loss in (
        linear_cross_entropy(h, weight, target, scale),
        F.cross_entropy(h @ weight.T * scale, target),
    ):
        h.grad = weight.grad = None
        (loss * 1.7).backward()
        results.append((loss.detach(), h.grad, weight.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)


def test_no_gradient_where_none_is_asked_for() -> None:
    h, weight = torch.randn(4, 3), torch.randn(7, 3, requires_grad=True)
    target = torch.tensor([0, 1, 2, 3])
    with torch.no_grad():
        loss = linear_cross_entropy(h, weight, target, 1.0)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, F.cross_entropy(h @ weight.detach().T, target))


def test_no_token_that_counts_is_nan_as_in_torch() -> None:
    h, weight = torch.randn(2, 3), torch.randn(7, 3)
    assert linear_cross_entropy(h, weight, torch.tensor([-100, -100]), 1.0).isnan()


def test_large_logits_do_not_overflow() -> None:
    h, weight = torch.full((1, 1), 1e4), torch.tensor([[1.0], [-1.0]])
    loss = linear_cross_entropy(h, weight, torch.tensor([1]), 1.0)
    assert loss.item() == pytest.approx(2e4)
