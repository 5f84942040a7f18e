"""A fit that was killed goes on to the same bits."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cchlib.losses import cross_entropy
from cchlib.models import MLP, Dropout
from cchlib.training import fit

EPOCHS = 9
KILLED_AFTER = np.sort(np.random.default_rng(7).integers(1, EPOCHS, size=5))
GENERATOR = torch.Generator().manual_seed(5)
X = torch.randn(64, 6, generator=GENERATOR)
Y = (X[:, 0] * X[:, 1] > 0).long()
X_VALIDATION = torch.randn(32, 6, generator=GENERATOR)
Y_VALIDATION = (X_VALIDATION[:, 0] * X_VALIDATION[:, 1] > 0).long()


class Odd(nn.Module):
    """A network whose gradients autograd takes."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(6, 20), nn.BatchNorm1d(20)
        self.noise, self.last = Dropout(0.3, 20), nn.Linear(20, 2)

    def forward(self, x):
        return self.last(self.noise(torch.tanh(self.norm(self.first(x)))))


def networks(kind):
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        made.append(kind())
    return made


def perceptron():
    return MLP([6, 20, 20, 2], dropout=0.2, batch_norm=True)


def train(kind, optimizer, path=None, *, killed_after=None, every=2, patience=None):
    """What a fit leaves: weights, buffers, and its history."""
    nets = networks(kind)

    def watch(epoch, losses):
        if epoch == killed_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return {("loss", 0): losses.clone()}

    history = fit(
        nets,
        X,
        Y,
        cross_entropy,
        epochs=EPOCHS,
        lr=0.05,
        optimizer=optimizer,
        momentum=0.9 if optimizer == "sgd" else 0.0,
        schedule="cosine",
        batch_size=16,
        seeds=[3, 4],
        device="cpu",
        on_epoch=watch,
        validation=(X_VALIDATION, Y_VALIDATION),
        patience=patience,
        checkpoint=path,
        checkpoint_every=every,
    )
    states = [net.state_dict() for net in nets]
    return states, history


def same_bits(one, other):
    states, history = one
    states_other, history_other = other
    for state, state_other in zip(states, states_other):
        for name, value in state.items():
            assert torch.equal(value, state_other[name]), name
    assert torch.equal(history.loss.nan_to_num(-1), history_other.loss.nan_to_num(-1))
    assert torch.equal(
        history.validation.nan_to_num(-1), history_other.validation.nan_to_num(-1)
    )
    assert history.observed.keys() == history_other.observed.keys()
    for epoch, seen in history.observed.items():
        losses = history_other.observed[epoch]["loss", 0]
        assert torch.equal(seen["loss", 0].nan_to_num(-1), losses.nan_to_num(-1))


def killed(folder, kind, optimizer, patience):
    """Train in processes that kill themselves at five epochs, each going on from where
    the last one was killed; how many were killed, and what files they left.
    """
    path = folder / "state.pt"
    count, left = 0, set()
    for epoch in KILLED_AFTER:
        child = os.fork()
        if child == 0:
            try:
                train(kind, optimizer, path, killed_after=epoch, patience=patience)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        count += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        left |= {file.name for file in folder.iterdir()}
    return {"killed": count, "left": sorted(left)}


CASES = {
    f"{kind.__name__}-{optimizer}-{patience}": (kind, optimizer, patience)
    for kind in (perceptron, Odd)
    for optimizer in ("sgd", "adam", "adamw")
    for patience in (None, 2)
}


@pytest.fixture(scope="module")
def after_kills(tmp_path_factory):
    """A folder a case with what its killed processes left, and what became of them.

    They are forked off a process of their own: the tests' has threads, whose locks a
    child would inherit and wait for.
    """
    base = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, __file__, str(base)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return base, json.loads(done.stdout)


@pytest.mark.parametrize("case", CASES)
def test_killed_five_times_it_ends_with_the_same_bits(case, after_kills):
    kind, optimizer, patience = CASES[case]
    base, became = after_kills
    whole = train(kind, optimizer, patience=patience)
    reached = int(np.sum(KILLED_AFTER < len(whole[1].loss)))
    assert became[case] == {"killed": reached, "left": ["state.pt"]}
    same_bits(
        whole, train(kind, optimizer, base / case / "state.pt", patience=patience)
    )


def test_a_fit_that_is_done_is_read(tmp_path):
    path = tmp_path / "folder" / "state.pt"
    first = train(perceptron, "sgd", path)
    # would be killed if an epoch was run
    again = train(perceptron, "sgd", path, killed_after=EPOCHS - 1)
    same_bits(first, again)


def test_a_checkpoint_of_other_inputs_is_refused(tmp_path):
    path = tmp_path / "state.pt"
    train(perceptron, "sgd", path)
    before = path.read_bytes()
    for other in (dict(optimizer="adam"), dict(optimizer="sgd", patience=3)):
        with pytest.raises(ValueError, match="`checkpoint`.*another"):
            train(perceptron, path=path, **other)
    net = perceptron()
    start = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match="`checkpoint`"):
        fit(net, X, Y, cross_entropy, epochs=2, lr=0.1, checkpoint=path)
    for name, value in net.state_dict().items():
        assert torch.equal(value, start[name])
    assert path.read_bytes() == before


def test_what_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "state.pt"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="`checkpoint` must be a file that"):
        train(perceptron, "sgd", path)
    with pytest.raises(ValueError, match="checkpoint_every"):
        train(perceptron, "sgd", tmp_path / "new.pt", every=0)


def test_a_folder_keeps_fits_of_different_losses_apart(tmp_path):
    def scaled(factor):
        return lambda output, y: factor * cross_entropy(output, y)

    settings = dict(epochs=2, lr=0.1, checkpoint=tmp_path, device="cpu")
    for factor in (1.0, 2.0, 1.0):
        net, alone = perceptron(), perceptron()
        fit(net, X, Y, scaled(factor), **settings)
        fit(alone, X, Y, scaled(factor), **dict(settings, checkpoint=None))
        same = alone.state_dict()
        assert all(torch.equal(v, same[k]) for k, v in net.state_dict().items())
    assert len(list(tmp_path.glob("*.pt"))) == 2


if __name__ == "__main__":
    torch.set_num_threads(1)
    for first in ("sgd", "adam"):  # what it imports, once for all children
        train(perceptron, first)
    outcome = {}
    for name, case in CASES.items():
        (Path(sys.argv[1]) / name).mkdir()
        outcome[name] = killed(Path(sys.argv[1]) / name, *case)
    print(json.dumps(outcome))
