"""Validation of latent diffusion models during training: scanned and restored slices, figures, picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from kfine.acquisition.scan import Scan
from kfine.acquisition.timing import Timing
from kfine.image import Image
from kfine.intensity import AIR
from kfine.methods.base import Draws
from kfine.methods.ldm import CineLDMMethod, LDMOptions
from kfine.methods.regression import Projection, predict
from kfine.models.checkpoint import replace_bytes
from kfine.networks.ldm import CineLDM
from kfine.networks.vqgan import codebook_use
from kfine.operators.kspace import KSpaceCrop
from kfine.training.data.degradation import measured_matrix
from kfine.training.data.volumes import SliceRef, Volumes
from kfine.training.ldm_config import CineReportConfig


def spread_over(refs: Sequence[Sequence[SliceRef]], count: int) -> list[SliceRef]:
    """Return `count` slices, from the volumes in turn, evenly over the middle 80 % of each; the middle one of one."""
    turns = -(-count // len(refs))
    places = np.linspace(0.1, 0.9, turns) if turns > 1 else [0.5]
    return [volume[int(place * (len(volume) - 1))] for place in places for volume in refs][:count]


def psnr(x: Tensor, reference: Tensor) -> float:
    """Return the mean over planes of 10 log10(4 / mse): model units span [-1, 1]."""
    return float((10 * torch.log10(4 / (x - reference).square().flatten(1).mean(1))).mean())


def write_sheet(path: Path, sheet: NDArray[np.float32]) -> None:
    """Write a picture (row, column) in model units as a grey PNG."""
    import matplotlib.image

    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, sheet, cmap="gray", vmin=-1, vmax=1, format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_bytes(path, buffer.getvalue())


@dataclass(frozen=True)
class Case:
    """One slice: truth (frame, row, column), measurement (measured frame, *low), and the suffix of its figures."""

    x: Tensor
    y: Tensor
    scan: Scan
    suffix: str = ""


@dataclass(frozen=True)
class _Restored:
    """Images (frame, row, column) of a case by each part of the network, and the codes of the truth."""

    images: dict[str, Tensor]
    codes: Tensor | None


class LDMValidation:
    """Validation on a few slices.

    Args:
        cases: the slices.
        sampling: of the denoiser.
        baseline: name of the image that the regressor corrects, in the figures.
        frame: index of the frame in the picture.
    """

    def __init__(self, cases: Sequence[Case], *, sampling: LDMOptions, baseline: str, frame: int = 0) -> None:
        self.cases, self.sampling, self.baseline, self.frame = cases, sampling, baseline, frame

    def figures(self, network: CineLDM, device: torch.device) -> dict[str, float]:
        """Return PSNRs (dB, range 2, mean over frames and slices of one suffix) of the images of the network's parts.

        "psnr_" with the baseline's name is that of the image that the regressor corrects, "psnr_prediction" that of the
        corrected one, "psnr_codes" and "psnr_latents" those of the decoded true latents, with and without quantisation,
        "psnr_sample" and "psnr_mean" those of one sample and of the mean of several; all but the first are projected
        onto the measured k-space.  "codes_used" and "perplexity" are those of the true latents.
        """
        restored = [self._restored(network, number, device) for number in range(len(self.cases))]
        each: dict[str, list[float]] = {}
        for result, case in zip(restored, self.cases, strict=True):
            for name, image in result.images.items():
                each.setdefault(f"psnr_{name}{case.suffix}", []).append(psnr(image, case.x))
        figures = {name: float(np.mean(values)) for name, values in each.items()}
        codes = [r.codes.flatten() for r in restored if r.codes is not None]
        if codes and network.autoencoder and network.autoencoder.quantiser:
            use = codebook_use(torch.cat(codes), size=len(network.autoencoder.quantiser.codebook))
            figures |= {"codes_used": use.used, "perplexity": use.perplexity}
        return figures

    def sheet(self, network: CineLDM, path: Path, device: torch.device) -> None:
        """Write a PNG: truth and results of each slice, in one frame and, for several frames, along time."""
        rows = []
        for number, case in enumerate(self.cases):
            images = {"truth": case.x} | self._restored(network, number, device).images
            rows.append(torch.cat([x[self.frame] for x in images.values()], dim=1))
            if len(case.x) > 1:
                # The middle row, one frame below the other: an M-mode picture.
                lines = [x[:, x.shape[1] // 2].repeat_interleave(2, 0) for x in images.values()]
                rows.append(torch.cat(lines, dim=1))
        width = max(row.shape[1] for row in rows)
        sheet = torch.cat([F.pad(row, (0, width - row.shape[1]), value=AIR) for row in rows])
        write_sheet(path, sheet.numpy())

    @torch.inference_mode()
    def _restored(self, network: CineLDM, number: int, device: torch.device) -> _Restored:
        case = self.cases[number]
        network.to(device)
        project = Projection(case.scan, case.y)
        predicted = predict(network, project, device=device, precision=torch.float32)
        images = {
            self.baseline: network.blend(predicted.guided[None])[0].cpu(),
            "prediction": project.of_magnitudes(predicted.raw),
        }
        codes = None
        if network.autoencoder is not None:
            seen, x = predicted.projected[None], case.x[None].to(device)
            images["codes"] = project.of_magnitudes(network.decode(network.encode(x, seen), seen)[0])
            z = network.autoencoder.encode(x[0][:, None], seen[0][:, None])
            decoded = network.autoencoder.decode(z, seen[0][:, None])[:, 0].float()
            images["latents"] = project.of_magnitudes(decoded)
            codes = network.autoencoder.quantise(z).codes
        if network.denoiser is not None:
            method = CineLDMMethod(network, self.sampling, device=device)
            draws = Draws(((number,),), at_once=len(case.x))
            samples = method.restore(case.scan, case.y[None], draws)[0]
            images |= {"sample": samples[0], "mean": samples.mean(0)}
        return _Restored(images, codes)


def cine_case(volumes: Volumes, ref: SliceRef, report: CineReportConfig) -> Case:
    """Return the case of a slice's central part, with some of the frames measured at a smaller matrix."""
    x, image = _middle(volumes, ref, report.patch, frames=slice(None))
    crop = _crop(x, report.scale)
    at = image.frame_times or tuple(map(float, range(image.frames)))
    measured = range(0, image.frames, report.every)
    pairs = tuple((place, frame) for place, frame in enumerate(measured))
    timing = Timing(tuple(at[frame] for frame in measured), at, image.period, pairs)
    return Case(x, crop(x[list(measured)]), Scan(crop, timing))


def _middle(volumes: Volumes, ref: SliceRef, patch: int, *, frames: slice) -> tuple[Tensor, Image]:
    """Return `frames` of the central part of a slice in model units (frame, row, column), and the whole image."""
    image, scaling = volumes.get(ref.path)
    rows, columns = (slice(max(0, (n - patch) // 2), (n + patch) // 2) for n in image.matrix)
    planes = np.abs(image.voxels[frames, ref.slice, rows, columns])
    return scaling.to_model(torch.from_numpy(planes)), image


def _crop(x: Tensor, scale: float) -> KSpaceCrop:
    high = x.shape[-2], x.shape[-1]
    return KSpaceCrop(high, measured_matrix(high, (1 / scale, 1 / scale)), real=True)
