"""SRResNet: the generator of SRGAN, and by itself the regression that it starts from."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfine.networks.blocks import Stem, blind_to_brightness, pad_to_multiple, zeroed
from kfine.networks.core import CHANNELS

_SMALL = 0.1  # of the output: corrections are about a tenth of an image's contrast


@final
class SRResNet(nn.Module):
    """The zero-filled image of single planes, and a correction of it; called as the core network is.

    Ledig et al., Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, CVPR 2017,
    figure 4: residual blocks on a grid of half the output's, then sub-pixel upsampling (Shi et al. 2016).  Different:

    - The input is on the output's grid, already zero-filled, and comes to the coarse grid by pixel-unshuffle, which
      loses nothing.  At x2 that is the paper's own grid; at every other scale the weights are the same.
    - What is known of the scan, first of all its scale, is added to the first features.
    - No batch normalisation: Lim et al., EDSR (CVPR Workshops 2017), show that the same network is better without.
      Without it the start matters (decision 12): weights by He et al. (ICCV 2015), a tenth of that where a block
      ends, as in ESRGAN (Wang et al. 2018), whose supplement has the reasons.
    - The last convolution is of 3x3 as EDSR's, starts at zero, and its output counts a tenth: of 9x9, each update
      moves 5184 weights at once, which is more than the whole correction.

    Args:
        width: channels of the blocks; 64 in the paper.
        blocks: how many; 16 in the paper.
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
        """The weight of the last layer, by which the adversarial loss is weighed."""
        return self.last.weight

    def forward(self, image: Tensor, unit: Tensor, facts: Tensor) -> Tensor:
        """Return the estimate (batch, row, column) in model units; arguments as in `CoreNet.forward`, `unit` unused."""
        rows, columns = image.shape[-2:]
        known = self.known(facts[:, :CHANNELS])[..., None, None]
        h = self.activation(self.stem(F.pixel_unshuffle(pad_to_multiple(image[:, None], 2), 2)) + known)
        h = self.last(self.grow(h + self.gather(self.blocks(h))))
        return image + _SMALL * h[:, 0, :rows, :columns].float()


class _Block(nn.Module):
    """Two 3x3 convolutions around a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _he(nn.Conv2d(width, width, 3, padding=1))
        self.conv2 = _he(nn.Conv2d(width, width, 3, padding=1), part=0.1)
        self.activation = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.activation(self.conv1(x)))


def _he(layer: nn.Conv2d, *, part: float = 1.0) -> nn.Conv2d:
    """Return `layer` with the weights of He et al. for PReLUs, or a `part` of them, and without bias."""
    assert layer.bias is not None
    nn.init.kaiming_normal_(layer.weight, a=0.25)  # the slope that PReLUs start with
    nn.init.zeros_(layer.bias)
    with torch.no_grad():
        layer.weight *= part
    return layer
