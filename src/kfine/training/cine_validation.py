"""What the training of a cine model shows of itself: slices of the validation cines, scanned and restored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kfine.methods.base import Draws
from kfine.methods.cine_ldm import CineLDMMethod, CineLDMOptions
from kfine.methods.cine_regression import Projection, predict
from kfine.methods.scan import Scan, Timing
from kfine.networks.cine_ldm import CineLDM
from kfine.networks.quantiser import codebook_use
from kfine.operators.kspace import KSpaceCrop
from kfine.training.cine_config import CineReportConfig
from kfine.training.cine_data import Cines
from kfine.training.cine_degradation import measured_matrix
from kfine.training.cine_items import AIR
from kfine.training.data import SliceRef, Volumes
from kfine.training.validation import psnr, spread_over, write_sheet


@dataclass(frozen=True)
class _Case:
    """One slice: the truth (frame, row, column), and its measurement (kept frame, *low)."""

    x: Tensor
    y: Tensor
    scan: Scan


@dataclass(frozen=True)
class _Restored:
    """What becomes of a case by each way the network knows, (frame, row, column) each; the codes of the truth."""

    images: dict[str, Tensor]
    codes: Tensor | None


class CineValidation:
    """A few slices of the validation cines, restored again and again as training goes on."""

    def __init__(self, cines: Cines, report: CineReportConfig) -> None:
        self.report = report
        self.cases = [
            _case(cines.volumes, ref, report) for ref in spread_over(cines.validation, report.slices)
        ]

    def figures(self, network: CineLDM, device: torch.device) -> dict[str, float]:
        """Return PSNRs (dB, range 2, mean over frames and slices) of whatever the network can do.

        "psnr_flow" is of zero filling and optical flow, "psnr_prediction" of the regressor, "psnr_codes" and
        "psnr_latents" what the autoencoder would give were its latents known, with and without quantisation,
        "psnr_sample" and "psnr_mean" of one sample and of the mean of some; all but the first projected onto the
        measured k-space.  "codes_used" and "perplexity" are of the true latents.
        """
        restored = [self._restored(network, number, device) for number in range(len(self.cases))]
        figures = {}
        for name in restored[0].images:
            each = [psnr(r.images[name], case.x) for r, case in zip(restored, self.cases, strict=True)]
            figures[f"psnr_{name}"] = float(np.mean(each))
        codes = [r.codes for r in restored if r.codes is not None]
        if codes and network.autoencoder and network.autoencoder.quantiser:
            use = codebook_use(torch.cat(codes), size=len(network.autoencoder.quantiser.codebook))
            figures |= {"codes_used": use.used, "perplexity": use.perplexity}
        return figures

    def sheet(self, network: CineLDM, path: Path, device: torch.device) -> None:
        """Write a PNG: for each slice the truth and every result, in a frame that was left out and along time."""
        rows = []
        frame = 1 if self.report.every > 1 else 0
        for number, case in enumerate(self.cases):
            images = {"truth": case.x} | self._restored(network, number, device).images
            still = [x[frame] for x in images.values()]
            # A line through the middle, a frame below the other: an M-mode picture.
            lines = [x[:, x.shape[1] // 2].repeat_interleave(2, 0) for x in images.values()]
            rows += [torch.cat(still, dim=1), torch.cat(lines, dim=1)]
        # Cines may differ in their matrix.
        widest = max(row.shape[1] for row in rows)
        sheet = torch.cat([F.pad(row, (0, widest - row.shape[1]), value=AIR) for row in rows])
        write_sheet(path, sheet.numpy())

    @torch.inference_mode()
    def _restored(self, network: CineLDM, number: int, device: torch.device) -> _Restored:
        case = self.cases[number]
        network.to(device)
        project = Projection(case.scan, case.y)
        predicted = predict(network, project, device=device, precision=torch.float32)
        before, after, part = predicted.guided.cpu()
        images = {"flow": torch.lerp(before, after, part), "prediction": predicted.held.cpu()}
        codes = None
        if network.autoencoder is not None:
            seen, x = predicted.held[None], case.x[None].to(device)
            images["codes"] = project(network.decode(network.encode(x, seen), seen)[0])
            z = network.autoencoder.encode(x[0][:, None], seen[0][:, None])
            images["latents"] = project(network.autoencoder.decode(z, seen[0][:, None])[:, 0].float())
            codes = network.autoencoder.quantise(z).codes
        if network.denoiser is not None:
            options = CineLDMOptions(steps=self.report.steps, samples=self.report.samples)
            method = CineLDMMethod(network, options, device=device)
            draws = Draws(((number,),), at_once=len(case.x))
            samples = method.restore(case.scan, case.y[None], draws)[0]
            images |= {"sample": samples[0], "mean": samples.mean(0)}
        return _Restored(images, codes)


def _case(volumes: Volumes, ref: SliceRef, report: CineReportConfig) -> _Case:
    image, scaling = volumes.get(ref.path)
    rows, columns = (slice(max(0, (n - report.patch) // 2), (n + report.patch) // 2) for n in image.matrix)
    planes = np.abs(image.voxels[:, ref.slice, rows, columns])
    x = scaling.to_model(torch.from_numpy(planes))
    high = x.shape[-2], x.shape[-1]
    crop = KSpaceCrop(high, measured_matrix(high, (1 / report.scale, 1 / report.scale)), real=True)
    at = image.frame_times or tuple(map(float, range(image.frames)))
    kept = range(0, image.frames, report.every)
    pairs = tuple((place, frame) for place, frame in enumerate(kept))
    timing = Timing(tuple(at[frame] for frame in kept), at, image.period, pairs)
    return _Case(x, crop(x[list(kept)]), Scan(crop, timing))
