"""The core network, and the networks around it: of cines, of sharp images, and of its error.

One U-Net estimates the high-resolution plane from any scan of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfine.networks.blocks import ResidualBlock, blind_to_brightness, no_norm, zeroed
from kfine.networks.space_time import EMBEDDING, SpaceTimeUNet
from kfine.operators.fourier import fft2c, ifft2c

DARK = 0.05  # of full intensity; darker voxels are air
LEAST_DETAIL = 4e-3  # the least unit of detail, in model units
_SURROUNDINGS = 9  # side of the square of the local mean, pixels

CHANNELS = 9  # facts that are input channels: all but spectrum and histogram
SECTORS, RINGS = 3, 6
SPECTRUM, HISTOGRAM = SECTORS * RINGS, 16
FACTS = CHANNELS + SPECTRUM + HISTOGRAM
_RADII = (0.25, 0.5, 0.7, 0.85, 1.0)  # between the rings, relative to the edges of the measured block
_BRIGHTEST = 1.2  # of full intensity, in the histogram
IMAGES = 2  # input channels before the facts: the image, and its local contrast
IN_TIME = 2  # channels of cines alone: the difference of the neighbours, and the fraction of the way
NOISES = 2  # input images of white noise


class Facts(NamedTuple):
    """Properties of a scan that condition the network, beside the image; pairs are (rows, columns).

    Attributes:
        measured: measured fraction of each direction of k-space, in (0, 1].
        gaussian: full width at half maximum of a Gaussian slice profile along the direction, in spacings; 0: none.
        box: width of a box profile along the direction, in spacings; 0: none.
        noise: standard deviation of the noise in a voxel, in units of detail (`detail_unit`).
        signed: whether the image has a sign (real parts of complex images), 1 or 0; magnitudes have none.
        denoise: whether the network must remove the noise, 1 or 0.
        spectrum: see `spectrum_shape`.
        histogram: see `histogram_shape`.
    """

    measured: tuple[float, float]
    gaussian: tuple[float, float] = (0.0, 0.0)
    box: tuple[float, float] = (0.0, 0.0)
    noise: float = 0.0
    signed: float = 0.0
    denoise: float = 0.0
    spectrum: tuple[float, ...] = (0.0,) * SPECTRUM
    histogram: tuple[float, ...] = (0.0,) * HISTOGRAM

    def tensor(self) -> Tensor:
        """Return the facts (`FACTS`,) as float32, in the order of the input channels."""
        measured, gaussian, box, *single, spectrum, histogram = self
        return torch.tensor([*measured, *gaussian, *box, *single, *spectrum, *histogram])

    def turned(self) -> Facts:
        """Return the facts of the image turned by a quarter turn: rows and columns are swapped."""
        swapped = {name: getattr(self, name)[::-1] for name in ("measured", "gaussian", "box")}
        by_sector = [self.spectrum[first : first + RINGS] for first in range(0, SPECTRUM, RINGS)]
        spectrum = tuple(value for sector in reversed(by_sector) for value in sector)
        return self._replace(**swapped, spectrum=spectrum)


class Description(nn.Sequential):
    """Embedding of the facts of scans: (batch, FACTS) to (batch, EMBEDDING), in float32."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(FACTS, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING), nn.SiLU())

    def forward(self, facts: Tensor) -> Tensor:
        """Return the embedding."""
        with torch.autocast(facts.device.type, enabled=False):
            return super().forward(facts.float())  # type: ignore[no-any-return]


def _unet(inputs: int, widths: Sequence[int], blocks: int, *, time: bool = False) -> SpaceTimeUNet:
    """Return a U-Net of one output image, with a description and, with `time`, a time step in each last block."""
    return SpaceTimeUNet(
        inputs=inputs,
        outputs=1,
        widths=widths,
        blocks=blocks,
        levels=False,
        described=True,
        time=time,
        time_blocks=1 if time else None,
        norm=no_norm,
        constant=range(IMAGES, IMAGES + CHANNELS),
    )


@final
class CoreNet(nn.Module):
    """E[x | scan] of single planes: the zero-filled image plus detail, in the unit of detail of the scan.

    The missing detail of a scan is about as strong as the finest detail that it contains (`detail_unit`).  Input and
    output detail of the network are in that unit, so that contrast and brightness of an image have little effect.
    Global properties of the scan, which are not visible locally, scale and shift the features of every block (FiLM,
    Perez et al., AAAI 2018): the facts, the spectrum (noise, filters, missing corners) and the histogram (contrast,
    air).

    Args:
        widths: channels a level of the U-Net, which starts at half resolution.
        blocks: residual blocks a level, on the way down and again on the way up.

    Attributes:
        reach: greatest distance in pixels over which a pixel influences another, except through the facts.
    """

    def __init__(self, *, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.unet = _unet(IMAGES + CHANNELS, widths, blocks)
        self.embedding = Description()
        self.reach = self.unet.reach + _SURROUNDINGS // 2
        for block in self.unet.modules():
            if isinstance(block, ResidualBlock) and block.film is not None:
                zeroed(block.film)
        stem = self.unet.stem
        blind_to_brightness(stem.weight[:, :4])
        with torch.no_grad():
            stem.weight[:, 4:8].mul_(2.0)
            stem.weight[:, 8:].normal_(std=0.1)

    def forward(self, image: Tensor, unit: Tensor, facts: Tensor) -> Tensor:
        """Return the estimate (batch, row, column) in model units.

        Args:
            image: (batch, row, column), zero-filled, in model units (air at -1, white at 1).
            unit: (batch,), see `detail_unit`.
            facts: (batch, FACTS), see `Facts.tensor`.
        """
        output = self.unet(
            core_images(image, unit)[:, :, None],
            cyclic=False,
            description=self.embedding(facts),
            constants=facts[:, :CHANNELS],
        )
        return image + unit[:, None, None] * output[:, 0, 0].float()


def core_images(image: Tensor, unit: Tensor) -> Tensor:
    """Return the images of the input of the U-Net (batch, IMAGES, row, column); arguments as in `CoreNet.forward`.

    They are the image and its local contrast in units of detail.
    """
    planes, scale = image[:, None], unit[:, None, None, None]
    return torch.cat([planes, (planes - _local_mean(planes)) / (4 * scale)], dim=1)


def of_slice(each: Sequence[tuple[float, Facts]]) -> tuple[float, Facts]:
    """Return the common unit of detail and facts of the frames of a slice, from those of some frames.

    The unit is the root mean square; noise in model units, spectrum and histogram are means.
    """
    units, facts = zip(*each, strict=True)
    unit = math.sqrt(sum(own**2 for own in units) / len(units))
    spectrum, histogram = (
        tuple(sum(values) / len(values) for values in zip(*shapes, strict=True))
        for shapes in ([one.spectrum for one in facts], [one.histogram for one in facts])
    )
    noise = sum(one.noise * own for one, own in zip(facts, units, strict=True)) / len(units) / unit
    return unit, facts[0]._replace(noise=noise, spectrum=spectrum, histogram=histogram)


class Condition(NamedTuple):
    """Condition of diffusion around the estimate of the core network.

    Attributes:
        mean: (batch, row, column), the estimate of the core network in model units.
        image: (batch, row, column), the zero-filled scan in model units.
        unit: (batch,), the unit of detail of the scan, see `detail_unit`.
        facts: (batch, FACTS), see `Facts`.
    """

    mean: Tensor
    image: Tensor
    unit: Tensor
    facts: Tensor

    def of(self, index: Sequence[int], device: torch.device) -> Condition:
        """Return the condition of the planes `index`, on `device`."""
        return Condition(*(part[list(index)].to(device) for part in self))


def detail_unit(low: Tensor, fractions: tuple[float, float]) -> float:
    """Return the unit of detail of a scan: the rms, over its tissue, of its finest measured frequencies.

    The finest frequencies are the outer half of the measured block along the partly measured directions.

    Args:
        low: (row, column), the real image of the scan in model units.
        fractions: measured fraction of each direction of k-space.
    """
    kspace = fft2c(low + 1)
    energy = float(kspace.abs().square()[_fine(low, fractions)].sum()) / low.numel()
    tissue = float((low + 1 > 2 * DARK).float().mean())
    return max(LEAST_DETAIL, (energy / max(tissue, 0.05)) ** 0.5)


def spectrum_shape(low: Tensor) -> tuple[float, ...]:
    """Return the shape of the spectrum of a scan, 3 sectors of 6 rings: log10 of their mean power over the total mean.

    It depends on noise, filters, missing corners and interpolation.  The sectors lie along rows, between both and along
    columns; the sixth ring contains the corners, beyond the edges of the measured block.

    Args:
        low: (row, column), the real image of the scan in model units.
    """
    power = fft2c(low - low.mean()).abs().square()
    u, v = ((torch.arange(n) - n // 2).abs() / (n / 2) for n in low.shape)
    radius, angle = (
        torch.hypot(u[:, None], v),
        torch.atan2(u[:, None].expand(*low.shape), v.expand(*low.shape)),
    )
    ring = torch.bucketize(radius, torch.tensor(_RADII))
    sector = SECTORS - 1 - (angle / (torch.pi / 2 / SECTORS)).long().clamp_max(SECTORS - 1)
    number = (sector * RINGS + ring).flatten()
    sums = torch.zeros(SPECTRUM).index_add_(0, number, power.flatten())
    # The mean was subtracted and has no direction.
    counts = torch.bincount(number[radius.flatten() > 0], minlength=SPECTRUM)
    level = torch.log10(sums / counts.clamp_min(1) + 1e-12)
    outer = power[radius > _RADII[0]]
    whole = torch.log10(outer.sum() / max(1, outer.numel()) + 1e-12)
    return tuple(torch.where(counts > 0, level - whole, 0.0).clamp(-4, 3).tolist())


def histogram_shape(low: Tensor) -> tuple[float, ...]:
    """Return the shape of the histogram of a scan over 16 ranges of grey levels, from air to 1.2 of full intensity.

    The first value is the share of the darkest range in all pixels, the others are shares in the brighter pixels; all
    are square roots times 4.

    Args:
        low: (row, column), the real image of the scan in model units.
    """
    grey = ((low + 1) / 2).clamp(0, _BRIGHTEST * 0.999)
    shares = torch.histc(grey, bins=HISTOGRAM, min=0.0, max=_BRIGHTEST) / low.numel()
    shares[1:] /= shares[1:].sum().clamp_min(1e-3)
    return tuple((4 * shares.sqrt()).tolist())


def finest_detail(low: Tensor, fractions: tuple[float, float]) -> Tensor:
    """Return the image (row, column) of the frequencies that `detail_unit` measures, in model units."""
    return ifft2c(fft2c(low + 1) * _fine(low, fractions)).real


def _fine(low: Tensor, fractions: tuple[float, float]) -> Tensor:
    """Return (row, column) bool: the outer half of the block along each partly measured direction."""
    partial = [part < 1 for part in fractions]
    if not any(partial):
        partial = [True, True]
    rows, columns = ((torch.arange(n) - n // 2).abs() > n / 4 for n in low.shape)
    return (rows[:, None] & partial[0]) | (columns[None] & partial[1])


def noise_level(low: Tensor) -> float:
    """Return the standard deviation of the noise in the tissue of `low` (row, column), model units.

    The estimate is the median absolute deviation of the finest diagonal Haar wavelets (Donoho and Johnstone, Biometrika
    1994, 81:425).  It is an upper bound, since detail counts as noise, and near 0 for filtered or interpolated images.
    """
    return _deviation(_diagonal_haar(low)[_in_tissue(low)])


def noise_between(frames: Tensor) -> float:
    """Return the standard deviation of the noise in the tissue of each of `frames` (frame, row, column), model units.

    The estimate is `noise_level` of the differences of successive frames, over sqrt(2): detail that does not move does
    not count.  0 for a single frame.
    """
    if len(frames) < 2:
        return 0.0
    wavelets = [_diagonal_haar(change) for change in frames.diff(dim=0)]
    inside = _in_tissue(frames.mean(0))
    return _deviation(torch.cat([each[inside] for each in wavelets])) / math.sqrt(2)


def _diagonal_haar(image: Tensor) -> Tensor:
    """Return the finest diagonal Haar wavelets (row / 2, column / 2), of the deviation of white noise in `image`."""
    a, b, c, d = _quarters(image)
    return (a - b - c + d) / 2


def _in_tissue(image: Tensor) -> Tensor:
    """Return whether each square of four pixels is tissue (row / 2, column / 2)."""
    return sum(_quarters(image), start=image.new_zeros(())) / 4 + 1 > 2 * DARK


def _quarters(image: Tensor) -> list[Tensor]:
    rows, columns = (n // 2 * 2 for n in image.shape)
    return [image[i:rows:2, j:columns:2] for i in (0, 1) for j in (0, 1)]


def _deviation(values: Tensor) -> float:
    """Return the standard deviation of Gaussian `values` by their median absolute deviation."""
    return float(values.abs().median()) / 0.6745 if values.numel() else 0.0


def _local_mean(planes: Tensor) -> Tensor:
    """Return the mean of the surroundings of each pixel in `planes` (batch, 1, row, column), within the image."""
    return F.avg_pool2d(planes, _SURROUNDINGS, 1, _SURROUNDINGS // 2, count_include_pad=False)


class CineCoreNet(nn.Module):
    """E[x | scan] of all frames of a slice: the blend of frames in time plus detail, in the unit of detail of the scan.

    The network extends `CoreNet` and starts from its weights (`start_from_core`).  The input for a frame between
    measured ones is the blend of its two neighbours, warped along the motion to its time.  The last residual block of
    each stage has a step along time, over the restored frames, between its convolutions; through all of them, the
    estimate of a frame depends on six frames on either side.

    Args:
        widths: channels a level of the U-Net, which starts at half resolution.
        blocks: residual blocks a level, on the way down and again on the way up.
    """

    def __init__(self, *, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.unet = _unet(IMAGES + CHANNELS + IN_TIME, widths, blocks, time=True)
        self.embedding = Description()

    def forward(
        self, blend: Tensor, difference: Tensor, part: Tensor, unit: Tensor, facts: Tensor, *, cyclic: bool
    ) -> Tensor:
        """Return the estimate (batch, frame, row, column) in model units.

        Args:
            blend: (batch, frame, row, column), zero-filled, in model units: a measured frame, or the blend of its two
                neighbours.
            difference: (batch, frame, row, column), difference of the two neighbours, 0 at a measured frame.
            part: (batch, frame), fraction of the way from the measured frame before to the one after, in [0, 1).
            unit: (batch,), of a whole slice, see `detail_unit`.
            facts: (batch, FACTS), of a whole slice, see `Facts.tensor`.
            cyclic: whether the first frame follows the last one.
        """
        clips, frames = blend.shape[:2]
        planes = core_images(blend.flatten(0, 1), unit.repeat_interleave(frames))
        between = (4 * part * (1 - part))[..., None, None].expand_as(blend)
        in_time = torch.stack([difference / (4 * unit[:, None, None, None]), between], dim=1)
        inputs = torch.cat([planes.unflatten(0, (clips, frames)).transpose(1, 2), in_time], dim=1)
        output = self.unet(
            inputs, cyclic=cyclic, description=self.embedding(facts), constants=facts[:, :CHANNELS]
        )
        return blend + unit[:, None, None, None] * output[:, 0].float()


@final
class PhotographicNet(CineCoreNet):
    """The network that cleans the frames of a slice at their own matrix, and the core network that enlarges them.

    Args:
        core: arguments of the core network, which is frozen.
        widths, blocks: of the network that cleans.
    """

    def __init__(self, *, core: Mapping[str, Any], widths: Sequence[int], blocks: int) -> None:
        super().__init__(widths=widths, blocks=blocks)
        self.core = CoreNet(**core).requires_grad_(False)


@torch.no_grad()
def start_from_core(network: CineCoreNet, core: Mapping[str, Tensor]) -> None:
    """Copy the weights `core` of a core network to `network`, which then has the same estimate for each blend.

    A core network inside `network` stays as it is.

    Raises:
        RuntimeError: a core network of other widths or blocks.
    """
    weights = dict(core)
    stem = "unet.stem.weight"
    own = torch.zeros_like(network.unet.stem.weight)
    own[:, : weights[stem].shape[1]] = weights[stem]
    current = network.state_dict()
    steps = {name: torch.zeros_like(value) for name, value in current.items() if "between" in name}
    inner = {name: value for name, value in current.items() if name.startswith("core.")}
    network.load_state_dict(weights | steps | inner | {stem: own})


def cine_network(core: CoreNet, arguments: Mapping[str, Any]) -> CineCoreNet:
    """Return the network of cines with the weights of `core`, built with `arguments`, in evaluation mode."""
    network = CineCoreNet(**arguments)
    start_from_core(network, core.state_dict())
    return network.eval()


class _AroundCore(nn.Module):
    """Abstract: a U-Net and a description beside a frozen core network, whose estimate is an input.

    Args:
        core: arguments of the core network.
        widths: channels a level of the U-Net, which starts at half resolution.
        blocks: residual blocks a level, on the way down and again on the way up.
        more: input channels beside those of the core network and the difference to its estimate.

    Attributes:
        reach: as of `CoreNet`.
    """

    def __init__(self, *, core: Mapping[str, Any], widths: Sequence[int], blocks: int, more: int = 0) -> None:
        super().__init__()
        self.unet = _unet(IMAGES + CHANNELS + 1 + more, widths, blocks)
        self.embedding = Description()
        self.reach = self.unet.reach + _SURROUNDINGS // 2
        self.core = CoreNet(**core).requires_grad_(False)

    @torch.no_grad()
    def mean(self, image: Tensor, unit: Tensor, facts: Tensor) -> Tensor:
        """Return the estimate of the core network, see `CoreNet.forward`."""
        return self.core(image, unit, facts)

    def _output(self, image: Tensor, unit: Tensor, facts: Tensor, mean: Tensor, *more: Tensor) -> Tensor:
        """Return the output of the U-Net (batch, row, column)."""
        difference = ((image - mean) / unit[:, None, None])[:, None]
        inputs = torch.cat([core_images(image, unit), difference, *more], dim=1)
        output = self.unet(
            inputs[:, :, None],
            cyclic=False,
            description=self.embedding(facts),
            constants=facts[:, :CHANNELS],
        )
        return output[:, 0, 0].float()  # type: ignore[no-any-return]


@final
class SharpNet(_AroundCore):
    """Sharp image of a scan in one evaluation: x = c + unit G(scan, c, noise).

    c is the estimate of E[x | scan] by the core network.  G is a U-Net with two images of white noise as additional
    input, which starts from the weights of the core network.  Its training aims at the energy of detail of the truth at
    the least squared error (`kfine.training.losses.sharp`).  A sample of p(x | scan) has twice the squared error of the
    mean image; the image of least error among realistic ones has less (Freirich, Michaeli and Meir, NeurIPS 2021).

    Args:
        core: arguments of the core network, which is frozen.
        widths: channels a level of the U-Net, which starts at half resolution.
        blocks: residual blocks a level, on the way down and again on the way up.

    Attributes:
        reach: as of `CoreNet`.
    """

    def __init__(self, *, core: Mapping[str, Any], widths: Sequence[int], blocks: int) -> None:
        super().__init__(core=core, widths=widths, blocks=blocks, more=NOISES)

    @torch.no_grad()
    def start_from_core(self) -> None:
        """Copy the weights of the core network; the output is the mean image at first.

        Raises:
            RuntimeError: the core network has other widths or blocks.
        """
        weights = {name: value.clone() for name, value in self.core.state_dict().items()}
        stem = "unet.stem.weight"
        own = torch.zeros_like(self.unet.stem.weight)
        known = weights[stem].shape[1]
        own[:, :known] = weights[stem]
        own[:, known:].normal_(std=0.1)
        self.load_state_dict(
            weights | {stem: own} | {f"core.{name}": value for name, value in self.core.state_dict().items()}
        )
        zeroed(self.unet.head[-1])  # type: ignore[type-var]

    def forward(self, image: Tensor, unit: Tensor, facts: Tensor, mean: Tensor, noise: Tensor) -> Tensor:
        """Return the sharp image of each plane (batch, row, column) in model units.

        Args:
            image: (batch, row, column), zero-filled, in model units.
            unit: (batch,), see `detail_unit`.
            facts: (batch, FACTS), see `Facts.tensor`.
            mean: (batch, row, column), the estimate of the core network.
            noise: (batch, NOISES, row, column), standard normal.
        """
        return mean + unit[:, None, None] * self._output(image, unit, facts, mean, noise)


@final
class ErrorNet(_AroundCore):
    """Standard deviation of the error of the core network's estimate, voxel by voxel, from scan and estimate.

    Network and inputs are those of `SharpNet` without the noise, and smaller.  The mean image does not depend on it
    (Stirn et al., Faithful Heteroscedastic Regression with Neural Networks, AISTATS 2023: the mean is learned first).

    Args:
        core: arguments of the core network, which is frozen.
        widths: channels a level of the U-Net, which starts at half resolution.
        blocks: residual blocks a level, on the way down and again on the way up.

    Attributes:
        reach: as of `CoreNet`.
    """

    def __init__(self, *, core: Mapping[str, Any], widths: Sequence[int], blocks: int) -> None:
        super().__init__(core=core, widths=widths, blocks=blocks)
        blind_to_brightness(self.unet.stem.weight[:, :4])
        zeroed(self.unet.head[-1])  # type: ignore[type-var]

    def forward(self, image: Tensor, unit: Tensor, facts: Tensor, mean: Tensor) -> Tensor:
        """Return the logarithm of the standard deviation (batch, row, column), in units of detail.

        Args:
            image: (batch, row, column), zero-filled, in model units.
            unit: (batch,), see `detail_unit`.
            facts: (batch, FACTS), see `Facts.tensor`.
            mean: (batch, row, column), the estimate of the core network.
        """
        return self._output(image, unit, facts, mean) - 1.0  # a fresh network: 0.37 units
