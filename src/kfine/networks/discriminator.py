"""Discriminators: of the autoencoder by patches, of SRGAN by whole patches; hinge losses and their weight."""

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
    """Tell real images from decoded ones, patch by patch (Isola et al. 2017, section 3.2.2, "PatchGAN").

    4x4 convolutions, all but the last two with stride 2.  Spectral normalisation (Miyato et al. 2018) in place of
    the paper's batch normalisation: a patch's verdict must not depend on the other images of its batch.

    Args:
        widths: channels a convolution; n = 2, 3, 4 of them see patches of 16, 34, 70 pixels a side.
        sees: whether it is shown, beside the image, what the image was decoded with, and then the image as what it has
            beyond that, magnified, for normalised layers can only weaken it: all that can give a decoded image away.
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

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return a verdict for each patch, (batch, 1, row', column'), high for real.

        Args:
            x: (batch, 1, row, column).
            seen: of the shape of `x`; needed where the discriminator `sees`, otherwise not used.
        """
        if not self.sees:
            return self.layers(x)
        if seen is None:
            raise ValueError(
                "expected what the image was decoded with: the discriminator was built to see it"
            )
        return self.layers(torch.cat([MAGNIFIED * (x - seen), seen], dim=1))


class VGGDiscriminator(nn.Module):
    """Tell real images from made ones, each by one verdict (Ledig et al., CVPR 2017, figure 4).

    Eight 3x3 convolutions, every second with stride 2, channels doubling, and two dense layers, as the paper has
    them.  Spectral normalisation in place of its batch normalisation, as in `PatchDiscriminator`.

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

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return a verdict for each image (batch, 1), high for real; `x` is (batch, 1, patch, patch), `seen` unused."""
        return self.verdict(self.layers(x))


def discriminator_loss(real: Tensor, decoded: Tensor) -> Tensor:
    """Return the hinge loss of the verdicts on `real` and `decoded` images, a scalar (Lim and Ye 2017).

    >>> discriminator_loss(torch.tensor([2.0, 0.0]), torch.tensor([-0.5, -3.0]))
    tensor(0.3750)
    """
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + decoded).mean())


def adversarial_loss(decoded: Tensor) -> Tensor:
    """Return the autoencoder's side of the hinge loss, a scalar: minus the mean verdict on `decoded` images."""
    return -decoded.mean()


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, *, last: Tensor) -> Tensor:
    """Return the weight of the adversarial loss: ||grad rec|| / (||grad adv|| + 1e-4), at most `MOST`, detached.

    Esser, Rombach, Ommer, Taming Transformers, CVPR 2021, equation 7.

    Args:
        reconstruction: the reconstruction loss (L1 and perceptual together), a scalar.
        adversarial: the adversarial loss, a scalar.
        last: weight of the decoder's last layer, by which both are differentiated; their graphs are kept.
    """
    rec, adv = (
        torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (reconstruction, adversarial)
    )
    return (rec / (adv + 1e-4)).clamp(0, MOST).detach()
