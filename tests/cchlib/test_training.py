"""A stack equals the loop over its networks, and bad input is refused."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.utils.prune
import torch.utils.checkpoint
from torch import nn

from cchlib import losses, models, training
from cchlib.training import PerNetwork, fit, fitting, inputs, steps


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
@pytest.mark.parametrize(
    "sizes, activation, options",
    [
        ((8, 6, 7, 5), nn.LeakyReLU, {}),
        ((8, 20, 17, 5), nn.ReLU, {}),  # wide enough that matrices lie turned
        ((8, 20, 7, 5), nn.LeakyReLU, {"batch_norm": True, "dropout": 0.3}),
        ((8, 6, 5), nn.ReLU, {"dropout": 0.5}),
        ((4, 18, 5), nn.ReLU, {"batch_norm": True, "pool_time": True}),
    ],
)
def test_written_out_gradients_are_those_of_autograd(
    sizes, activation, options, optimizer, monkeypatch
):
    """With a distillation loss, weight decay, momentum and a falling rate; running
    means of BatchNorm as well.
    """
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
        group = [models.MLP(sizes, activation, seed=s, **options) for s in range(3)]
        groups[applies] = [network.double() for network in group]
        if not applies:
            monkeypatch.setattr(steps.WrittenOut, "applies", lambda stack: False)
        assert steps.WrittenOut.applies(training.Stack(group)) == applies
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
    atol = 1e-12
    if optimizer == "adamw" and "batch_norm" in options:
        # BatchNorm takes away the bias of a unit that is active on all samples: the
        # gradient is 0 but for rounding, and Adam divides that by its eps of 1e-8
        atol = 1e-7
    for a, b in zip(groups[True], groups[False]):
        for name, value in a.state_dict().items():
            other = b.state_dict()[name]
            torch.testing.assert_close(value, other, rtol=1e-10, atol=atol)


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.body.__setitem__(2, nn.BatchNorm1d(6, affine=False)),
        lambda net: net.body.__setitem__(1, nn.Tanh()),
        lambda net: net.body.__setitem__(1, nn.LeakyReLU(-0.1)),
        lambda net: setattr(net, "head", nn.Linear(6, 2, bias=False)),
        lambda net: net.head.weight.requires_grad_(False),
        lambda net: net.head.register_forward_hook(lambda *seen: None),
    ],
)
def test_what_is_not_written_out_is_left_to_autograd(change):
    network = models.MLP((4, 6, 2), batch_norm=True)
    assert steps.WrittenOut.applies(training.Stack([network]))
    change(network)
    assert not steps.WrittenOut.applies(training.Stack([network]))
    fit(network, X, Y, _shared, epochs=2, lr=0.01, device="cpu")


def test_batch_norm_wants_two_samples():
    network = models.MLP((4, 6, 2), batch_norm=True)
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        fit(network, X[:1], Y[:1], _shared, epochs=1, lr=0.01, device="cpu")


def test_a_last_batch_of_one_joins_the_one_before():
    """BatchNorm can't take one sample: 21 samples in batches of 5 are 5, 5, 5, 6."""
    streams = [torch.Generator().manual_seed(0)]
    widths = [index.shape[1] for index in fitting._batches(streams, 21, 5)]
    assert widths == [5, 5, 5, 6]
    assert [index.shape[1] for index in fitting._batches(streams, 3, 1)] == [1, 2]


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
        (dict(x=torch.where(X > 1, torch.nan, X)), "`x`.*got NaN"),
        (dict(targets=Y * torch.inf), "`targets`.*got NaN or inf"),
        (dict(x=X[:, :3]), r"`x`.*torch.float32 with samples of shape \(3,\)"),
        (dict(x=X.long()), "`x`.*torch.int64"),
        (dict(x=1.0), "`x`.*single number"),
        (dict(targets=[0, 1, 1]), "`targets`.*single number"),
        (dict(x="images"), "`x`.*str"),
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
    "x, said",
    [
        (X / 0, "`x`.*got NaN or infinity"),
        (X[:, :3], "`x` must be what the networks take"),
    ],
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


# Early stopping on held-out data.


def regression_data(seed, n=40):
    generator = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(2, n, 4, generator=generator, dtype=torch.float64)
    return x, x[:, :1] + 0.5 * noise[:, :1]


@pytest.mark.parametrize("maker", ["table9", "table14"])
def test_early_stopping_is_that_of_a_textbook_loop(maker):
    """Weights of the best epoch, by hand: train epoch by epoch, copy the best."""
    makers = {
        "table9": lambda seed: models.tabular_network(4, seed=seed).double(),
        "table14": lambda seed: models.MLP(
            (4, 16, 1), batch_norm=True, dropout=0.3, seed=seed
        ).double(),
    }
    x, y = regression_data(0)
    held_out = regression_data(1)
    settings = dict(lr=0.05, batch_size=16, device="cpu")
    stack = [makers[maker](seed) for seed in range(3)]
    history = fit(
        stack,
        x,
        y,
        losses.squared_error,
        epochs=60,
        seeds=[5, 6, 7],
        validation=held_out,
        patience=4,
        **settings,
    )

    for s, network in enumerate(stack):
        single = makers[maker](s)
        seen, best, weights = [], None, None

        def look(epoch, loss, single=single, seen=seen):
            error = training.predict(single, held_out[0], device="cpu") - held_out[1]
            seen.append((error.square().mean().item(), _copy(single)))

        fit(
            single,
            x,
            y,
            losses.squared_error,
            epochs=60,
            seeds=5 + s,
            on_epoch=look,
            **settings,
        )
        for epoch, (value, state) in enumerate(seen):
            if best is None or value < seen[best][0]:
                best, weights = epoch, state
            if epoch - best >= 4:
                break
        assert history.best_epoch[s] == best
        for name, value in network.state_dict().items():
            torch.testing.assert_close(value, weights[name], rtol=1e-9, atol=1e-10)
        by_hand = [value for value, _ in seen[: epoch + 1]]
        found = history.validation[:, s]
        assert found[: epoch + 1].tolist() == pytest.approx(by_hand, rel=1e-9)
        assert bool(found[epoch + 1 :].isnan().all())
        assert bool(history.loss[epoch + 1 :, s].isnan().all())
    assert len(history.loss) == len(history.validation) < 60


def _copy(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_a_validation_without_patience_is_only_recorded():
    """The weights are those of a fit that saw no validation, to the bit."""
    first, second = networks(), networks()
    plain = fit(first, X, Y, _shared, epochs=3, lr=0.01, batch_size=6, device="cpu")
    history = fit(
        second,
        X,
        Y,
        _shared,
        epochs=3,
        lr=0.01,
        batch_size=6,
        device="cpu",
        validation=(X[:5], Y[:5]),
    )
    assert plain.validation is None and plain.best_epoch is None
    assert history.validation.shape == (3, 2) and history.best_epoch is None
    assert torch.equal(plain.loss, history.loss)
    for one, other in zip(first, second):
        assert all(map(torch.equal, one.parameters(), other.parameters()))
    last = losses.cross_entropy(
        training.predict(second, X[:5], device="cpu"), Y[:5].expand(2, 5)
    )
    torch.testing.assert_close(history.validation[-1], last)


def test_a_network_that_is_done_may_diverge():
    """It is trained on with the others, and what becomes of it doesn't count."""
    weights = torch.tensor([1.0, 1.0])
    best = training.BestEpoch([weights], patience=2)
    assert not best.see(torch.tensor([1.0, 3.0]), 0)
    weights[:] = 2.0
    assert not best.see(torch.tensor([2.0, 2.0]), 1)
    weights[:] = 3.0
    assert not best.see(torch.tensor([torch.nan, 1.0]), 2)
    assert best.done.tolist() == [True, False]
    weights[:] = torch.tensor([torch.nan, 4.0])
    assert not best.see(torch.tensor([0.0, 2.0]), 3)  # too late for the first
    assert best.see(torch.tensor([0.0, 1.0]), 4)
    best.restore()
    assert best.epoch.tolist() == [0, 2] and weights.tolist() == [1.0, 3.0]


def test_best_epoch_of_a_network_that_leaves_the_stack():
    weights = torch.tensor([1.0, 1.0, 1.0])
    best = training.BestEpoch([weights], patience=1)
    best.see(torch.tensor([3.0, 3.0, 3.0]), 0)
    weights[:] = 2.0
    best.see(torch.tensor([4.0, 2.0, 2.0]), 1)
    going = ~best.done
    assert going.tolist() == [False, True, True]
    weights.data = weights.data[going]
    best.keep(going)
    assert best.members.tolist() == [1, 2]
    weights[:] = 3.0
    assert not best.see(torch.tensor([1.0, 5.0]), 2)
    best.restore()
    assert weights.tolist() == [1.0, 3.0, 2.0] and best.epoch.tolist() == [0, 2, 1]


def test_best_epoch_beats_the_start_by_a_margin():
    tensor = torch.zeros(1)
    best = training.BestEpoch([tensor], patience=3, margin=0.5, start=1.0)
    tensor[:] = 1.0
    best.see(torch.tensor([0.6]), 0)
    assert best.epoch.tolist() == [-1]
    best.see(torch.tensor([0.4]), 1)
    best.restore()
    assert best.epoch.tolist() == [1] and tensor.tolist() == [1.0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(patience=2), "`patience` needs `validation`"),
        (dict(validation=(X, Y), patience=0), "`patience`.*got 0"),
        (dict(validation=X), "`validation` must be a tuple"),
        (dict(validation=(X,)), "`validation` must be a tuple"),
        (dict(validation=(X, Y[:3])), "`validation`: inconsistent numbers of samples"),
        (dict(validation=(X / 0, Y)), "`validation`: `x`.*NaN"),
        (
            dict(validation=(X[:, :2], Y)),
            "`validation`: `x` must be what the networks take",
        ),
    ],
)
def test_validation_is_checked(change, said):
    with pytest.raises(ValueError, match=said):
        fit(networks(), X, Y, _shared, epochs=1, lr=0.1, device="cpu", **change)


# What gave an answer that is none, or an error without a name.


def test_a_network_twice_is_refused():
    one, other = networks()
    for stack in ([one, other, one], [one, one]):
        with pytest.raises(
            ValueError, match="`networks`.*got 0 and ., which are one network"
        ):
            fit(stack, X, Y, _shared, epochs=1, lr=0.1, device="cpu")
    other.head = one.head
    with pytest.raises(ValueError, match="share head.weight"):
        fit([one, other], X, Y, _shared, epochs=1, lr=0.1, device="cpu")
    assert training.predict([one, one], X, device="cpu").shape == (2, 20, 2)


@pytest.mark.parametrize("optimizer", fitting.OPTIMIZERS)
def test_infinite_weights_after_the_last_step_are_refused(optimizer):
    stack = networks()
    before = [_copy(network) for network in stack]
    with pytest.raises(
        ValueError, match="weights became NaN or infinite.*smaller `lr`"
    ):
        fit(
            stack,
            1e30 * X,
            Y,
            _shared,
            epochs=1,
            lr=1e38,
            optimizer=optimizer,
            weight_decay=1e5,
            device="cpu",
        )
    for network, state in zip(stack, before):
        assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())


def test_a_loss_looks_at_the_values_of_its_arguments_in_the_first_epoch_only(
    monkeypatch,
):
    """Which waits for a GPU; every sample is in the first one."""
    looks, of_batches = [], []
    look = torch.Tensor.__bool__
    monkeypatch.setattr(
        torch.Tensor, "__bool__", lambda self: looks.append(1) or look(self)
    )

    def loss(output, labels, teacher):
        before = len(looks)
        value = losses.distillation_loss(output, teacher, labels, 0.5, 2.0)
        of_batches.append(len(looks) - before)
        return value

    setting = dict(epochs=3, batch_size=5, lr=0.1, device="cpu")
    stack = networks()
    targets = [Y, torch.zeros(len(X), 2)]
    fit(stack, X, targets, loss, **setting)
    per_epoch = np.reshape(of_batches, (3, -1))
    assert (per_epoch[0] > 0).all() and not per_epoch[1:].any()

    wrong = Y.clone()
    wrong[-1] = 2
    with pytest.raises(ValueError, match="`labels` must be class indices in"):
        fit(stack, X, [wrong, targets[1]], loss, **setting)


NOISY = [
    nn.Dropout(0.5),
    nn.Dropout1d(0.5),
    nn.AlphaDropout(0.5),
    nn.RReLU(),
    nn.Sequential(nn.ReLU(), nn.Dropout(0.1)),
]


@pytest.mark.parametrize("layer", NOISY, ids=str)
def test_noise_that_seeds_do_not_decide_is_refused(layer):
    network = nn.Sequential(nn.Linear(4, 8), layer, nn.Linear(8, 2))
    with pytest.raises(ValueError, match=r"nn\.\w+ \(1[.1]*\); .*models.Dropout"):
        fit(network, X, Y, _shared, epochs=1, lr=0.1, device="cpu")


def test_a_dropout_of_nothing_is_no_noise():
    network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.0), nn.Linear(8, 2))
    fit(network, X, Y, _shared, epochs=1, lr=0.1, device="cpu")


def test_a_dropout_that_is_the_network_itself():
    """Its name is empty; the noise finds it nevertheless."""
    drop = [models.Dropout(0.5, 4) for _ in range(2)]
    stack = training.Stack(drop)
    noise = torch.tensor([[[0.1, 0.6, 0.6, 0.1]], [[0.6, 0.6, 0.1, 0.1]]])
    out = stack(torch.ones(1, 4), noise)
    assert out.tolist() == [[[0.0, 2.0, 2.0, 0.0]], [[2.0, 2.0, 0.0, 0.0]]]
    assert drop[0].noise is None


class Pair(nn.Module):
    """Two layers of equal shapes, however they are put together."""

    def __init__(self, activation):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), activation, nn.Linear(4, 2))

    def forward(self, x):
        return self.body(x)


@pytest.mark.parametrize(
    "other",
    [
        Pair(nn.Tanh()),
        Pair(nn.LeakyReLU()),
        Pair(nn.ReLU()).double(),
        nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)),
    ],
    ids=["tanh", "leaky", "double", "class"],
)
def test_networks_that_differ_are_refused(other):
    """One of them would be computed as if it were the other."""
    for call in (training.predict, training.Stack):
        with pytest.raises(ValueError, match="`networks` must have one architecture"):
            call([Pair(nn.ReLU()), other], X) if call is training.predict else call(
                [Pair(nn.ReLU()), other]
            )


def test_pooling_of_time_is_part_of_the_architecture():
    pair = [models.MLP((4, 8, 2), pool_time=pool) for pool in (False, True)]
    with pytest.raises(ValueError, match="`networks` must have one architecture"):
        training.predict(pair, X)


MASK = np.eye(20, 4, dtype=bool)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(x=X[:, 0]), r"`x`.*torch.float32 with samples of shape \(\)"),
        (dict(x=PerNetwork(X[:, 0])), "`x`.*PerNetwork"),
        (dict(x=PerNetwork(np.float64(1))), "`x`.*single number"),
        (dict(x=np.ma.array(X.numpy(), mask=MASK)), "`x` must not be masked"),
        (
            dict(targets=np.ma.array(Y.numpy(), mask=MASK[:, 0])),
            "`targets` must not be masked",
        ),
        (dict(targets=np.full(20, "NaT", "M8[ns]")), "`targets`.*datetime64"),
        (dict(targets=None), "`targets`.*ragged"),
        (dict(x=X.to_sparse()), "`x`.*sparse"),
        (dict(x=X.to("meta")), "`x`.*meta"),
        (dict(x=X.numpy() + 1j), "`x`.*complex"),
        (dict(loss=None), "`loss`.*got None"),
        (dict(loss=lambda output, labels: 1.0), "`loss`.*got float"),
        (
            dict(loss=lambda output, labels: output.detach().mean((1, 2))),
            "`loss`.*values without a gradient",
        ),
        (dict(lr=np.array([0.1, 0.2])), "`lr`.*shape"),
        (dict(lr=torch.tensor([0.1])), "`lr`.*shape"),
        (dict(momentum=[0.9]), "`momentum`.*shape"),
        (dict(weight_decay=np.ones(2)), "`weight_decay`.*shape"),
        (dict(seeds=2**64), "`seeds`.*2⁶⁴"),
        (dict(seeds=[1, -1]), "`seeds`.*got -1"),
        (dict(seeds="12"), "`seeds`.*got '1'"),
        (dict(seeds=None), "`seeds`.*got None"),
        (dict(networks=[1, 2]), "`networks`.*int"),
        (dict(networks=None), "`networks`.*NoneType"),
        (dict(networks=nn.LazyLinear(2)), "`networks`.*lazy layers"),
        (dict(device="meta"), "`device`.*got 'meta'"),
        (dict(device="xpu"), "`device`.*got 'xpu'"),
        (dict(device=7), "`device`.*got 7"),
        (dict(optimizer=["adam"]), r"`optimizer`.*got \['adam'\]"),
        (dict(epochs=True), "`epochs`.*got True"),
    ],
)
def test_fit_refuses_by_name(change, said):
    good = dict(networks=networks(), x=X, targets=Y, loss=_shared, epochs=1, lr=0.1)
    with pytest.raises(ValueError, match=said):
        fit(**(good | dict(device="cpu") | change))


def test_the_largest_seed_and_odd_types_of_numbers():
    stack = networks()
    fit(
        stack,
        X.numpy().astype(np.longdouble),
        pd.Series(Y.numpy(), dtype="Int64"),
        _shared,
        epochs=1,
        lr=np.float64(0.1),
        seeds=np.array([2**64 - 1, 0], np.uint64),
        device=torch.device("cpu"),
    )
    assert torch.isfinite(training.predict(stack, X, device="cpu")).all()


def test_per_network_stack_reads_arrays_and_refuses_unequal_shapes():
    assert PerNetwork.stack([X.numpy(), X]).tensor.shape == (2, 20, 4)
    for tensors in ([X, X[:3]], []):
        with pytest.raises(ValueError, match="`tensors`.*shapes"):
            PerNetwork.stack(tensors)


def test_features_of_a_network_without_them():
    with pytest.raises(ValueError, match="`networks` must have a method .*got Linear"):
        training.features(nn.Linear(4, 2), X)


# Networks that vmap can't compute as one, and what a fit leaves of the user's own.


class Recurrent(nn.Module):
    """Reads the features one by one."""

    def __init__(self, kind, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.cell = kind(1, 3, batch_first=True)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.cell(x[..., None])[0][:, -1])


class Twice(nn.Module):
    """One layer, and one BatchNorm, under two names."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.second, self.other = self.first, self.norm
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.other(self.second(self.norm(self.first(x)).relu())))


class Counting(nn.Module):
    """Puts a new tensor in its buffer's place, looks at the data, and recomputes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(4, 3), nn.Linear(3, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls = self.calls + 1
        if float(x.sum()) == torch.inf:
            return x
        hidden = torch.utils.checkpoint.checkpoint(self.body, x, use_reentrant=False)
        return self.head(hidden)


class Words(nn.Module):
    """An embedding whose gradients are sparse."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.head = nn.Embedding(9, 3, sparse=True), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.words(x.clamp(0, 8).long()).mean(1))


def spectral():
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    nn.utils.parametrizations.spectral_norm(network[0])
    return network


ODD = {
    "gru": lambda: Recurrent(nn.GRU),
    "lstm": lambda: Recurrent(nn.LSTM),
    "rnn": lambda: Recurrent(nn.RNN),
    "shared": Twice,
    "counting": Counting,
    "sparse": Words,
    "spectral": spectral,
}


@pytest.mark.parametrize("name", ODD)
def test_what_vmap_cannot_do_is_a_plain_loop(name):
    """The weights and buffers are those of a textbook loop, whatever the network."""
    torch.manual_seed(0)
    first, second = ODD[name](), ODD[name]()
    second.load_state_dict(first.state_dict())
    state = torch.get_rng_state()
    settings = dict(epochs=3, lr=0.05, optimizer="sgd", momentum=0.5, batch_size=8)
    history = fit(first, X, Y, _shared, seeds=3, device="cpu", **settings)
    assert torch.equal(torch.get_rng_state(), state)
    plain_loop(second, X, Y, seed=3, schedule="constant", **settings)
    for own, other in zip(first.state_dict().values(), second.state_dict().values()):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)
    assert history.loss.isfinite().all()
    said = training.predict(first, X, device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(said, first.eval()(X), rtol=1e-4, atol=1e-5)


def test_two_recurrent_networks_are_the_loop_over_them():
    stack = [Recurrent(nn.GRU, seed) for seed in (0, 1)]
    alone = [Recurrent(nn.GRU, seed) for seed in (0, 1)]
    settings = dict(epochs=2, lr=0.05, batch_size=8, device="cpu")
    fit(stack, X, Y, _shared, seeds=[5, 6], **settings)
    for network, seed in zip(alone, (5, 6)):
        fit(network, X, Y, _shared, seeds=seed, **settings)
    for one, other in zip(stack, alone):
        for a, b in zip(one.parameters(), other.parameters()):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_frozen_batch_norm_stays_and_modes_come_back():
    """A part in evaluation mode, in a network in training mode, is frozen."""
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    network[1].eval()
    before = network[1].running_mean.clone()
    fit(network, 3 * X + 2, Y, _shared, epochs=3, lr=0.1, batch_size=5, device="cpu")
    assert torch.equal(network[1].running_mean, before)
    assert [m.training for m in network.modules()] == [True, True, False, True]
    network.eval()
    network[1].train()  # in a network that is trained as a whole again
    fit(network, X, Y, _shared, epochs=1, lr=0.1, device="cpu")
    assert not torch.equal(network[1].running_mean, before)
    assert [m.training for m in network.modules()] == [False, False, True, False]
    mlp = models.MLP((4, 6, 2), batch_norm=True)
    mlp.body[2].eval()
    fit(mlp, X, Y, _shared, epochs=2, lr=0.1, device="cpu")
    assert float(mlp.body[2].running_mean.abs().max()) == 0


def test_a_fit_that_fails_leaves_the_networks_as_they_were():
    """Also where `on_epoch` had been shown other weights."""
    network = models.MLP((4, 6, 2), batch_norm=True).eval()
    before = _copy(network)

    def look(epoch, loss):
        if epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(network, X, Y, _shared, epochs=3, lr=0.1, device="cpu", on_epoch=look)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert not network.training
    pair = nn.Linear(4, 2)
    pair.forward = lambda x: (x, x)
    with pytest.raises(
        ValueError, match="`networks` must return one tensor, got tuple"
    ):
        fit(pair, X, Y, _shared, epochs=1, lr=0.1, device="cpu")


def test_a_pruned_network_shows_its_new_weights_and_can_be_copied():
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    nn.utils.prune.l1_unstructured(network[0], "weight", 0.5)
    fit(network, X, Y, _shared, epochs=3, lr=0.1, device="cpu")
    other = copy.deepcopy(network)
    kept = network[0].weight_mask * network[0].weight_orig
    assert torch.equal(other[0].weight, kept) and int((kept == 0).sum()) == 16


def test_noise_within_a_forward_is_refused_too():
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(x + 0.1 * torch.randn_like(x))

    with pytest.raises(ValueError, match="`networks`.*got a Noisy whose forward draws"):
        fit(Noisy(4, 2), X, Y, _shared, epochs=1, lr=0.1, device="cpu")


AMBIENT = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "device meta": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("state", AMBIENT)
def test_the_caller_s_modes_change_no_weight(state):
    inside, outside = networks(), networks()
    settings = dict(epochs=2, lr=0.1, batch_size=6, seeds=[1, 2], device="cpu")
    fit(outside, X, Y, _shared, **settings)
    with AMBIENT[state]():
        fit(inside, X.clone(), Y, _shared, **settings)
        assert torch.is_grad_enabled() == (state == "device meta")
    for one, other in zip(inside, outside):
        assert all(map(torch.equal, one.parameters(), other.parameters()))


@pytest.mark.parametrize("shape", [(), (1,), (40,), (5, 4)])
@pytest.mark.parametrize("contiguous", [True, False])
def test_a_batch_is_the_rows_that_were_drawn(shape, contiguous):
    """Wide rows are copied whole, narrow ones read entry by entry: the same numbers."""
    own = torch.randn(3, 9, *shape)
    if not contiguous:
        own = torch.randn(9, 3, *shape).transpose(0, 1)
    index = torch.randint(9, (3, 4))
    by_network = inputs.take(PerNetwork(own), index, 3)
    shared = inputs.take(own[0], index, 3)
    assert by_network.shape == shared.shape == (3, 4, *shape)
    for network, rows in enumerate(index):
        for place, row in enumerate(rows):
            assert (by_network[network, place] == own[network, row]).all()
            assert (shared[network, place] == own[0, row]).all()
