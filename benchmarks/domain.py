"""The detector of foreign images: its table novelty.json of a model, and how well it tells images apart.

Scans of the training images of configs/core.toml (of every scale up to x4.4, thick slices, noise, filters, other
contrasts) are described by `kfine.methods.novelty`.  Fitted are Gaussians of brain, heart, knee and neck, and of two
kinds of foreign images that need no data: phantoms and noise.  A plane is foreign that lies beyond the limit of all
anatomies, or clearly nearer to a foreign kind.  Limits are quantiles of the training subjects, each by a table without
its fold.

Measured on validation subjects and on foreign images that are in other Python packages (photographs of scikit-image, CT
and a bone scan of pydicom) or made here (phantoms and noise of other seeds, shapes, validation images whose blocks or
phases are shuffled, or whose grey levels are inverted): the area under the ROC curve, false alarms by source, by scan
and by image (the middle of its planes), and the confusion of kinds.

python benchmarks/domain.py --data DATA [--model FOLDER] [--write] [--cache FILE.npz]

--write puts novelty.json into the model's folder; it depends on the training images, not on the weights.  --cache
keeps the features, so that the table can be fitted again in seconds.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import torch
from common import machine
from scipy import ndimage
from uncertainty import subject_of

from kfine.degradation.scanner import (
    WINDOWS,
    Acquisition,
    central_kspace,
    delivered,
    displayed_image,
    measured_kspace,
    profiled,
    smooth_phase,
)
from kfine.intensity import Scaling
from kfine.io.discovery import NIFTI, find_volumes
from kfine.methods.novelty import FEATURES, novelty_features
from kfine.models.checkpoint import PACKAGED
from kfine.models.novelty import FILE, MOST, Kind, NoveltyTable, SizeClass
from kfine.phantom.cine import beating_heart
from kfine.training.config import CoreTrainingConfig, read_training_config
from kfine.training.data.cines import PICTURES, read_frames
from kfine.training.data.core_patches import fits, named, random_grey_levels

PLANES = {True: 3, False: 10}  # of each validation and training volume
PICTURES_OF = {True: 2, False: 2}  # of each subject of a folder of pictures
MOST_OF_SOURCE = 60  # training planes
SCANS = 3  # of each training plane
FOREIGN = ("phantom", "noise")  # kinds that a table knows
BOUNDS = (math.log(64.0),)  # between the classes of sizes
ALARMS = 0.005
SHRINKAGE = 0.1
FOLDS = 5
FEWEST = 12  # planes of a kind and a class of sizes


def main() -> None:
    options = _options()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"# {machine()}; seed 0")
    if options.cache and options.cache.exists():
        kept = np.load(options.cache, allow_pickle=False)
        labels, features = json.loads(str(kept["labels"])), kept["features"]
    else:
        labels, features = described(options.data, options.config)
        if options.cache:
            np.savez(options.cache, labels=json.dumps(labels), features=features)
    table = fitted_table(labels, features)
    text = report(table, labels, features)
    print(text)
    if options.write:
        path = options.model / FILE
        path.write_text(json.dumps(table.model_dump(mode="json"), separators=(",", ":")) + "\n")
        print(f"{path}: {path.stat().st_size} bytes")


# Images


def planes(data, config):
    """Yield (label, plane) of the training and validation images: as stored, and at their true resolution."""
    for source in config.sources:
        for path, validation in _files(data, config, source):
            where = path.relative_to(data).as_posix()
            label = {
                "validation": validation,
                "subject": subject_of(where),
                "source": f"{source.folder}/{source.files}",
                "image": where,
                "kind": "heart" if where.startswith(("heart", "cine")) else where.split("_")[0],
            }
            image = read_frames(path)
            stack = np.abs(image.voxels)
            full = Scaling.of(stack).full
            parts = [1.0, 1.0, 1.0]
            for axis, part in zip(image.source.axis_order, source.true, strict=True):
                parts[axis] = part
            if image.source.acquired_matrix:
                parts[1:] = (
                    min(1.0, m / n) for m, n in zip(image.source.acquired_matrix, image.matrix, strict=True)
                )
            volume = image.frames == 1 and image.slices > 64 and not source.stored
            stack = stack.reshape(-1, *stack.shape[2:]) / full
            for axis in (0, 1, 2) if volume else (0,):
                sides = [
                    mm / p
                    for a, (mm, p) in enumerate(zip(image.voxel_sizes, parts, strict=True))
                    if a != axis
                ]
                if axis and max(sides) > 2.2 * min(sides):
                    continue
                across = np.moveaxis(stack, axis, 0)
                for index in _places(across, PLANES[validation] if axis == 0 else 1):
                    x = torch.from_numpy(np.ascontiguousarray(across[index])).float()
                    low = tuple(
                        max(1, round(n * p)) for n, p in zip(x.shape, np.delete(parts, axis), strict=True)
                    )
                    true = displayed_image(central_kspace(x, low), low).abs() if low != tuple(x.shape) else x
                    yield label | {"axis": axis}, true
                    if axis == 0 and validation:
                        yield label | {"axis": axis, "scan": "as stored"}, x


def _files(data, config, source):
    """Return (path, whether for validation) of a source's files; of pictures some of each subject."""
    paths = [
        p for p in find_volumes(data / source.folder, files=(*NIFTI, *PICTURES)) if named(p, data, source)
    ]
    found = [(p, any(fits(p, data, pattern) for pattern in config.validation)) for p in paths]
    if paths and paths[0].suffix in PICTURES:
        groups = defaultdict(list)
        for path, validation in found:
            groups[subject_of(path.as_posix()), validation].append(path)
        found = [
            (path, validation)
            for (_, validation), group in groups.items()
            for path in group[:: -(-len(group) // PICTURES_OF[validation])]
        ]
    training = [one for one in found if not one[1]]
    return [one for one in found if one[1]] + training[:: max(1, len(training) // MOST_OF_SOURCE)]


def _places(stack, count):
    """Return up to `count` evenly spaced slices with tissue."""
    seen = np.unique(np.linspace(0.02, 0.98, 3 * count) * (len(stack) - 1)).round().astype(int)
    there = np.array([index for index in np.unique(seen) if (stack[index] > 0.1).mean() > 0.04])
    if not len(there):
        return there
    return there[np.unique(np.linspace(0, len(there) - 1, min(count, len(there))).round().astype(int))]


# Scans


def scan_of(x, low, rng, **how):
    """Return the magnitudes that a scanner delivers of the plane `x` from the block `low` of k-space."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    acquisition = Acquisition(low, **how)
    thing = torch.polar(x, smooth_phase(tuple(x.shape), generator))
    noise = torch.complex(*(torch.randn(low, generator=generator) for _ in range(2)))
    return delivered(measured_kspace(thing, acquisition, noise=noise), acquisition).numpy()


def thick_of(x, count, axis, rng, *, profile="gaussian", width=1.0, noise=0.0):
    """Return the magnitudes of `count` thick slices along `axis` of the plane `x`."""
    signal = profiled(x, count, axis=axis - 2, profile=profile, width=width).numpy()
    return np.abs(
        signal + noise * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))
    )


def random_scan(x, rng, *, curves=0.4):
    """Return a random scan of the plane `x`: contrast, scale, thick slices, noise, filter, missing samples."""
    x = random_grey_levels(x, rng, curves=curves, bias=0.3).abs()
    x = x / (float(torch.quantile(x, 0.999)) / 0.9 + 1e-9)
    noise = 0.05 * float(rng.random() ** 1.5) if rng.random() < 0.4 else 0.0
    if rng.random() < 0.2:
        axis = int(rng.integers(2))
        count = max(24, round(x.shape[axis] / math.exp(rng.uniform(math.log(1.5), math.log(5)))))
        profile = "gaussian" if rng.random() < 0.65 else "box"
        if count < x.shape[axis]:
            return thick_of(x, count, axis, rng, profile=profile, width=rng.uniform(0.7, 1.2), noise=noise)
    factors = np.exp(rng.uniform(0, math.log(4.4), 2)) if rng.random() < 0.9 else np.ones(2)
    factors[1] = factors[0] if rng.random() < 0.8 else factors[1]
    low = tuple(max(min(n, 32), round(n / f)) for n, f in zip(x.shape, factors, strict=True))
    filled = rng.uniform(1, 2) if rng.random() < 0.15 else 1.0
    return scan_of(
        x,
        low,
        rng,
        noise=noise,
        window=str(rng.choice(list(WINDOWS)[1:])) if rng.random() < 0.25 else "none",
        displayed=tuple(round(n * filled) for n in low) if filled > 1 else None,
        partial_fourier=rng.uniform(0.625, 0.875) if rng.random() < 0.1 else 1.0,
        elliptical=bool(rng.random() < 0.2),
    )


def scans_of(x, rng, axis):
    """Yield (name, scan) of the scans that validation images are tested with."""
    for factor in (1, 2, 4):
        low = tuple(round(n / factor) for n in x.shape)
        yield f"x{factor}", scan_of(x, low, rng)
        noise = 0.03 if factor < 4 else 0.01
        yield f"x{factor}, {noise:.0%} noise", scan_of(x, low, rng, noise=noise)
        if factor > 1:
            window = "hamming" if factor == 2 else "fermi"
            yield f"x{factor}, {window}", scan_of(x, low, rng, window=window)
    low = tuple(round(n / 2) for n in x.shape)
    yield "x2, zero-filled x1.5", scan_of(x, low, rng, displayed=tuple(round(1.5 * n) for n in low))
    for count in (2, 4):
        yield f"slices x{count}", thick_of(x, round(x.shape[0] / count), 0, rng)


# Foreign images


def normal(x):
    """Return `x` with full intensity 1."""
    x = np.asarray(x, float)
    x = x - x.min()
    return (x / (np.quantile(x, 0.999) / 0.9 + 1e-12)).clip(0, 1.3)


def noise_of(kind, n, rng):
    """Return an image (n, n) of noise."""
    white = rng.standard_normal((n, n))
    if kind == "Rician":
        return np.abs(white + 1j * rng.standard_normal((n, n)))
    if kind == "uniform":
        return rng.random((n, n))
    if kind == "smooth":
        return normal(ndimage.gaussian_filter(white, rng.uniform(0.7, 4)))
    if kind == "speckle":
        return np.abs(
            ndimage.gaussian_filter(white + 1j * rng.standard_normal((n, n)), rng.uniform(0.6, 1.5))
        )
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n))) + 1 / n
    return normal(np.fft.ifft2(np.fft.fft2(white) / frequency ** rng.uniform(0.5, 1.5)).real)


NOISES = ("Rician", "uniform", "smooth", "speckle", "1/f")


def shapes_of(kind, n, rng):
    """Return an image (n, n) of synthetic shapes."""
    x = np.zeros((n, n))
    down, right = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j]
    if kind == "ramp":
        return normal(0.3 * right * rng.normal() + 0.3 * down * rng.normal() + 0.2 * right * down)
    if kind == "stripes":
        turn, lines = rng.uniform(0, math.pi), rng.uniform(2, n / 5)
        return 0.5 + 0.4 * np.sign(np.sin(math.pi * lines * (right * math.cos(turn) + down * math.sin(turn))))
    for _ in range(rng.integers(3, 25)):
        centre, turn = rng.uniform(-0.7, 0.7, 2), rng.uniform(0, math.pi)
        u = (right - centre[0]) * math.cos(turn) + (down - centre[1]) * math.sin(turn)
        v = -(right - centre[0]) * math.sin(turn) + (down - centre[1]) * math.cos(turn)
        a, b = rng.uniform(0.05, 0.5, 2)
        inside = (u / a) ** 2 + (v / b) ** 2 < 1 if kind == "ellipses" else (np.abs(u) < a) & (np.abs(v) < b)
        x[inside] = rng.uniform(0.1, 1)
    return x


@cache
def hearts(training):
    """Return planes of the synthetic beating heart at several matrices, for the test at other phases."""
    planes = []
    for n in (64, 96, 128):
        heart = beating_heart((n, n), frames=4, slices=6)
        planes += list(heart.voxels[0 if training else 1 :: 2, 1::2].reshape(-1, n, n))
    return planes


def phantom_of(rng, *, training):
    """Return a plane of the synthetic beating heart with the noise of a complex image."""
    planes = hearts(training)
    plane = planes[rng.integers(len(planes))]
    noise = float(rng.choice([0, 0.01, 0.03])) * plane.max()
    return normal(
        np.abs(plane + noise * (rng.standard_normal(plane.shape) + 1j * rng.standard_normal(plane.shape)))
    )


def foreign(rng, *, training):
    """Yield (group, name, plane) of foreign images that need no data; of `training` those of the known kinds."""
    for _ in range(150 if training else 40):
        yield "phantom", "beating heart", phantom_of(rng, training=training)
        yield (
            "phantom",
            "beating heart, scanned",
            random_scan(tensor(phantom_of(rng, training=training)), rng, curves=0.0),
        )
    for kind in NOISES:
        for _ in range(40 if training else 15):
            yield "noise", kind, noise_of(kind, int(rng.integers(40, 220)), rng)
    if training:
        return
    for kind in ("ellipses", "boxes", "stripes", "ramp"):
        for _ in range(15):
            x = tensor(shapes_of(kind, int(rng.integers(64, 200)), rng))
            yield "shapes", kind, random_scan(x, rng, curves=0.0)
    for name, x in packaged_pictures():
        for _ in range(4):
            yield name.split(":")[0], name, random_scan(tensor(_window(x, rng)), rng, curves=0.0)


def tensor(x):
    return torch.from_numpy(np.ascontiguousarray(x)).float()


def _window(x, rng):
    """Return a random window of `x` at a random matrix up to 320."""
    if min(x.shape) > 160 and rng.random() < 0.6:
        sides = [int(rng.integers(96, min(257, n))) for n in x.shape]
        first = [int(rng.integers(0, n - side + 1)) for n, side in zip(x.shape, sides, strict=True)]
        x = x[first[0] : first[0] + sides[0], first[1] : first[1] + sides[1]]
    if max(x.shape) > 320:
        x = ndimage.zoom(x, rng.uniform(128, 320) / max(x.shape), order=1)
    return normal(x)


def packaged_pictures():
    """Yield (name, plane) of the photographs of scikit-image and the CT, bone scan and mask of pydicom."""
    from skimage import color, data

    names = (
        "astronaut", "brick", "camera", "cell", "chelsea", "clock", "coffee", "coins", "grass", "gravel", "horse",
        "hubble_deep_field", "immunohistochemistry", "microaneurysms", "moon", "page", "retina", "rocket", "text",
    )  # fmt: skip
    for name in (*names, "shepp_logan_phantom"):
        try:
            x = np.asarray(getattr(data, name)(), float)
        except (OSError, ImportError):  # not in this installation
            continue
        group = "Shepp-Logan" if "shepp" in name else "photograph"
        yield f"{group}: {name}", normal(color.rgb2gray(x[..., :3] / 255) if x.ndim == 3 else x)
    from pydicom import dcmread
    from pydicom.data import get_testdata_file

    for name in ("CT_small.dcm", "693_J2KI.dcm", "JPEG2000.dcm", "JPGExtended.dcm", "liver_1frame.dcm"):
        path = get_testdata_file(name, download=False)
        if path is not None:
            yield f"CT and others: {name}", normal(np.squeeze(dcmread(path).pixel_array))


def shuffled(x, rng, size):
    """Return `x` with its blocks of `size` in random order."""
    rows, columns = (n // size for n in x.shape)
    blocks = x[: rows * size, : columns * size].reshape(rows, size, columns, size).swapaxes(1, 2)
    blocks = blocks.reshape(-1, size, size)[rng.permutation(rows * columns)]
    return blocks.reshape(rows, columns, size, size).swapaxes(1, 2).reshape(rows * size, columns * size)


def altered(x, rng):
    """Yield (group, name, plane) of what is made of one validation scan."""
    for size in (4, 8, 16):
        if min(x.shape) >= 4 * size:
            yield "shuffled blocks", f"{size} voxels", shuffled(x, rng, size)
    phase = np.angle(np.fft.fft2(rng.standard_normal(x.shape)))
    yield "shuffled phases", "", normal(np.fft.ifft2(np.abs(np.fft.fft2(x)) * np.exp(1j * phase)).real)
    yield "inverted", "", normal(x.max() - x)
    yield "interpolated", "cubic, x2", ndimage.zoom(x, 2, order=3).clip(0)
    yield "sharpened", "", (x + 3 * (x - ndimage.gaussian_filter(x, 1.0))).clip(0)


def described(data, path):
    """Return labels and features (plane, feature) of all scans and foreign images."""
    config = read_training_config(path, CoreTrainingConfig).data
    rng, labels, rows, sources = np.random.default_rng(0), [], [], defaultdict(list)
    kept = []

    def add(label, plane):
        found = novelty_features(plane)
        if found is not None:
            labels.append(label)
            rows.append(found)
            return True
        return False

    for label, x in planes(data, config):
        if not label["validation"]:
            sources[label["source"]].append((label, x))
            continue
        stored = label.get("scan") == "as stored"
        for name, scan in [("as stored", x.numpy())] if stored else scans_of(x, rng, label["axis"]):
            if add(label | {"scan": name}, scan) and rng.random() < 0.04:
                kept.append(scan)
    for each in sources.values():
        for index in rng.permutation(len(each))[:MOST_OF_SOURCE]:
            label, x = each[index]
            for _ in range(SCANS):
                add(label | {"scan": "random"}, random_scan(x, rng))
        print(each[0][0]["source"], len(rows), file=sys.stderr, flush=True)
    for training in (True, False):
        for group, name, x in foreign(rng, training=training):
            add({"foreign": group, "name": name, "validation": not training, "kind": group}, x)
    for scan in kept:
        for group, name, x in altered(scan.astype(float), rng):
            add({"foreign": group, "name": name, "validation": True, "kind": group}, x)
    return labels, np.array(rows)


# The table


def fitted_table(labels, features):
    """Return the table of the training rows, with the false alarms on validation rows."""
    training = np.array([not label["validation"] for label in labels])
    kind = np.array([label["kind"] for label in labels])
    known = training & (~np.isin(kind, FOREIGN))
    subjects = sorted({label["subject"] for label, here in zip(labels, known, strict=True) if here})
    fold_of = {subject: number % FOLDS for number, subject in enumerate(subjects)}
    folds = np.array([fold_of.get(label.get("subject"), -1) for label in labels])
    sizes = class_of(features)
    # Distances of each training plane by a table without its subject's fold.
    apart, nearer = np.full(len(labels), np.nan), np.full(len(labels), np.nan)
    for number in range(FOLDS):
        without = _table(features, kind, training & (folds != number), subjects)
        for place in np.flatnonzero(known & (folds == number)):
            found = without.distance(features[place])
            apart[place], nearer[place] = found.apart, max(found.nearer, -1e6)  # -inf without foreign kinds
    limits = [
        float(np.quantile(apart[known & (sizes == n)], 1 - 0.7 * ALARMS)) for n in range(len(BOUNDS) + 1)
    ]
    scaled = nearer / np.array(limits)[sizes] ** 2
    margins = [float(np.quantile(scaled[known & (sizes == n)], 1 - 0.3 * ALARMS)) for n in range(len(limits))]
    table = _table(features, kind, training, subjects, limits=limits, margins=margins)
    real = np.array(["foreign" not in label and label["validation"] for label in labels])
    alarms = np.mean([table.distance(row).foreign for row in features[real]])
    return table.model_copy(update={"false_alarms": round(float(alarms), 4)})


def class_of(features):
    """Return the class of sizes of each row."""
    return np.digitize(features[:, FEATURES.index("size")], BOUNDS)


def _table(features, kind, chosen, subjects, *, limits=None, margins=None):
    """Return the table of the `chosen` rows."""
    real = chosen & ~np.isin(kind, FOREIGN)
    centre, scale = features[real].mean(0), features[real].std(0) + 1e-6
    units, sizes, classes = np.clip((features - centre) / scale, -MOST, MOST), class_of(features), []
    for number in range(len(BOUNDS) + 1):
        within = {name: chosen & (kind == name) & (sizes == number) for name in np.unique(kind[chosen])}
        means = {name: units[rows].mean(0) for name, rows in within.items() if rows.sum() >= FEWEST}
        rest = [units[within[name]] - mean for name, mean in means.items() if name not in FOREIGN]
        rest = np.concatenate(rest)
        covariance = (1 - SHRINKAGE) * rest.T @ rest / len(rest) + SHRINKAGE * np.eye(len(FEATURES))
        factor = np.linalg.cholesky(np.linalg.inv(covariance))
        classes.append(
            SizeClass(
                below=BOUNDS[number] if number < len(BOUNDS) else None,
                kinds=tuple(
                    Kind(name=str(name), mean=_short(mean), foreign=name in FOREIGN)
                    for name, mean in means.items()
                ),
                factor=tuple(_short(row[: place + 1]) for place, row in enumerate(factor)),
                limit=float(f"{limits[number]:.4g}") if limits else 1.0,
                margin=float(f"{margins[number]:.4g}") if margins else 0.0,
            )
        )
    return NoveltyTable(
        features=FEATURES,
        centre=_short(centre),
        scale=_short(scale),
        classes=tuple(classes),
        planes=int(real.sum()),
        subjects=len(subjects),
    )


def _short(values):
    """Return `values` in four digits."""
    return tuple(float(f"{value:.4g}") for value in values)


# Figures


def auroc(real, foreign):
    """Return the area under the ROC curve: how often a foreign distance is above a real one."""
    order = np.concatenate([real, foreign])
    ranks = np.argsort(np.argsort(order)) + 1
    n, m = len(real), len(foreign)
    return (ranks[n:].sum() - m * (m + 1) / 2) / (n * m)


def report(table, labels, features):
    """Return the figures as Markdown tables."""
    found = [table.distance(row) for row in features]
    distance = np.array([one.distance for one in found])
    test = np.array([label["validation"] for label in labels])
    group = np.array([label.get("foreign", "") for label in labels])
    real, strange = test & (group == ""), test & (group != "") & ~np.isin(group, SIMILAR)
    lines = [
        f"\n{table.planes} training scans of {table.subjects} subjects; {real.sum()} validation scans of "
        f"{len({label['subject'] for label, r in zip(labels, real, strict=True) if r})} subjects",
        f"AUROC of foreign against real planes: {auroc(distance[real], distance[strange]):.3f}; false alarms "
        f"{(distance[real] > 1).mean():.2%}, found {(distance[strange] > 1).mean():.1%}",
        "",
        "| foreign images | planes | AUROC | found |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name in sorted(set(group[test]) - {""}):
        here = test & (group == name)
        area = auroc(distance[real], distance[here])
        lines.append(f"| {name} | {here.sum()} | {area:.3f} | {(distance[here] > 1).mean():.0%} |")
        parts = np.array([label.get("name", "") for label in labels])
        each = {
            str(part): f"{(distance[here & (parts == part)] > 1).mean():.0%}"
            for part in np.unique(parts[here])
        }
        if len(each) > 1:
            lines.append(f"|   {each} | | | |")
    for key in ("source", "scan"):
        value = np.array([label.get(key, "") for label in labels])
        lines += ["", f"| {key} | planes | false alarms |", "| --- | ---: | ---: |"]
        for name in np.unique(value[real]):
            here = real & (value == name)
            lines.append(f"| {name} | {here.sum()} | {(distance[here] > 1).mean():.1%} |")
    images = defaultdict(list)
    for label, one, here in zip(labels, distance, real, strict=True):
        if here:
            images[label["image"], label["scan"], label["axis"]].append(one)
    middle = np.array([sorted(each)[(len(each) - 1) // 2] for each in images.values()])
    lines += [
        "",
        f"false alarms by image (the middle of its planes): {(middle > 1).mean():.2%} of {len(middle)}",
    ]
    lines += [f"  {key}: {value:.2f}" for key, value in zip(images, middle, strict=True) if value > 1]
    return "\n".join([*lines, *_confusion(labels, features, table, test)])


def _confusion(labels, features, table, test):
    """Return which kind is nearest, for planes of each kind."""
    kinds = [kind.name for kind in table.classes[-1].kinds]
    nearest = np.array([table.distance(row).nearest for row in features])
    kind = np.array([label["kind"] for label in labels])
    lines = ["", f"| nearest kind of | {' | '.join(kinds)} |", "| --- |" + " ---: |" * len(kinds)]
    for name in kinds:
        here = test & (kind == name)
        if here.any():
            cells = " | ".join(f"{(nearest[here] == other).mean():.1%}" for other in kinds)
            lines.append(f"| {name} ({here.sum()}) | {cells} |")
    return lines


SIMILAR = ("interpolated", "sharpened")  # what scanners deliver, too: measured, but not foreign


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=PACKAGED / "core", help="folder of a model")
    parser.add_argument("--config", type=Path, default=Path(__file__).parents[1] / "configs" / "core.toml")
    parser.add_argument("--cache", type=Path, help="file of the features, made if it is not there")
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
