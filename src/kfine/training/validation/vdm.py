"""What the training of a VDM shows of itself: the validation figures and a sheet of samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kfine.diffusion.losses import NoisePredictor, bound
from kfine.diffusion.noise import SeededNoise
from kfine.diffusion.samplers import ancestral
from kfine.diffusion.schedules import learned
from kfine.methods.base import Draws
from kfine.methods.vdm import VDMMethod, VDMOptions, denoiser_of
from kfine.networks.vdm import VDM
from kfine.operators.kspace import KSpaceCrop, image_of
from kfine.training.config import ReportConfig
from kfine.training.data.volumes import SliceRef, Volumes, slices_with_tissue
from kfine.training.validation.base import psnr, spread_over, write_sheet


class Validation:
    """A few validation slices, spread over the subjects, restored again and again as training goes on.

    Args:
        paths: the validation volumes.
        report: how many slices, and from which matrix to which.
    """

    def __init__(self, paths: Sequence[Path], report: ReportConfig, *, memory_gib: float) -> None:
        volumes = Volumes(memory_gib)
        refs = slices_with_tissue(volumes, paths, of="validation")
        high, low = report.matrix[1], report.matrix[0]
        self.operator = KSpaceCrop((high, high), (low, low), real=True)
        planes = [_plane(volumes, ref, high) for ref in spread_over([r for r in refs if r], report.slices)]
        self.x = torch.stack(planes)
        self.y = self.operator(self.x)
        self.zero_filled_psnr = psnr(self.operator.pseudo_inverse(self.y), self.x)

    @torch.inference_mode()
    def figures(self, network: VDM, device: torch.device, *, conditioned: bool) -> dict[str, float]:
        """Return the bound in bits a pixel and the PSNR (dB, range 2) of restorations.

        "psnr_sample" and "psnr_mean" are of one sample and of the mean of four, 6 evaluations each.  For a
        network that is `conditioned` on scans, the bound is also given for images whose scan is known.
        """
        x = self.x.to(device)[:, None]
        figures = self._bits(network, x, network)
        if conditioned:
            condition = network.condition(self.operator.pseudo_inverse(self.y).to(device)[:, None])
            given = self._bits(lambda z, gamma: network(z, gamma, condition), x, network)
            figures["bits_total_given_scan"] = given["bits_total"]
        samples = self._restored(network, device, conditioned, count=4)
        return {
            **figures,
            "psnr_zero_filled": self.zero_filled_psnr,
            "psnr_sample": psnr(samples[:, 0], self.x),
            "psnr_mean": psnr(samples.mean(1), self.x),
        }

    def _bits(self, predictor: NoisePredictor, x: Tensor, network: VDM) -> dict[str, float]:
        generator = torch.Generator().manual_seed(0)
        parts = bound(predictor, network.gamma, x, generator).bits_per_dim()
        return {f"bits_{name}": value for name, value in parts.items()}

    def _restored(self, network: VDM, device: torch.device, conditioned: bool, *, count: int) -> Tensor:
        start = None if conditioned else 0.3
        options = VDMOptions(steps=6, samples=count, start=start, conditioned=conditioned)
        draws = Draws(tuple((index,) for index in range(len(self.x))), at_once=len(self.x))
        return VDMMethod(network, options, device=device).restore(self.operator, self.y, draws)


@torch.inference_mode()
def sample_sheet(network: VDM, path: Path, *, matrix: int, device: torch.device, steps: int = 50) -> None:
    """Write a PNG of four samples from pure noise."""
    sigmas = learned(network.gamma.cpu(), steps)
    network.to(device)
    noise = SeededNoise([(0, i) for i in range(4)])
    start = sigmas[0] * noise(torch.zeros(4, matrix, matrix, device=device))
    planes = ancestral(denoiser_of(network), start, sigmas, noise=noise)
    write_sheet(path, np.concatenate(list(planes.cpu().numpy()), axis=1))


def _plane(volumes: Volumes, ref: SliceRef, matrix: int) -> Tensor:
    image, scaling = volumes.get(ref.path)
    plane = torch.from_numpy(np.abs(image.voxels[ref.frame, ref.slice]))
    side = max(*plane.shape, matrix)
    square = torch.zeros(side, side)
    square[: plane.shape[0], : plane.shape[1]] = plane
    operator = KSpaceCrop((side, side), (matrix, matrix), real=True)
    return scaling.to_model(image_of(operator(square), operator))
