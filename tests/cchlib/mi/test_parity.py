"""Equality with the peers, case by case, and the two ways of counting neighbours."""

import copy

import numpy as np
import pytest
import torch
from sklearn.feature_selection import _mutual_info

from cchbook.chapters import panel
from cchlib.mi import estimate_mi, neighbours
from cchlib.mi.cross import CrossAutoencoder
from cchlib.mi.lmi import train_like_package

try:
    from latentmi import ksg as peer
    from latentmi import lmi as peer_lmi
    from latentmi.models import AECross
except ImportError:  # `make parity` has it
    peer = peer_lmi = AECross = None

with_latentmi = pytest.mark.skipif(peer is None, reason="latentmi is not installed")


def sample(n, p, q, seed=0):
    x, y = panel.gaussian_pairs(panel.correlations(0.8, min(p, q)), p, q)(
        n, np.random.default_rng(seed)
    )
    return x, y


# ---------------------------------------------------------------- nearest neighbours


@with_latentmi
@pytest.mark.parametrize(
    "n, p, q", [(400, 1, 1), (400, 2, 3), (700, 8, 8), (300, 24, 4)]
)
@pytest.mark.parametrize("k", [1, 3, 10])
def test_ksg_is_latentmi_in_nats(n, p, q, k):
    x, y = sample(n, p, q)
    truth = peer.mi(x, y, k=k).mean() * np.log(2)
    assert estimate_mi(x, y, "ksg", k=k, parts=0).value == pytest.approx(
        truth, abs=1e-6
    )


@with_latentmi
def test_conditional_ksg_is_latentmi_in_nats():
    x, y = sample(500, 2, 2)
    z = x[:, :1] + np.random.default_rng(1).standard_normal((500, 1))
    truth = peer.mi(x, y, z).mean() * np.log(2)
    assert estimate_mi(x, y, "ksg", given=z, parts=0).value == pytest.approx(
        truth, abs=1e-6
    )


def test_ksg_is_scikit_learn():
    x, y = sample(500, 1, 1)
    assert estimate_mi(x, y, "ksg", parts=0).value == pytest.approx(
        _mutual_info._compute_mi_cc(x[:, 0], y[:, 0], 3), abs=1e-6
    )


def test_ross_is_scikit_learn():
    x, y = panel.channel_label(0.3, 4, 4, separation=2.0)(500, np.random.default_rng(0))
    for column in x.T:
        ours = estimate_mi(column, y, "ksg", parts=0).value
        assert max(ours, 0) == pytest.approx(
            _mutual_info._compute_mi_cd(column, y, 3), abs=1e-6
        )


@pytest.mark.parametrize(
    "kind", ["continuous", "class", "given class", "given", "tied"]
)
@pytest.mark.parametrize("k", [3, 12])
def test_trees_and_blocks_count_the_same(kind, k, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = sample(500, 3, 2)
    z = rng.standard_normal((500, 1))
    c = rng.integers(3, size=500)
    c[:2] = 3  # a class of fewer than k + 1
    if kind == "tied":
        x, y = np.maximum(x, 0.5), np.maximum(y, 0.5)
    variables, marginals = {
        "continuous": ([x, y], [(0,), (1,)]),
        "tied": ([x, y], [(0,), (1,)]),
        "class": ([x, c], [(0,), (1,)]),
        "given": ([x, y, z], [(0, 2), (1, 2), (2,)]),
        "given class": ([x, c, z], [(0, 2), (1, 2), (2,)]),
    }[kind]
    results = []
    for visits in (0.0, 1.0):  # blocks always, trees always
        monkeypatch.setattr(neighbours, "VISITS", visits)
        tolerance = 1e-9 if kind == "tied" else None
        counts = neighbours.neighbour_counts(variables, marginals, k, tolerance)
        results.append(counts)
    for blocks, trees in zip(*results):
        assert np.array_equal(blocks, trees)


def test_blocks_of_any_size(monkeypatch):
    x, y = sample(300, 8, 8)
    monkeypatch.setattr(neighbours, "VISITS", 0.0)
    whole = neighbours.neighbour_counts([x, y], [(0,), (1,)], 3)
    monkeypatch.setattr(neighbours, "BLOCK", 700)
    for a, b in zip(whole, neighbours.neighbour_counts([x, y], [(0,), (1,)], 3)):
        assert np.array_equal(a, b)


def test_an_atom_counts_as_one():
    """Half of the samples at one point, half elsewhere: I = log 2, without noise to
    break the ties.
    """
    c = np.arange(400) % 2
    x = np.where(c == 0, 0.0, 5 + np.random.default_rng(0).uniform(size=400))
    y = np.where(c == 0, 1.0, -5 + np.random.default_rng(1).uniform(size=400))
    assert estimate_mi(x, y, "ksg", parts=0).value == pytest.approx(np.log(2), abs=0.05)


# ---------------------------------------------------------------- the latentmi package


@with_latentmi
def test_package_training_is_the_package(monkeypatch):
    """Copied weights and the same batches: the same losses, the same stopping, the same
    last weights.
    """
    x, y = (torch.from_numpy(v).float() for v in sample(60, 5, 3))
    torch.manual_seed(0)
    theirs = AECross(5, 3, 2)
    ours = copy.deepcopy(theirs)
    losses = []

    # in the place of torch's loader: the rows in order, in batches of 16
    class Batches:
        def __init__(self, data, batch_size, shuffle):
            self.data = data

        def __iter__(self):
            for low in range(0, len(self.data), 16):
                yield tuple(
                    torch.stack(part) for part in zip(*self.data[low : low + 16])
                )

    class Stopper(peer_lmi.EarlyStopper):
        def early_stop(self, loss, model):
            losses.append(loss)
            return super().early_stop(loss, model)

    monkeypatch.setattr(peer_lmi, "DataLoader", Batches)
    monkeypatch.setattr(peer_lmi, "EarlyStopper", Stopper)
    settings = {"lr": 3e-2, "epochs": 12, "patience": 2}
    torch.manual_seed(1)
    peer_lmi.train(theirs, x[:40], y[:40], x[40:], y[40:], **settings)
    torch.manual_seed(1)
    mine = train_like_package(
        ours,
        x[:40],
        y[:40],
        x[40:],
        y[40:],
        lambda n: torch.arange(n).split(16),
        **settings,
    )
    assert mine == pytest.approx(losses, rel=1e-6)
    assert len(mine) < 12  # it has stopped early, and kept the last weights
    for a, b in zip(ours.parameters(), theirs.parameters()):
        assert torch.equal(a, b)


def test_the_published_algorithm_is_a_seeded_estimate():
    x, y = sample(120, 4, 3)
    before = torch.get_rng_state()
    values = [
        estimate_mi(x, y, "lmi", epochs=2, seed=seed, device="cpu").value
        for seed in (0, 0, 1)
    ]
    assert values[0] == values[1] != values[2]
    assert torch.equal(
        before, torch.get_rng_state()
    )  # the caller's randomness is untouched
    labels = (y[:, 0] > 0).astype(int)
    assert np.isfinite(estimate_mi(x, labels, "lmi", epochs=1, device="cpu").value)


@with_latentmi
@pytest.mark.parametrize("p, q", [(5, 3), (2100, 4)])
def test_the_network_is_the_packages(p, q):
    """Same seed: the same weights, and with the same dropout noise the same loss."""
    networks = []
    for kind in (AECross, CrossAutoencoder):
        torch.manual_seed(3)
        networks.append(kind(p, q, 8))
    theirs, ours = (network.state_dict() for network in networks)
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    x, y = torch.randn(20, p), torch.randn(20, q)
    losses = []
    for network in networks:
        torch.manual_seed(5)
        losses.append(network.learning_loss(x, y))
    assert torch.equal(*losses)
