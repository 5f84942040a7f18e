"""A stack equals the loop over its networks, and bad input is refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from cchlib import losses, models, training
from cchlib.training import PerNetwork, fit


def plain_loop(
    network,
    x,
    y,
    *,
    epochs,
    lr,
    optimizer,
    batch_size,
    schedule,
    seed,
    momentum=0.0,
    weight_decay=0.0,
):
    """One network as a textbook would train it; only the random stream is that of
    `fit`.
    """
    stream = torch.Generator().manual_seed(seed)
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    if optimizer == "sgd":
        stepper = torch.optim.SGD(
            network.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay
        )
    else:
        stepper = kinds[optimizer](
            network.parameters(), lr=lr, weight_decay=weight_decay
        )
    decay = (
        torch.optim.lr_scheduler.CosineAnnealingLR(stepper, epochs)
        if schedule == "cosine"
        else None
    )
    dropouts = [m for m in network.modules() if isinstance(m, models.Dropout)]
    network.train()
    for _ in range(epochs):
        order = (
            torch.randperm(len(x), generator=stream)
            if batch_size < len(x)
            else torch.arange(len(x))
        )
        for batch in order.split(batch_size):
            if dropouts:
                noise = torch.rand(
                    len(batch), sum(m.width for m in dropouts), generator=stream
                )
                for module, part in zip(
                    dropouts, noise.split([m.width for m in dropouts], -1)
                ):
                    module.noise = part
            stepper.zero_grad()
            nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
            stepper.step()
        if decay:
            decay.step()
    for module in dropouts:
        module.noise = None
    return network


MAKERS = {
    "table9": lambda seed: models.tabular_network(7, 3, seed=seed),
    "table11": lambda seed: models.MLP((7, 16, 8, 3), nn.LeakyReLU, seed=seed),
    "table14": lambda seed: models.MLP(
        (7, 16, 8, 3), batch_norm=True, dropout=0.3, pool_time=True, seed=seed
    ),
}
SETTINGS = {
    "adam, full batch": dict(
        optimizer="adam", lr=0.01, batch_size=50, schedule="constant"
    ),
    "adamw, cosine": dict(
        optimizer="adamw", lr=0.01, batch_size=16, schedule="cosine", weight_decay=0.01
    ),
    "sgd, momentum": dict(
        optimizer="sgd", lr=0.05, batch_size=8, schedule="constant", momentum=0.9
    ),
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("maker", MAKERS)
def test_stack_equals_loop(maker, setting):
    torch.manual_seed(0)
    x = torch.randn(50, 7, dtype=torch.float64)
    y = torch.randint(0, 3, (3, 50))
    stack = [MAKERS[maker](seed).double() for seed in range(3)]
    loop = [MAKERS[maker](seed).double() for seed in range(3)]
    fit(
        stack,
        x,
        PerNetwork(y),
        losses.cross_entropy,
        epochs=4,
        seeds=[5, 6, 7],
        device="cpu",
        **SETTINGS[setting],
    )
    for i, network in enumerate(loop):
        plain_loop(network, x, y[i], epochs=4, seed=5 + i, **SETTINGS[setting])
    for stacked, single in zip(stack, loop):
        for (name, a), b in zip(
            stacked.state_dict().items(), single.state_dict().values()
        ):
            torch.testing.assert_close(
                a, b, rtol=1e-10, atol=1e-12, msg=lambda m, name=name: f"{name}: {m}"
            )
    outputs = training.predict(stack, x, device="cpu")
    hidden = training.features(stack, x, device="cpu", batch_size=7)
    for i, network in enumerate(loop):
        network.eval()
        torch.testing.assert_close(
            outputs[i], network(x).detach(), rtol=1e-10, atol=1e-12
        )
        torch.testing.assert_close(
            hidden[i], network.features(x).detach(), rtol=1e-10, atol=1e-12
        )


X, Y = torch.randn(20, 4), torch.randint(0, 2, (20,))


def networks(count=2):
    return [models.tabular_network(4, 2, seed=seed) for seed in range(count)]


def test_reproducible_to_the_bit_and_leaves_the_global_stream_alone():
    state = torch.random.get_rng_state()
    first, second = networks(), networks()
    for stack in (first, second):
        fit(
            stack,
            X,
            Y,
            _shared,
            epochs=3,
            lr=0.01,
            batch_size=6,
            seeds=[1, 2],
            device="cpu",
        )
    assert torch.equal(torch.random.get_rng_state(), state)
    for a, b in zip(first, second):
        for p, q in zip(a.parameters(), b.parameters()):
            assert torch.equal(p, q)


def _shared(output, labels):
    return losses.cross_entropy(output, labels)


def test_a_single_network_and_its_history():
    network = models.tabular_network(4, 2)
    history = fit(network, X, Y, _shared, epochs=30, lr=0.05, device="cpu")
    assert history.loss.shape == (30, 1) and history.loss[-1] < history.loss[0]
    assert training.predict(network, X).shape == (20, 2) and training.features(
        network, X
    ).shape == (20, 64)
    assert network.training  # as it was


def test_on_epoch_sees_the_networks_as_they_are_and_changes_nothing():
    watched, alone = networks(), networks()
    settings = dict(epochs=3, lr=0.01, batch_size=6, seeds=[1, 2], device="cpu")
    seen = []

    def look(epoch, loss):
        seen.append(training.predict(watched, X, device="cpu"))

    fit(watched, X, Y, _shared, on_epoch=look, **settings)
    fit(alone, X, Y, _shared, **settings)
    assert len(seen) == 3 and not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[-1], training.predict(watched, X, device="cpu"))
    assert torch.equal(seen[-1], training.predict(alone, X, device="cpu"))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_written_out_gradients_are_those_of_autograd(optimizer, monkeypatch):
    """With a distillation loss, weight decay, momentum and a falling rate."""
    x = torch.randn(30, 2, 4, dtype=torch.float64)
    teacher = PerNetwork(torch.randn(3, 30, 5, dtype=torch.float64))
    labels, lam = torch.arange(30) % 5, torch.tensor([0.0, 0.5, 1.0])

    def loss(output, says, y):
        return losses.distillation_loss(output, says, y, lam, 2.0)

    settings = dict(
        epochs=5, lr=0.05, momentum=0.9, weight_decay=0.01, schedule="cosine"
    )
    groups = {}
    for applies in (True, False):
        group = [models.MLP((8, 6, 7, 5), nn.LeakyReLU, seed=s) for s in range(3)]
        groups[applies] = [network.double() for network in group]
        if not applies:
            monkeypatch.setattr(training._WrittenOut, "applies", lambda stack: False)
        assert training._WrittenOut.applies(training.Stack(group)) == applies
        fit(
            groups[applies],
            x,
            [teacher, labels],
            loss,
            optimizer=optimizer,
            batch_size=7,
            seeds=[1, 2, 3],
            device="cpu",
            **settings,
        )
    for a, b in zip(groups[True], groups[False]):
        for p, q in zip(a.parameters(), b.parameters()):
            torch.testing.assert_close(p, q, rtol=1e-10, atol=1e-12)


def test_a_last_batch_of_one_joins_the_one_before():
    """BatchNorm can't take one sample: 21 samples in batches of 5 are 5, 5, 5, 6."""
    streams = [torch.Generator().manual_seed(0)]
    widths = [index.shape[1] for index in training._batches(streams, 21, 5)]
    assert widths == [5, 5, 5, 6]
    assert [index.shape[1] for index in training._batches(streams, 3, 1)] == [1, 2]


@pytest.mark.parametrize(
    "change, said",
    [
        (dict(epochs=0), "epochs"),
        (dict(lr=0.0), "lr"),
        (dict(lr=float("nan")), "lr"),
        (dict(optimizer="lbfgs"), "optimizer"),
        (dict(schedule="step"), "schedule"),
        (dict(batch_size=0), "batch_size"),
        (dict(seeds=[1]), "seeds"),
        (dict(device="quantum"), "device"),
        (dict(device=None), "device"),
        (dict(device=f"cuda:{torch.cuda.device_count()}"), "GPUs"),
        (dict(x=X[:5]), "samples"),
        (dict(x=PerNetwork(X[None])), "networks"),
        (dict(networks=[]), "networks"),
        (
            dict(networks=[models.tabular_network(4, 2), models.tabular_network(4, 3)]),
            "networks",
        ),
        (
            dict(
                loss=lambda output, labels: losses.cross_entropy(output, labels).mean()
            ),
            "loss",
        ),
        (dict(x=torch.where(X > 1, torch.nan, X)), "x holds NaN"),
        (dict(targets=Y * torch.inf), "targets holds NaN or inf"),
        (dict(x=X[:, :3]), r"x is torch.float32 with samples of shape \(3,\)"),
        (dict(x=X.long()), "x is torch.int64"),
        (dict(x=1.0), "x is a single number"),
        (dict(targets=[0, 1, 1]), "targets is a single number"),
        (dict(x="images"), "x holds str"),
        (dict(seeds=1.5), "seeds"),
    ],
)
def test_fit_refuses(change, said):
    arguments = (
        dict(
            networks=networks(),
            x=X,
            targets=Y,
            loss=_shared,
            epochs=1,
            lr=0.1,
            device="cpu",
        )
        | change
    )
    with pytest.raises(ValueError, match=said):
        fit(**arguments)


def test_divergence_is_an_error_not_a_result():
    y, network = torch.randn(20, 1) * 1e6, models.tabular_network(4).eval()
    with pytest.raises(ValueError, match="NaN or infin"):
        fit(
            network,
            X,
            y,
            losses.squared_error,
            epochs=200,
            lr=10.0,
            optimizer="sgd",
            device="cpu",
        )
    assert not network.training  # as it was


def test_numpy_arrays_are_read_like_tensors():
    first, second = networks(), networks()
    fit(first, X, Y, _shared, epochs=3, lr=0.01, seeds=[1, 1], device="cpu")
    fit(
        second,
        X.double().numpy(),
        [Y.numpy()],
        _shared,
        epochs=3,
        lr=0.01,
        seeds=np.int64(1),
        device="cpu",
    )
    assert torch.equal(
        training.predict(first, X, device="cpu"),
        training.predict(second, X.double().numpy(), device="cpu"),
    )
    with pytest.raises(ValueError, match="batch_size"):
        training.predict(first, X, batch_size=0)
    fit(
        networks(),
        pd.DataFrame(X.numpy()),
        pd.Series(Y.numpy()),
        _shared,
        epochs=1,
        lr=0.01,
        device="cpu",
    )


@pytest.mark.parametrize(
    "x, said", [(X / 0, "x holds NaN or infinity"), (X[:, :3], "x is .* don't take")]
)
def test_predict_refuses(x, said):
    for call in (training.predict, training.features):
        with pytest.raises(ValueError, match=said):
            call(networks(), x, device="cpu")


def test_frozen_parameters_stay_as_they_are():
    stack = networks()
    for network in stack:
        network.body.requires_grad_(False)
    before = [[p.clone() for p in network.parameters()] for network in stack]
    fit(stack, X, Y, _shared, epochs=3, lr=0.1, device="cpu")
    for network, old in zip(stack, before):
        assert [torch.equal(p, q) for p, q in zip(network.parameters(), old)] == [
            True,
            True,
            False,
            False,
        ]
    for network in stack:
        network.requires_grad_(False)
    with pytest.raises(ValueError, match="frozen"):
        fit(stack, X, Y, _shared, epochs=1, lr=0.1, device="cpu")


def test_speed_habit_weights_lie_in_the_order_of_their_gradients():
    """Else every step copies each gradient across, which was half of its time."""
    stack = training.Stack(networks())
    stack(X).sum().backward()
    for name, leaf in stack.leaves.items():
        assert leaf.is_contiguous() and leaf.grad.stride() == leaf.stride(), name
