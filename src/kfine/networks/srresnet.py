"""SRResNet: the generator of SRGAN, and by itself the regression that it starts from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfine.networks.blocks import Stem, pad_to_multiple, zeroed

_SMALL = 0.1  # of the output: corrections are about a tenth of an image's contrast


class SRResNet(nn.Module):
    """Map (batch, inputs, frame, row, column) to (batch, 1, frame, row, column), frames one by one.

    Ledig et al., Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, CVPR 2017,
    figure 4: residual blocks on a grid of half the output's, then sub-pixel upsampling (Shi et al. 2016).  Different:

    - The input is on the output's grid, already zero-filled, and comes to the coarse grid by pixel-unshuffle, which
      loses nothing.  At x2 that is the paper's own grid; at every other scale the weights are the same.
    - No batch normalisation: Lim et al., EDSR (CVPR Workshops 2017), show that the same network is better without.
      Without it the start matters (decision 12): weights by He et al. (ICCV 2015), a tenth of that where a block
      ends, as in ESRGAN (Wang et al. 2018), whose supplement has the reasons.
    - The last convolution is of 3x3 as EDSR's, starts at zero, and its output counts a tenth: of 9x9, each update
      moves 5184 weights at once, which is more than the whole correction; what calls the network adds the
      zero-filled image.

    Args:
        inputs: channels of the input.
        width: channels of the blocks; 64 in the paper.
        blocks: how many; 16 in the paper.
    """

    def __init__(self, *, inputs: int, width: int = 64, blocks: int = 16) -> None:
        super().__init__()
        self.stem = Stem(4 * inputs, width, 9, padding=4)
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

    def forward(self, x: Tensor, *, cyclic: bool) -> Tensor:
        """Return the network's output on the grid of `x`; `cyclic` says nothing to frames taken one by one."""
        (batch, _, frames), (rows, columns) = x.shape[:3], x.shape[3:]
        h = F.pixel_unshuffle(pad_to_multiple(x.transpose(1, 2).flatten(0, 1), 2), 2)
        h = self.activation(self.stem(h))
        h = self.last(self.grow(h + self.gather(self.blocks(h))))[..., :rows, :columns]
        return _SMALL * h.unflatten(0, (batch, frames)).transpose(1, 2)


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
