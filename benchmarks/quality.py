"""What scanners deliver, of every contrast: gains over the better of zero filling and bicubic, by subject.

The references are the validation images of configs/core.toml, at their true resolution.  Each is scanned as a
magnitude image with a random phase, and besides as theory has it (signed), as raw k-space with noise (complex, against
a reference that shares the noise of its measured block), and with noise that stays or that is removed.

PSNR (dB) is pooled over the whole slices and, "head", over the body; SSIM is a mean over slices; both baselines are
without negative values.  "gain" is over the better baseline: mean over subjects (least).

python benchmarks/quality.py --data DATA [--config configs/core.toml] [--method core ...] [--model FOLDER] [--planes 4]
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from common import machine

import kfine
from kfine.degradation.scanner import smooth_phase
from kfine.evaluation.comparison import compare
from kfine.image import Image, magnitude
from kfine.restoration.options import Options, without_use
from kfine.training.config import CoreTrainingConfig, read_training_config
from kfine.training.data.core_patches import load_volumes

BASELINES = ("zero-filling", "bicubic")
GREY = 1000.0  # scanner units of full intensity


@dataclass(frozen=True)
class Setting:
    """A row of the table.

    Attributes:
        title: its name.
        sources: folders of the configuration whose validation images are taken.
        high: matrix of the reference's longer side; None: its true one.
        scale: how many times smaller the scan's matrix is.
        kind: "magnitude", "signed", "raw" (complex with noise), "noisy" or "denoise".
        noise: standard deviation, of full intensity.
        air: whether the reference has its whole matrix; otherwise it is cropped to the object.
    """

    title: str
    sources: tuple[str, ...]
    high: int | None
    scale: float
    kind: str = "magnitude"
    noise: float = 0.0
    air: bool = False


T1, OTHERS = ("brain_t1w",), ("brain_ms_thick", "brain_whole_t1", "brain_whole_t2", "brain_stroke")
HEADS = ("brain_ms_thick", "brain_whole_t1", "brain_whole_t2")
HEARTS = ("heart_scout", "heart_frames/images", "cine_dicom")
SETTINGS = [
    Setting("T1 brain, 64 to 128", T1, 128, 2),
    Setting("T1 brain, 32 to 128", T1, 128, 4),
    Setting("T1 brain, 128 to 256", T1, 256, 2),
    *(Setting(f"T1 brain, whole matrix, {128 // n} to 128", T1, 128, n, air=True) for n in (2, 4)),
    *(Setting(f"FLAIR, T2, T1, skull on, x{scale}", OTHERS, None, scale) for scale in (2, 4)),
    *(Setting(f"FLAIR slices, x{scale}", ("brain_flair_soop",), None, scale) for scale in (2, 4)),
    *(Setting(f"hearts, x{scale}", HEARTS, None, scale) for scale in (2, 4)),
    *(Setting(f"T1 brain, signed, x{scale}", T1, 128, scale, "signed") for scale in (2, 4)),
    *(
        Setting(f"raw k-space, {noise:.0%} noise, x{scale}", HEADS, None, scale, "raw", noise)
        for scale in (2, 4)
        for noise in (0.01, 0.03)
    ),
    Setting("3 % noise, x2, against the noisy reference", (*T1, *HEADS), None, 2, "noisy", 0.03),
    Setting("3 % noise, x2, removed, against the clean one", (*T1, *HEADS), None, 2, "denoise", 0.03),
]


def main() -> None:
    options = _options()
    warnings.simplefilter("ignore")
    config = read_training_config(options.config, CoreTrainingConfig)
    validation = {air: _validation(options.data, config, air) for air in {s.air for s in chosen(options)}}
    print(f"# {machine()}; {options.planes} planes a volume, seed 0; PSNR (dB) / SSIM, mean over volumes")
    names = (*BASELINES, *options.method)
    heads = (
        "scan",
        "volumes",
        *names,
        *(f"gain of {n}, whole" for n in options.method),
        *(f"{n}, head" for n in options.method),
    )
    print("| " + " | ".join((*heads, "SSIM above both", "s a plane")) + " |")
    print("| --- " * (len(heads) + 2) + "|")
    rows = []
    for setting in chosen(options):
        found = [
            _scores(setting, *pair, options)
            for pair in references(setting, config, validation[setting.air], options.planes)
        ]
        rows.append({"setting": setting.title, "volumes": found})
        print(_line(setting, found, options.method), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")


def chosen(options):
    """Return the settings that `--only` selects."""
    return [s for s in SETTINGS if not options.only or any(part in s.title for part in options.only)]


def _validation(folder, config, air):
    """Return the validation volumes, cropped to the object; with `air` those of T1 brains with their whole matrix."""
    if not air:
        return load_volumes(folder, config.data)[1]
    parts = {
        "sources": tuple(s for s in config.data.sources if s.folder in T1),
        "validation": tuple(p for p in config.data.validation if p.split("/")[0] in T1),
    }
    return load_volumes(folder, config.data.model_copy(update=parts), margin=1.0)[1]


def references(setting, config, validation, planes):
    """Yield (name, reference) of each validation volume of the setting's sources; of pictures, all in one image."""
    for name, group in zip(validation.names, validation.groups, strict=True):
        source = next(s for s in config.data.sources if _name(s) == name)
        if source.folder not in setting.sources:
            continue
        pictures = all(len(volume.voxels) == 1 for volume in group)
        chosen = group[:: max(1, len(group) // planes)][:planes] if pictures else group[:4]
        for number, volume in enumerate(chosen):
            voxels, count = volume.voxels, 1 if pictures else planes
            tissue = np.flatnonzero((voxels > 0.1).mean((1, 2)) > 0.05)
            places = tissue[(np.linspace(0.25, 0.75, count) * (len(tissue) - 1)).round().astype(int)]
            image = Image(voxels[None, np.unique(places)] * GREY, np.diag([*volume.spacing, 1.0]))
            size = max(image.matrix)
            if setting.high and setting.high < size:
                matrix = tuple(round(n * setting.high / size) for n in image.matrix)
                image = kfine.degrade(image, matrix=matrix)
            yield f"{name} {number}", image


def _name(source):
    import re

    return "-".join(re.findall(r"\w+", f"{source.folder} {source.files}"))


def _scores(setting, name, reference, options):
    low, reference = scanned(setting, reference)
    row = {"volume": name}
    for method in (*BASELINES, *options.method):
        extra = {} if method in BASELINES else {"model": options.model} if options.model else {}
        if "effort" not in without_use(Options(effort="best"), method):
            extra |= {"effort": options.effort}
        if setting.kind == "denoise" and "denoise" not in without_use(Options(denoise=True), method):
            extra |= {"denoise": True, "noise": setting.noise}
        began = time.perf_counter()
        restored = magnitude(kfine.restore(low, matrix=reference.matrix, method=method, **extra).mean)
        seconds = time.perf_counter() - began
        restored = replace(
            restored, voxels=np.maximum(restored.voxels, 0 if setting.kind != "signed" else -1e9)
        )
        result = compare(magnitude(reference), restored)
        row[method] = {"psnr": result.pooled_whole, "head": result.pooled_inside, "ssim": result.whole.ssim}
        row[method]["seconds"] = seconds / reference.slices
    return row


def scanned(setting, reference):
    """Return the scan, and the reference that shares its noise where it stays."""
    scale = {"scale": setting.scale}
    if setting.kind in ("magnitude", "signed"):
        return kfine.degrade(reference, **scale, signed=setting.kind == "signed"), reference
    rng = np.random.default_rng(0)
    shape, full = reference.voxels.shape, np.quantile(reference.voxels, 0.999) / 0.9
    phase = np.stack(
        [smooth_phase(reference.matrix, torch.Generator().manual_seed(n)).numpy() for n in range(shape[1])]
    )
    thing = reference.voxels * np.exp(1j * phase[None])
    # White noise over all of k-space, whose centre is the scan's; in a voxel of the coarse image `noise`.
    noise = full * setting.noise * setting.scale
    drawn = noise * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    noisy = reference.with_plane((thing + drawn).astype(np.complex64))
    low = kfine.degrade(noisy, **scale)
    if setting.kind == "raw":
        return low, _with_noise_of(low, thing, noisy, reference)
    target = (
        reference if setting.kind == "denoise" else magnitude(_with_noise_of(low, thing, noisy, reference))
    )
    return magnitude(low), target


def _with_noise_of(low, thing, noisy, reference):
    """Return the complex reference with the noise inside the measured block alone."""
    clean = kfine.degrade(reference.with_plane(thing.astype(np.complex64)), matrix=low.matrix)
    noise = low.with_plane(low.voxels - clean.voxels)
    filled = kfine.restore(noise, matrix=reference.matrix, method="zero-filling").mean.voxels
    return reference.with_plane((thing + filled).astype(np.complex64))


def _line(setting, found, methods):
    names = (*BASELINES, *methods)
    cells = [setting.title, str(len(found))]
    for name in names:
        psnr, ssim = (np.mean([row[name][key] for row in found]) for key in ("psnr", "ssim"))
        cells.append(f"{psnr:.2f} / {ssim:.3f}")
    for key in ("psnr", "head"):
        for name in methods:
            gains = [row[name][key] - max(row[b][key] for b in BASELINES) for row in found]
            cells.append(f"{np.mean(gains):+.2f} ({min(gains):+.2f})")
    above = [
        all(row[m]["ssim"] > max(row[b]["ssim"] for b in BASELINES) for m in methods[:1]) for row in found
    ]
    cells += [
        f"{sum(above)} of {len(above)}",
        f"{np.mean([row[methods[0]]['seconds'] for row in found]):.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path(__file__).parents[1] / "configs" / "core.toml")
    parser.add_argument("--method", nargs="+", default=["core"])
    parser.add_argument("--model")
    parser.add_argument("--effort", default="normal", help="as of kfine.restore")
    parser.add_argument("--planes", type=int, default=4)
    parser.add_argument("--only", nargs="+", help="parts of the titles of rows")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
