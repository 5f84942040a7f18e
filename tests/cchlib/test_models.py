"""The networks are those of Tables 9, 11, 14 and 18."""

import pytest
import torch
from torch import nn

from cchlib import models
from cchlib.losses import cross_entropy
from cchlib.training import fit


def layers(module):
    return [m for m in module.modules() if not list(m.children())]


def shapes(module):
    return [
        (m.in_features, m.out_features)
        for m in layers(module)
        if isinstance(m, nn.Linear)
    ]


def test_table_9():
    network = models.tabular_network(100)
    assert shapes(network) == [(100, 64), (64, 1)]
    assert [type(m) for m in layers(network)] == [nn.Linear, nn.ReLU, nn.Linear]
    assert shapes(models.tabular_network(100, 5)) == [(100, 64), (64, 5)]


def test_table_11():
    network = models.image_network(3 * 784)
    assert shapes(network) == [(2352, 1024), (1024, 256), (256, 10)]
    assert [type(m) for m in layers(network)] == [nn.Linear, nn.LeakyReLU] * 2 + [
        nn.Linear
    ]


def test_table_14():
    network = models.sentiment_network(300)
    assert shapes(network) == [(300, 256), (256, 128), (128, 2)]
    block = [nn.Linear, nn.ReLU, nn.BatchNorm1d, models.Dropout]
    assert [type(m) for m in layers(network)] == block * 2 + [nn.Linear]
    assert {m.p for m in layers(network) if isinstance(m, models.Dropout)} == {0.3}


def test_table_18():
    network = models.FusionNetwork(100, 80, 5)
    assert shapes(network) == [(100, 64), (80, 64), (128, 5), (64, 5), (64, 5)]
    assert {m.p for m in layers(network) if isinstance(m, models.Dropout)} == {0.25}
    network.eval()
    x = torch.randn(7, 180)
    out, (h1, h2) = network(x), network.encode(x)
    assert out.shape == (7, 3, 5) and h1.shape == h2.shape == (7, 64)
    torch.testing.assert_close(out[:, 0], network.joint(torch.cat((h1, h2), 1)))
    torch.testing.assert_close(out[:, 2], network.heads[1](h2))
    torch.testing.assert_close(network.features(x), torch.cat((h1, h2), 1))


def test_temporal_mean_pool():
    """(n, L, D) is averaged over L; data without a time axis pass unchanged."""
    network = models.sentiment_network(6).eval()
    x = torch.randn(5, 50, 6)
    torch.testing.assert_close(network(x), network(x.mean(1)))
    assert network.features(x).shape == (5, 128)


@pytest.mark.parametrize(
    "network, x",
    [
        (models.tabular_network(9, 3), (4, 9)),
        (models.sentiment_network(9), (4, 2, 9)),
        (models.image_network(), (4, 784)),
    ],
)
def test_outputs_are_the_head_on_the_features(network, x):
    network.eval()
    x = torch.randn(x)
    torch.testing.assert_close(network(x), network.head(network.features(x)))


def test_a_seed_is_the_network():
    a, b, c = (models.tabular_network(5, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters()))
    assert not torch.equal(a.head.weight, c.head.weight)


def test_dropout_keeps_the_mean_and_is_off_in_evaluation():
    drop = models.Dropout(0.3, 1)
    torch.manual_seed(0)
    x = torch.ones(20_000, 1)
    out = drop(x)
    assert out.mean().item() == pytest.approx(1, abs=0.02)
    assert out.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert torch.equal(drop.eval()(x), x)


@pytest.mark.parametrize("width", [0, 2.5])
def test_fusion_width_is_checked(width):
    with pytest.raises(ValueError, match="width"):
        models.FusionNetwork(3, 2, 2, width=width)


@pytest.mark.parametrize("sizes", [(3, 2), (3, 0, 2), (3, 2.5, 1)])
def test_sizes_are_checked(sizes):
    with pytest.raises(ValueError, match="sizes"):
        models.MLP(sizes)


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_equal_channels_are_one_channel_under_sgd(weight_decay):
    x = torch.rand(
        40, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    y = torch.arange(40) % 4
    rgb = models.MLP((18, 16, 8, 4), nn.LeakyReLU, seed=3).double()
    one = models.fold_channels(rgb, 3)
    assert one.inputs == 6 and torch.equal(one.body[0].bias, rgb.body[0].bias)

    settings = dict(
        epochs=30, lr=0.05, optimizer="sgd", momentum=0.9, weight_decay=weight_decay
    )
    inputs = {rgb: x.repeat(1, 3), one: 3**0.5 * x}
    before = rgb(inputs[rgb]).detach()
    for network, seen in inputs.items():
        fit(network, seen, y, cross_entropy, batch_size=8, device="cpu", **settings)
    logits = [network(seen).detach() for network, seen in inputs.items()]
    assert (logits[0] - before).abs().max() > 0.1  # 150 steps have taught something
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-12)


def test_equal_channels_are_not_one_channel_under_adam():
    x, y = torch.rand(40, 6, dtype=torch.float64), torch.arange(40) % 4
    rgb = models.MLP((18, 16, 8, 4), nn.LeakyReLU, seed=3).double()
    one = models.fold_channels(rgb, 3)
    inputs = {rgb: x.repeat(1, 3), one: 3**0.5 * x}
    for network, seen in inputs.items():
        fit(network, seen, y, cross_entropy, epochs=5, lr=0.01, device="cpu")
    logits = [network(seen).detach() for network, seen in inputs.items()]
    assert (logits[0] - logits[1]).abs().max() > 1e-3


def test_channels_that_do_not_divide_the_inputs_are_refused():
    with pytest.raises(ValueError, match="channels"):
        models.fold_channels(models.MLP((7, 3, 2)), 3)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, None, "1"])
def test_seeds_are_checked(seed):
    for make in (
        lambda: models.MLP((3, 2, 1), seed=seed),
        lambda: models.FusionNetwork(3, 2, 2, seed=seed),
    ):
        with pytest.raises(ValueError, match="`seed`"):
            make()


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), "0.5", [0.5]])
def test_dropout_is_checked(p):
    with pytest.raises(ValueError, match="`dropout`"):
        models.Dropout(p, 3)
    with pytest.raises(ValueError, match="`dropout`"):
        models.FusionNetwork(3, 2, 2, dropout=p)
