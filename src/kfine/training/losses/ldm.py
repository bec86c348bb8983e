"""Losses of the regressor and the denoiser of a latent diffusion model of cines, as modules for Fabric."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kfine.networks.ldm import CineLDM
from kfine.training.data.patches import Item


def projected(predicted: Tensor, zero_filled: Tensor, *, kept: Tensor, parts: Tensor) -> Tensor:
    """Return `predicted` with the low frequencies of `zero_filled` in the measured frames.

    For a whole image the projection is x + L (x_0 - x), with x_0 the zero-filled image and L = A^+ A the low-pass of
    the scan.  For a piece, L is applied to the piece mirrored at its borders: exact if L is the identity (fewer frames
    only), otherwise an approximation with errors near the borders.

    Args:
        predicted: (image, frame, row, column).
        zero_filled: frames of the same shape; ignored where not measured.
        kept: (image, frame) bool: the frames that were measured without error.
        parts: (image, 2): measured fractions of k-space along rows and columns.
    """
    missing = torch.where(kept[..., None, None], zero_filled - predicted, 0).float()
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
    """Return (image, n) bool: the frequencies, in the order of the FFT, inside the central fraction `part` (image,)."""
    # The outermost line of an even block is measured on one side only (decision 2): it counts as outside.
    inside = torch.fft.fftfreq(n, device=part.device).abs() < 0.5 * part[:, None]
    return inside | (part[:, None] >= 1)


FLOOR = 1e-3  # mean squared error in model units, 36 dB: smaller errors are mostly noise


class RegressionObjective(nn.Module):
    """Least squares of the prediction and of its projection onto the measurement, which later stages use.

    The error of each image is relative to that of the blend of its guide: squared errors of small, noisy scans are a
    hundred times larger than those of good ones and would otherwise dominate.
    """

    def __init__(self, network: CineLDM) -> None:
        super().__init__()
        self.network = network

    def forward(self, item: Item) -> dict[str, Tensor]:
        """Return the loss, and its parts for the log; because of the floor "relative" is below 1 from the start.

        "mse" and "mse_held" are the mean squared errors of the prediction before and after the projection.
        """
        predicted = self.network.predict(item.guide, cyclic=bool(item.cyclic))
        mse, mse_held, blend = (
            (x - item.x).square().flatten(1).mean(1)
            for x in (
                predicted,
                projected_on_scan(predicted, item),
                projected_on_scan(self.network.blend(item.guide), item),
            )
        )
        weight = (blend + FLOOR).reciprocal()
        relative = (weight * mse_held).mean()
        loss = relative + (weight * mse).mean()
        return {"loss": loss, "relative": relative, "mse": mse.mean(), "mse_held": mse_held.mean()}


@torch.no_grad()
def conditioning(network: CineLDM, item: Item) -> Tensor:
    """Return the conditioning of autoencoder and denoiser: the projected prediction (image, frame, row, column)."""
    return projected_on_scan(network.predict(item.guide, cyclic=bool(item.cyclic)), item)


class DenoiserObjective(nn.Module):
    """The weighted denoising loss of Karras et al. 2022, equation 8 and table 1, for latents of unit variance."""

    def __init__(self, network: CineLDM) -> None:
        super().__init__()
        self.network = network

    def forward(self, item: Item, sigma: Tensor, noise: Tensor) -> Tensor:
        """Return lambda(sigma) ||D(z + sigma n) - z||^2, a mean over everything.

        Args:
            item: the clips.
            sigma: (image * level,), levels varying fastest.
            noise: n, of the shape of len(sigma) latents.
        """
        with torch.no_grad():
            seen = conditioning(self.network, item)
            z = self.network.encode(item.x, seen)
            condition = self.network.condition(seen, item.guide)
            z, condition = (part.repeat_interleave(len(sigma) // len(z), 0) for part in (z, condition))
        s = sigma[:, None, None, None, None]
        denoised = self.network.denoise(z + s * noise, sigma, condition, cyclic=bool(item.cyclic))
        # lambda = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 with sigma_data = 1
        return ((1 + s.square().reciprocal()) * (denoised - z).square()).mean()


def projected_on_scan(predicted: Tensor, item: Item) -> Tensor:
    """Return `predicted` (image, frame, row, column) projected on the scan, if its k-space is that of the truth."""
    clean = item.kept & item.exact[:, None]
    return projected(predicted, item.guide[:, 0], kept=clean, parts=item.parts)
