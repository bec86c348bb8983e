"""Loss of the standard deviation of the core network's error: Gaussian negative log-likelihood."""

from __future__ import annotations

from torch import Tensor, nn

from kfine.methods.uncertainty import deviation
from kfine.networks.core import ErrorNet
from kfine.training.data.core_patches import Sample


class UncertaintyObjective(nn.Module):
    """Negative log-likelihood of the error of the frozen core network, a normal variable of mean 0.

    A proper score: it is least in expectation at the true standard deviation (Gneiting and Raftery, JASA 2007).

    Args:
        network: to train.
    """

    def __init__(self, network: ErrorNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, sample: Sample) -> dict[str, Tensor]:
        """Return the loss, in nats a voxel, and the root mean square of error over standard deviation."""
        network = self.network
        scan = (sample.image, sample.unit, sample.facts)
        mean = network.mean(*scan)
        error = (sample.target - mean) / sample.unit[:, None, None]
        std = deviation(network(*scan, mean))
        ratio = error / std
        loss = (std.log() + ratio.square() / 2).mean()
        return {"loss": loss, "ratio": ratio.detach().square().mean().sqrt()}
