"""SRResNet: the generator of SRGAN, and the regression network from which it starts."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfine.networks.blocks import Stem, blind_to_brightness, pad_to_multiple, zeroed
from kfine.networks.core import CHANNELS

_SMALL = 0.1  # scale of the output: corrections are about a tenth of the contrast of an image


@final
class SRResNet(nn.Module):
    """Correction of the zero-filled image of single planes, with the interface of the core network.

    Ledig et al., Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, CVPR 2017,
    figure 4: residual blocks on a grid of half the resolution, then sub-pixel upsampling (Shi et al. 2016).
        Differences:

    - The input is zero-filled on the grid of the output; pixel-unshuffle takes it to the coarse grid without loss.  At
    x2
      that is the grid of the paper; the weights are the same at every scale.
    - The facts of the scan, mainly its scale, are added to the first features.
    - There is no batch normalisation: Lim et al., EDSR (CVPR Workshops 2017), report better results without it.
    Without
      it the initial weights matter (decision 12): He et al. (ICCV 2015), and a tenth of that for the last convolution
      of a block, as in ESRGAN (Wang et al. 2018), whose supplement has the reasons.
    - The last convolution is 3x3 as in EDSR, starts at zero, and its output is scaled by 0.1.  With 9x9, each update
      changes 5184 weights at once, by more than the whole correction.

    Args:
        width: channels of the blocks; 64 in the paper.
        blocks: number of blocks; 16 in the paper.
    """

    def __init__(self, *, width: int = 64, blocks: int = 16) -> None:
        super().__init__()
        self.stem = Stem(4, width, 9, padding=4)
        blind_to_brightness(self.stem.weight)
        self.known = nn.Linear(CHANNELS, width, bias=False)
        self.activation = nn.PReLU()
        self.blocks = nn.Sequential(*(_Block(width) for _ in range(blocks)))
        self.gather = _he(nn.Conv2d(width, width, 3, padding=1))
        grow = _he(nn.Conv2d(width, 4 * width, 3, padding=1))
        self.grow = nn.Sequential(grow, nn.PixelShuffle(2), nn.PReLU())
        self.last = zeroed(nn.Conv2d(width, 1, 3, padding=1))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last layer, for the adaptive weight of the adversarial loss."""
        return self.last.weight

    def forward(self, image: Tensor, unit: Tensor, facts: Tensor) -> Tensor:
        """Return the estimate (batch, row, column) in model units; arguments as in `CoreNet.forward`, `unit` unused."""
        rows, columns = image.shape[-2:]
        known = self.known(facts[:, :CHANNELS])[..., None, None]
        h = self.activation(self.stem(F.pixel_unshuffle(pad_to_multiple(image[:, None], 2), 2)) + known)
        h = self.last(self.grow(h + self.gather(self.blocks(h))))
        return image + _SMALL * h[:, 0, :rows, :columns].float()


class _Block(nn.Module):
    """Two 3x3 convolutions with a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _he(nn.Conv2d(width, width, 3, padding=1))
        self.conv2 = _he(nn.Conv2d(width, width, 3, padding=1), part=0.1)
        self.activation = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.activation(self.conv1(x)))


def _he(layer: nn.Conv2d, *, part: float = 1.0) -> nn.Conv2d:
    """Return `layer` with the initial weights of He et al. for PReLUs, scaled by `part`, and zero bias."""
    assert layer.bias is not None
    nn.init.kaiming_normal_(layer.weight, a=0.25)  # the initial slope of PReLUs
    nn.init.zeros_(layer.bias)
    with torch.no_grad():
        layer.weight *= part
    return layer
