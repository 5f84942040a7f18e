"""The networks of Tables 9, 11, 14 and 18.

Every network has ``forward(x)``, its outputs, and ``features(x)``, the representation
H: the last hidden layer, after its activation. Initialisation is PyTorch's default,
drawn from `seed` alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from cchlib import check


class Dropout(nn.Module):
    """Dropout whose noise can be handed in, so that a stack of networks equals the loop
    over them.

    While training it zeroes an entry where `noise` < p. `cchlib.training` fills `noise`
    from each network's own generator; used by hand (``noise is None``) it draws from
    torch's global one.
    """

    def __init__(self, p: float, width: int):
        super().__init__()
        self.p = check.number("dropout", p, 0.0, 1.0)
        self.width = check.integer("width", width, 1)
        # a buffer, so that torch.func.functional_call can hand it in
        self.noise: Tensor | None
        self.register_buffer("noise", None, persistent=False)

    def extra_repr(self) -> str:
        """What `print` shows of it."""
        return f"p={self.p}, width={self.width}"

    def forward(self, x: Tensor) -> Tensor:
        """The input with entries set to 0 while training."""
        if not self.training or self.p == 0:
            return x
        noise = torch.rand_like(x) if self.noise is None else self.noise
        return x * (noise >= self.p) / (1 - self.p if self.p < 1 else 1)


class MLP(nn.Module):
    """A multilayer perceptron: the shape of every network in the paper.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the input to the output, at least one hidden layer between.
    activation : type of nn.Module
    batch_norm : bool
        BatchNorm1d after each activation (Tables 14 and 18 list it below the
        activation).
    dropout : float
        Dropout probability after that.
    pool_time : bool
        Temporal mean-pooling of (n, L, D) inputs first; (n, D), with no time axis,
        passes unchanged.
    seed : int
        Of the initial weights. torch's global generator is left as it was.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: type[nn.Module] = nn.ReLU,
        *,
        batch_norm: bool = False,
        dropout: float = 0.0,
        pool_time: bool = False,
        seed: int = 0,
    ):
        super().__init__()
        sizes = [check.integer("sizes", size, 1) for size in sizes]
        if len(sizes) < 3:
            raise ValueError(
                "`sizes` must be an input, at least one hidden layer and an output, "
                f"got {sizes}"
            )
        self.inputs, self.outputs, self.pool_time = sizes[0], sizes[-1], pool_time
        dropout = check.number("dropout", dropout, 0.0, 1.0)
        seed = check.seed("seed", seed)
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would set those of all GPUs too
            torch.default_generator.manual_seed(seed)
            layers: list[nn.Module] = []
            for wide, narrow in zip(sizes[:-2], sizes[1:-1]):
                layers += [nn.Linear(wide, narrow), activation()]
                layers += [nn.BatchNorm1d(narrow)] if batch_norm else []
                layers += [Dropout(dropout, narrow)] if dropout else []
            self.body = nn.Sequential(*layers)
            self.head = nn.Linear(sizes[-2], sizes[-1])

    def extra_repr(self) -> str:
        """What `print` shows beside the layers."""
        return "pool_time=True" if self.pool_time else ""

    def features(self, x: Tensor) -> Tensor:
        """The representation H: (n, D), or (n, L, D) with pooled time, -> (n, h)."""
        if self.pool_time and x.ndim == 3:
            x = x.mean(1)
        return self.body(x.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (logits, or regression values): (n, D) -> (n, K)."""
        return self.head(self.features(x))


def tabular_network(inputs: int = 100, outputs: int = 1, *, seed: int = 0) -> MLP:
    """Table 9: inputs -> 64 ReLU -> outputs. One output for Section 4.1, K classes for
    Section 4.4.
    """
    return MLP((inputs, 64, outputs), nn.ReLU, seed=seed)


def image_network(inputs: int = 784, classes: int = 10, *, seed: int = 0) -> MLP:
    """Table 11: inputs -> 1024 LeakyReLU -> 256 LeakyReLU -> classes. `inputs` is 784 a
    colour channel.
    """
    return MLP((inputs, 1024, 256, classes), nn.LeakyReLU, seed=seed)


def fold_channels(network: MLP, channels: int) -> MLP:
    """The network on one channel that SGD trains exactly as `network` on equal ones.

    On c equal channels the first layer says Σ Wi x + b, and every Wi has the gradient
    D xᵀ. Fed √c x, the layer W = Σ Wi / √c says the same and has the gradient √c D xᵀ,
    so that √c W and Σ Wi move alike, by c D xᵀ. Momentum and weight decay are linear,
    and keep this; Adam's division is not: use it for SGD only.

    Parameters
    ----------
    network : MLP
        Its inputs are the channels one after the other.
    channels : int
        c.

    Returns
    -------
    MLP
        A new network; its input is √c times one channel.

    Raises
    ------
    ValueError
        Where the inputs are not a multiple of `channels`.
    """
    check.integer("channels", channels, 1)
    if network.inputs % channels:
        raise ValueError(
            f"`channels` must divide the network's {network.inputs} inputs, got "
            f"{channels}"
        )
    first = cast(nn.Linear, network.body[0])
    one = copy.deepcopy(network)
    one.inputs = network.inputs // channels
    folded = nn.utils.skip_init(
        nn.Linear,
        one.inputs,
        first.out_features,
        device=first.weight.device,
        dtype=first.weight.dtype,
    )
    one.body[0] = folded
    with torch.no_grad():
        parts = first.weight.unflatten(1, (channels, one.inputs))
        folded.weight.copy_(parts.sum(1) / channels**0.5)
        folded.bias.copy_(first.bias)
    return one


def sentiment_network(inputs: int, classes: int = 2, *, seed: int = 0) -> MLP:
    """Table 14: temporal mean-pool -> 256 -> 128 (ReLU, BatchNorm, dropout 0.3 each) ->
    classes.
    """
    return MLP(
        (inputs, 256, 128, classes),
        nn.ReLU,
        batch_norm=True,
        dropout=0.3,
        pool_time=True,
        seed=seed,
    )


class FusionNetwork(nn.Module):
    """Table 18 and Figure 3: an encoder a modality, a joint head on both, and a head on
    each.

    Each encoder is Linear -> ReLU -> BatchNorm1d -> Dropout(0.25). Inputs are the two
    modalities side by side, (n, inputs1 + inputs2), teacher's first: one tensor, so
    that it trains like the others. Outputs are three blocks of `classes` logits, (n, 3,
    classes): joint, modality 1, modality 2.
    """

    def __init__(
        self,
        inputs1: int,
        inputs2: int,
        classes: int,
        *,
        width: int = 64,
        dropout: float = 0.25,
        seed: int = 0,
    ):
        super().__init__()
        self.inputs = (
            check.integer("inputs1", inputs1, 1),
            check.integer("inputs2", inputs2, 1),
        )
        check.integer("classes", classes, 2)
        check.integer("width", width, 1)
        seed = check.seed("seed", seed)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.encoders = nn.ModuleList(
                nn.Sequential(
                    nn.Linear(size, width),
                    nn.ReLU(),
                    nn.BatchNorm1d(width),
                    Dropout(dropout, width),
                )
                for size in self.inputs
            )
            self.joint = nn.Linear(2 * width, classes)
            self.heads = nn.ModuleList(nn.Linear(width, classes) for _ in self.inputs)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Representations of the two modalities, each (n, width)."""
        parts = x.split(self.inputs, -1)
        first = self.encoders[0](parts[0])
        second = self.encoders[1](parts[1])
        return first, second

    def features(self, x: Tensor) -> Tensor:
        """The representation H: both embeddings side by side, (n, 2 * width)."""
        return torch.cat(self.encode(x), -1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs1 + inputs2) -> logits (n, 3, classes): joint, first, second."""
        h1, h2 = self.encode(x)
        joint = self.joint(torch.cat((h1, h2), -1))
        first = self.heads[0](h1)
        second = self.heads[1](h2)
        return torch.stack((joint, first, second), 1)
