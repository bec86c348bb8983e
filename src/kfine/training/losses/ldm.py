"""Losses of the regressor and the denoiser of a latent diffusion model, as modules, to be spread over devices."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kfine.networks.ldm import CineLDM
from kfine.training.data.patches import Item


def held(predicted: Tensor, seen: Tensor, *, kept: Tensor, parts: Tensor) -> Tensor:
    """Return `predicted` with the low frequencies of `seen` in the frames that were measured.

    Of a whole image the projection is x + L (x_0 - x), with x_0 the zero-filled image and L = A^+ A the low-pass of
    the scan.  A piece has no k-space of its own: L is taken of the piece mirrored at its borders.  Where L is the
    identity (time only) this is exact; elsewhere it is near, but for the borders.

    Args:
        predicted: (image, frame, row, column).
        seen: the zero-filled frames, of the same shape; not looked at where they were not measured.
        kept: (image, frame) bool: which frames were measured, without error.
        parts: (image, 2): which part of each k-space direction was measured.
    """
    missing = torch.where(kept[..., None, None], seen - predicted, 0).float()
    return predicted + low_pass(missing, parts)


def low_pass(x: Tensor, parts: Tensor) -> Tensor:
    """Return `x` (image, frame, row, column) without the frequencies outside the middle `parts` (image, 2)."""
    rows, columns = x.shape[-2:]
    mirrored = torch.cat([x, x.flip(-1)], dim=-1)
    mirrored = torch.cat([mirrored, mirrored.flip(-2)], dim=-2)
    inside = [_inside(2 * n, parts[:, axis])[:, None, ...] for axis, n in enumerate((rows, columns))]
    mask = inside[0][..., :, None] & inside[1][..., None, :]
    return torch.fft.ifft2(torch.fft.fft2(mirrored) * mask).real[..., :rows, :columns]


def _inside(n: int, part: Tensor) -> Tensor:
    """Return (image, n) bool: which of n frequencies, in the order of the FFT, lie in the middle `part` (image,)."""
    # Of an even block the outermost line is measured on one side only (decision 2): it counts as outside.
    inside = torch.fft.fftfreq(n, device=part.device).abs() < 0.5 * part[:, None]
    return inside | (part[:, None] >= 1)


FLOOR = 1e-3  # mean squared error in model units, 36 dB: below it what is missing is mostly noise, and teaches little


class RegressionObjective(nn.Module):
    """Least squares: of the prediction, and of the prediction held to what was measured, which is what is used.

    Each image counts relative to what the blend of its guide has wrong: an image of a small, noisy scan has a hundred
    times the squared error of one that lacks little, and would else be all that is learned.
    """

    def __init__(self, network: CineLDM) -> None:
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
def shown(network: CineLDM, item: Item) -> Tensor:
    """Return what autoencoder and denoiser are shown: the prediction (image, frame, row, column), held to the scan."""
    return held_to_scan(network.predict(item.guide, cyclic=bool(item.cyclic)), item)


class DenoiserObjective(nn.Module):
    """The weighed denoising loss of Karras et al. 2022, equation 8 and table 1, for latents of unit variance."""

    def __init__(self, network: CineLDM) -> None:
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
