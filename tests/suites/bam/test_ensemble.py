"""Branch-Train-Merge: who votes, and what a vote is worth."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor, nn

from suites.bam import ensemble
from suites.bam.ensemble import Ensemble

END = 0


class Constant(nn.Module):
    """A language model that always says the same."""

    def __init__(self, logits_V: list[float]) -> None:
        super().__init__()
        self.logits_V = nn.Parameter(torch.tensor(logits_V))

    def forward(self, ids_BT: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.logits_V.expand(*ids_BT.shape, -1))


def test_the_vote_is_the_mean_of_the_chosen_experts_probabilities() -> None:
    experts = [Constant([0.0, 1.0, 2.0]), Constant([3.0, 0.0, 0.0]), Constant([0.0, 0.0, 0.0])]
    profile_VK = torch.tensor([[0.0, 0.0, 0.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    model = Ensemble(experts, profile_VK, 2)
    found = model(torch.tensor([[1, 2, 2]])).logits[0].exp()
    p = [expert.logits_V.softmax(0) for expert in experts]
    torch.testing.assert_close(found[0], (p[0] + p[1]) / 2)  # sums 3, 2, 1
    torch.testing.assert_close(found[2], (p[1] + p[2]) / 2)  # sums 5, 6, 7
    torch.testing.assert_close(found.sum(-1), torch.ones(3))


def test_a_vote_of_one_is_that_expert() -> None:
    expert = Constant([0.5, -1.0, 0.2])
    model = Ensemble([expert, Constant([9.0, 0.0, 0.0])], torch.tensor([[1.0, 0.0]] * 3), 1)
    ids_BT = torch.tensor([[0, 1, 2]])
    torch.testing.assert_close(model(ids_BT).logits, expert(ids_BT).logits.log_softmax(-1))


def test_the_choice_uses_nothing_that_comes_later() -> None:
    generator = torch.Generator().manual_seed(0)
    profile_VK = torch.rand(20, 4, generator=generator)
    model = Ensemble([Constant([0.0] * 20)] * 4, profile_VK, 2)
    ids_BT = torch.randint(20, (2, 16), generator=generator)
    changed_BT = ids_BT.clone()
    changed_BT[:, 9:] = torch.randint(20, (2, 7), generator=generator)
    torch.testing.assert_close(model.choose(ids_BT)[:, :9], model.choose(changed_BT)[:, :9])


def test_the_ranking_is_that_of_tf_idf_cosines() -> None:
    rng = np.random.default_rng(0)
    domains = []
    for _ in range(3):
        p_V = rng.dirichlet(np.full(29, 0.3))
        texts = [rng.choice(29, size=rng.integers(5, 30), p=p_V) + 1 for _ in range(12)]
        domains.append([text.tolist() for text in texts])
    arrays = [np.array([i for t in d for i in (END, *t)], dtype=np.int32) for d in domains]
    profile_VK = ensemble.profile(arrays, 30, END)

    words = TfidfVectorizer(analyzer=list, vocabulary=[str(v) for v in range(30)])
    everything = [[str(i) for i in text] for domain in domains for text in domain]
    words.fit(everything)
    means = [words.transform([[str(i) for i in t] for t in d]).mean(axis=0).A1 for d in domains]
    model = Ensemble([Constant([0.0] * 30)] * 3, profile_VK, 1)
    for _ in range(50):
        text = (rng.integers(29, size=8) + 1).tolist()
        query = words.transform([[str(i) for i in text]]).toarray()[0]
        cosines = [query @ mean / np.linalg.norm(mean) for mean in means]
        chosen = model.choose(torch.tensor([[END, *text]]))[0, -1]
        assert int(chosen.argmax()) == int(np.argmax(cosines))


@pytest.mark.parametrize("domain", [0, 1])
def test_texts_choose_the_expert_of_their_domain(domain: int) -> None:
    law, code = [END, 1, 2, 1, 3, END, 2, 1], [END, 4, 5, 3, END, 5, 4, 4]
    arrays = [np.array(ids, dtype=np.int32) for ids in (law, code)]
    model = Ensemble([Constant([0.0] * 6)] * 2, ensemble.profile(arrays, 6, END), 1)
    text = [law, code][domain]
    assert model.choose(torch.tensor([text]))[0, -1].tolist() == [1.0 - domain, float(domain)]
