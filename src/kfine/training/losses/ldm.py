"""What regressor and denoiser of a latent diffusion model minimise, as modules, to be spread over devices."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kfine.networks.residual_ldm import ResidualLDM
from kfine.training.data.patches import Item
from kfine.training.losses.patch_projection import held

FLOOR = 1e-3  # mean squared error in model units, 36 dB: below it what is missing is mostly noise, and teaches little


class RegressionObjective(nn.Module):
    """Least squares: of the prediction, and of the prediction held to what was measured, which is what is used.

    Each image counts relative to what the blend of its guide has wrong: an image of a small, noisy scan has a hundred
    times the squared error of one that lacks little, and would else be all that is learned.
    """

    def __init__(self, network: ResidualLDM) -> None:
        super().__init__()
        self.network = network

    def forward(self, item: Item) -> dict[str, Tensor]:
        """Return the loss, and its parts for the log: "relative" is below 1 from the start, by the floor.

        "mse" and "mse_held" are the mean squared errors of the prediction and of the one held to clean measurements.
        """
        predicted = self.network.predict(item.guide, cyclic=bool(item.cyclic))
        mse, mse_held, blend = (
            (x - item.x).square().flatten(1).mean(1)
            for x in (
                predicted,
                held_to_scan(predicted, item),
                held_to_scan(self.network.blend(item.guide), item),
            )
        )
        weight = (blend + FLOOR).reciprocal()
        relative = (weight * mse_held).mean()
        loss = relative + (weight * mse).mean()
        return {"loss": loss, "relative": relative, "mse": mse.mean(), "mse_held": mse_held.mean()}


@torch.no_grad()
def shown(network: ResidualLDM, item: Item) -> Tensor:
    """Return what autoencoder and denoiser are shown: the prediction (image, frame, row, column), held to the scan."""
    return held_to_scan(network.predict(item.guide, cyclic=bool(item.cyclic)), item)


class DenoiserObjective(nn.Module):
    """The weighed denoising loss of Karras et al. 2022, equation 8 and table 1, for latents of unit variance."""

    def __init__(self, network: ResidualLDM) -> None:
        super().__init__()
        self.network = network

    def forward(self, item: Item, sigma: Tensor, noise: Tensor) -> Tensor:
        """Return lambda(sigma) ||D(z + sigma n) - z||^2, a mean over everything.

        Args:
            item: the clips.
            sigma: (image * level,), levels counting fastest.
            noise: n, of the shape of that many latents.
        """
        with torch.no_grad():
            seen = shown(self.network, item)
            z = self.network.encode(item.x, seen)
            condition = self.network.condition(seen, item.guide)
            z, condition = (part.repeat_interleave(len(sigma) // len(z), 0) for part in (z, condition))
        s = sigma[:, None, None, None, None]
        denoised = self.network.denoise(z + s * noise, sigma, condition, cyclic=bool(item.cyclic))
        # lambda = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 with sigma_data = 1
        return ((1 + s.square().reciprocal()) * (denoised - z).square()).mean()


def held_to_scan(predicted: Tensor, item: Item) -> Tensor:
    """Return `predicted` (image, frame, row, column) held to the scan, where that is the truth's own k-space."""
    clean = item.kept & item.exact[:, None]
    return held(predicted, item.guide[:, 0], kept=clean, parts=item.parts)
