"""Discriminators: patches for the autoencoder, whole images for SRGAN; hinge losses and their weight."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from kfine.networks.blocks import MAGNIFIED, Stem

MOST = 1e4  # bound of the adaptive weight, as in the code of Esser et al.


class PatchDiscriminator(nn.Module):
    """Discriminator of real and decoded images, patch by patch (Isola et al. 2017, section 3.2.2, "PatchGAN").

    4x4 convolutions, all but the last two with stride 2.  Spectral normalisation (Miyato et al. 2018) replaces the
    batch normalisation of the paper: the output for a patch must not depend on the other images of its batch.

    Args:
        widths: channels a convolution; with n = 2, 3, 4 of them, patches have 16, 34, 70 pixels a side.
        sees: whether the conditioning image of the decoder is an input.  The image is then replaced by its difference
            to the conditioning image, the only part that differs between real and decoded images, magnified because
            normalised layers can only weaken it.
    """

    def __init__(self, *, widths: Sequence[int] = (32, 64, 128, 256), sees: bool = False) -> None:
        super().__init__()
        self.sees, layers = sees, []
        for number, (a, b) in enumerate(itertools.pairwise([1 + sees, *widths])):
            stride = 2 if number < len(widths) - 1 else 1
            kind = nn.Conv2d if number else Stem
            layers += [spectral_norm(kind(a, b, 4, stride=stride, padding=1)), nn.LeakyReLU(0.2)]
        last = spectral_norm(nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.layers = nn.Sequential(*layers, last)

    def forward(self, x: Tensor, conditioning: Tensor | None = None) -> Tensor:
        """Return the score of each patch (batch, 1, row', column'), high for real images.

        Args:
            x: (batch, 1, row, column).
            conditioning: of the shape of `x`; required if `sees`, otherwise not used.
        """
        if not self.sees:
            return self.layers(x)
        if conditioning is None:
            raise ValueError(
                "expected the conditioning image of the decoder: the discriminator was built for it"
            )
        return self.layers(torch.cat([MAGNIFIED * (x - conditioning), conditioning], dim=1))


class VGGDiscriminator(nn.Module):
    """Discriminator of real and generated images with one score an image (Ledig et al., CVPR 2017, figure 4).

    Eight 3x3 convolutions, every second with stride 2, with doubling channels, and two dense layers, as in the paper.
    Spectral normalisation replaces batch normalisation, as in `PatchDiscriminator`.

    Args:
        width: channels of the first convolution; 64 in the paper.
        patch: rows and columns of the images, a multiple of 16.
    """

    def __init__(self, *, width: int, patch: int) -> None:
        super().__init__()
        if patch % 16:
            raise ValueError(f"expected images of a multiple of 16 pixels a side, got {patch}")
        widths = [1, *(width * 2 ** (n // 2) for n in range(8))]
        layers: list[nn.Module] = []
        for number, (a, b) in enumerate(itertools.pairwise(widths)):
            stride = 1 + number % 2
            kind = nn.Conv2d if number else Stem
            layers += [spectral_norm(kind(a, b, 3, stride=stride, padding=1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        dense = spectral_norm(nn.Linear(widths[-1] * (patch // 16) ** 2, 16 * width))
        self.verdict = nn.Sequential(dense, nn.LeakyReLU(0.2), spectral_norm(nn.Linear(16 * width, 1)))

    def forward(self, x: Tensor, conditioning: Tensor | None = None) -> Tensor:
        """Return the score of each image (batch, 1), high for real images, from `x` (batch, 1, patch, patch)."""
        return self.verdict(self.layers(x))


def discriminator_loss(real: Tensor, decoded: Tensor) -> Tensor:
    """Return the hinge loss of the scores of `real` and `decoded` images, a scalar (Lim and Ye 2017).

    >>> discriminator_loss(torch.tensor([2.0, 0.0]), torch.tensor([-0.5, -3.0]))
    tensor(0.3750)
    """
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + decoded).mean())


def adversarial_loss(decoded: Tensor) -> Tensor:
    """Return the hinge loss of the autoencoder, a scalar: minus the mean score of `decoded` images."""
    return -decoded.mean()


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, *, last: Tensor) -> Tensor:
    """Return the weight of the adversarial loss: ||grad rec|| / (||grad adv|| + 1e-4), at most `MOST`, detached.

    Esser, Rombach, Ommer, Taming Transformers, CVPR 2021, equation 7.

    Args:
        reconstruction: the reconstruction loss (L1 and perceptual together), a scalar.
        adversarial: the adversarial loss, a scalar.
        last: weight of the last layer of the decoder, with respect to which both are differentiated; their graphs stay.
    """
    rec, adv = (
        torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (reconstruction, adversarial)
    )
    return (rec / (adv + 1e-4)).clamp(0, MOST).detach()
