"""The network that the `latentmi` package trains: two autoencoders that predict each
other.

Written from its description (Gowri et al., 2024, Appendix) and held equal to the
package, weights and losses, by `tests/cchlib/mi/test_parity.py`; so the paper's
estimator runs without the package, which asks for NumPy < 2.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of all leaky ReLUs
DROPOUT = 0.5  # before each layer of the decoders that predict the other variable
NARROWEST = 1024  # first hidden layer, up to twice as many inputs


class CrossAutoencoder(nn.Module):
    """Encoders of x and of y, a decoder of each code into its own and into the other.

    Parameters
    ----------
    inputs_x, inputs_y : int
        Columns of x and of y.
    latents : int
        Dimensions of each code.
    """

    def __init__(self, inputs_x: int, inputs_y: int, latents: int):
        super().__init__()
        wide_x, wide_y = _width(inputs_x), _width(inputs_y)
        self.x_encoder = _encoder(inputs_x, wide_x, latents)
        self.y_encoder = _encoder(inputs_y, wide_y, latents)
        self.xx_decoder = _decoder(latents, wide_x, inputs_x)
        self.yy_decoder = _decoder(latents, wide_y, inputs_y)
        self.yx_decoder = _decoder(latents, wide_x, inputs_x, DROPOUT)
        self.xy_decoder = _decoder(latents, wide_y, inputs_y, DROPOUT)

        # in the package's order, so that one seed gives the same weights
        for part in (
            self.x_encoder,
            self.y_encoder,
            self.xx_decoder,
            self.yy_decoder,
            self.xy_decoder,
            self.yx_decoder,
        ):
            for layer in part:
                if isinstance(layer, nn.Linear):
                    nn.init.xavier_uniform_(layer.weight)
                    nn.init.zeros_(layer.bias)

    def encode(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(n, p), (n, q) -> the codes, (n, latents) each."""
        return self.x_encoder(x), self.y_encoder(y)

    def learning_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Sum of the four mean squared errors of reconstruction."""
        code_x, code_y = self.encode(x, y)
        own_x = F.mse_loss(self.xx_decoder(code_x), x)
        own_y = F.mse_loss(self.yy_decoder(code_y), y)
        # y before x: dropout draws its noise in the package's order
        other_y = F.mse_loss(self.xy_decoder(code_x), y)
        other_x = F.mse_loss(self.yx_decoder(code_y), x)
        return (other_x + other_y) + (own_x + own_y)


def _width(inputs: int) -> int:
    """The largest power of two not above the inputs, but no less than 1024."""
    if inputs <= 2048:
        return NARROWEST
    power = 1 << (inputs.bit_length() - 1)
    return max(NARROWEST, power)


def _encoder(inputs: int, width: int, latents: int) -> nn.Sequential:
    sizes = (inputs, width, width // 2, width // 4, latents)
    layers: list[nn.Module] = []
    for size, narrower in zip(sizes, sizes[1:]):
        layers.append(nn.Linear(size, narrower))
        layers.append(nn.LeakyReLU(SLOPE))
    return nn.Sequential(*layers)


def _decoder(
    latents: int, width: int, outputs: int, dropout: float = 0.0
) -> nn.Sequential:
    sizes = (latents, width // 4, width // 2, width, outputs)
    layers: list[nn.Module] = []
    for size, wider in zip(sizes, sizes[1:]):
        if dropout:
            layers.append(nn.Dropout(dropout))
        layers.append(nn.Linear(size, wider))
        layers.append(nn.LeakyReLU(SLOPE))
    return nn.Sequential(*layers[:-1])  # no activation at the output
