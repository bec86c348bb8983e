"""What the training of a cine model shows of itself: slices of the validation cines, scanned and restored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kfine.diffusion.noise import SeededNoise
from kfine.diffusion.samplers import dpm_solver_2m
from kfine.diffusion.schedules import uniform_in_gamma
from kfine.methods.cine_guide import guide
from kfine.networks.cine_ldm import CineLDM
from kfine.networks.quantiser import codebook_use
from kfine.operators.base import Operator
from kfine.operators.frames import KeepFrames
from kfine.operators.kspace import KSpaceCrop
from kfine.training.cine_config import CineReportConfig
from kfine.training.cine_data import Cines
from kfine.training.cine_scan import measured_matrix
from kfine.training.data import SliceRef, Volumes
from kfine.training.validation import psnr, spread_over, write_sheet

# Where sampling starts and ends while training, in units of the latents' standard deviation: from next to nothing of
# the prediction's latent down to well below what quantisation changes.
FIRST, LAST = 10.0, 0.03


@dataclass(frozen=True)
class _Case:
    """One slice: the truth x (frame, row, column), its measurement, and its guide (3, frame, row, column)."""

    x: Tensor
    y: Tensor
    operator: Operator
    guide: Tensor
    cyclic: bool

    @property
    def blend(self) -> Tensor:
        before, after, t = self.guide
        return torch.lerp(before, after, t)

    def project(self, x: Tensor) -> Tensor:
        return self.operator.project(x.cpu(), self.y)


class CineValidation:
    """A few slices of the validation cines, restored again and again as training goes on."""

    def __init__(self, cines: Cines, report: CineReportConfig) -> None:
        self.report = report
        refs = spread_over(cines.validation, report.slices)
        self.cases = [_case(cines.volumes, ref, report) for ref in refs]

    def figures(self, network: CineLDM, device: torch.device) -> dict[str, float]:
        """Return PSNRs (dB, range 2, mean over frames and slices) of whatever the network can do.

        "psnr_flow" is of zero filling and optical flow, "psnr_prediction" of the regressor, "psnr_codes" and
        "psnr_latents" what the autoencoder would give were its latents known, with and without quantisation,
        "psnr_sample" and "psnr_mean" of one sample and of their mean; all but the first projected onto the measured
        k-space.  "codes_used" and "perplexity" are of the true latents.
        """
        results = [self._restored(network, case, number, device) for number, case in enumerate(self.cases)]
        figures = {
            f"psnr_{name}": float(
                np.mean([psnr(r[name], case.x) for r, case in zip(results, self.cases, strict=True)])
            )
            for name in results[0]
        }
        return figures | self._codebook(network, device)

    def sheet(self, network: CineLDM, path: Path, device: torch.device) -> None:
        """Write a PNG: for each slice the truth and every result, in a frame that was left out and along time."""
        rows = []
        for number, case in enumerate(self.cases):
            shown = {"truth": case.x} | self._restored(network, case, number, device)
            frame = 1 if self.report.every > 1 else 0
            still = np.concatenate([x[frame].numpy() for x in shown.values()], axis=1)
            middle = [x[:, x.shape[1] // 2].repeat_interleave(2, 0).numpy() for x in shown.values()]
            rows += [still, np.concatenate(middle, axis=1)]
        write_sheet(path, np.concatenate(rows, axis=0))

    @torch.inference_mode()
    def _restored(
        self, network: CineLDM, case: _Case, number: int, device: torch.device
    ) -> dict[str, Tensor]:
        """Return what becomes of a case by each way the network knows: (frame, row, column) on the CPU."""
        network.to(device)
        guided = case.guide[None].to(device)
        predicted = case.project(network.predict(guided, cyclic=case.cyclic)[0])
        results = {"flow": case.blend, "prediction": predicted}
        seen = predicted[None].to(device)
        if network.autoencoder is not None:
            x = case.x[None].to(device)
            results["codes"] = case.project(network.decode(network.encode(x, seen), seen)[0])
            images, shown = x[0][:, None], seen[0][:, None]
            plain = network.autoencoder.decode(network.autoencoder.encode(images, shown), shown)
            results["latents"] = case.project(plain[:, 0].float())
        if network.denoiser is not None:
            samples = torch.stack([case.project(s) for s in self._samples(network, case, seen, number)])
            results |= {"sample": samples[0], "mean": samples.mean(0)}
        return results

    def _samples(self, network: CineLDM, case: _Case, seen: Tensor, number: int) -> Tensor:
        """Return samples (sample, frame, row, column) drawn from the prediction's latent and noise."""
        count = self.report.samples
        condition = network.condition(seen, case.guide[None, 2, :, 0, 0].to(seen.device))
        origin = network.encode(seen, seen)
        drawn = []
        for sample in range(count):
            noise = SeededNoise([(number, sample)], pairs=True)
            sigmas = uniform_in_gamma(FIRST, LAST, self.report.steps).to(seen)
            z = dpm_solver_2m(
                lambda z, sigma: network.denoise(z, sigma, condition, cyclic=case.cyclic),
                origin + sigmas[0] * noise(origin),
                sigmas,
                noise=noise,
            )
            drawn.append(network.decode(z, seen)[0])
        return torch.stack(drawn)

    @torch.inference_mode()
    def _codebook(self, network: CineLDM, device: torch.device) -> dict[str, float]:
        autoencoder = network.autoencoder
        if autoencoder is None or autoencoder.quantiser is None:
            return {}
        codes = []
        for case in self.cases:
            seen = case.project(network.predict(case.guide[None].to(device), cyclic=case.cyclic)[0])
            z = autoencoder.encode(case.x[:, None].to(device), seen[:, None].to(device))
            codes.append(autoencoder.quantiser.nearest(z.movedim(1, -1).flatten(0, 2)))
        use = codebook_use(torch.cat(codes), size=len(autoencoder.quantiser.codebook))
        return {"codes_used": use.used, "perplexity": use.perplexity}


def _case(volumes: Volumes, ref: SliceRef, report: CineReportConfig) -> _Case:
    image, scaling = volumes.get(ref.path)
    planes = np.abs(image.voxels[:, ref.slice])
    rows, columns = (slice(max(0, (n - report.patch) // 2), (n + report.patch) // 2) for n in image.matrix)
    x = scaling.to_model(torch.from_numpy(planes[:, rows, columns].copy()))
    matrix = x.shape[-2], x.shape[-1]
    crop = KSpaceCrop(matrix, measured_matrix(matrix, (1 / report.scale,) * 2), real=True)
    every = min(report.every, image.frames)
    operator = crop @ KeepFrames(tuple(x.shape), every, real=True)
    y = operator(x)
    times = image.frame_times or tuple(map(float, range(image.frames)))
    guided = guide(y, crop, times[::every], times, period=image.period)
    return _Case(x, y, operator, guided, image.period is not None)
