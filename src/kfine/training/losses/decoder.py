"""Loss of the decoder on latents that the denoiser draws, with the energy of texture and motion."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfine.methods.ldm import LDMOptions, drawn_latents
from kfine.networks.discriminator import PatchDiscriminator
from kfine.networks.ldm import CineLDM
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.training.data.patches import Item, frames_of
from kfine.training.losses.adversarial import Decoded, with_adversary
from kfine.training.losses.ldm import FLOOR, held_to_scan, shown
from kfine.training.stage_config import WINDOW, DecoderAdversaryConfig

STEPS = (1, 2)  # pixels between a Laplacian's taps: the finest detail, and what is half as fine
EMPTY = 0.02  # of the mean energy: a window with less than that is as good as empty
LEAST = 1e-4  # least mean, squared model units: half a percent of the range, which is noise

_LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


def detail(x: Tensor) -> list[Tensor]:
    """Return the mean squared Laplacian of images `x` (image, 1, row, column) in windows of `WINDOW` pixels a side.

    One tensor (image, 1, row / WINDOW, column / WINDOW) for each of `STEPS`, in squared units of x; what is left of a
    window at the end is left out.
    """
    x = x.float()
    kernel = x.new_tensor(_LAPLACIAN)[None, None]
    with torch.autocast(x.device.type, enabled=False):  # bfloat16 would leave little of small differences
        filtered = [F.conv2d(F.pad(x, (step,) * 4, mode="reflect"), kernel, dilation=step) for step in STEPS]
    return [F.avg_pool2d(values.square(), WINDOW) for values in filtered]


def motion(x: Tensor) -> list[Tensor]:
    """Return the mean squared change between frames of clips `x` (clip, frame, row, column) in the same windows.

    One tensor, (clip, frame - 1, row / WINDOW, column / WINDOW); none of single frames.
    """
    return [F.avg_pool2d(x.diff(dim=1).square(), WINDOW)] if x.shape[1] > 1 else []


def energy_divergence(drawn: Tensor, x: Tensor) -> Tensor:
    """Return how far clips `drawn` are from as much detail and motion as `x` have (clip, frame, row, column), a scalar.

    The generalised Kullback-Leibler divergence d - t - t ln(d / t) of the windows' energies d and t, over the batch's
    mean t.  For random d it is least, over a common factor k, where the mean of k d is the mean of t (the derivative of
    E[k d - t ln k] is 0): what is drawn has as much on average, not as the median or the mode has.  After EnhanceNet's
    texture loss (Sajjadi, Schölkopf and Hirsch, ICCV 2017, section 4.2.3), which compares the features of windows by
    least squares.
    """
    ours, true = ([*detail(clips.flatten(0, 1)[:, None]), *motion(clips)] for clips in (drawn, x))
    return torch.stack([_divergence(d, t) for d, t in zip(ours, true, strict=True)]).sum()


def _divergence(d: Tensor, t: Tensor) -> Tensor:
    mean = t.mean().clamp_min(LEAST)
    floor = EMPTY * mean
    return ((d - t) - (t + floor) * ((d + floor) / (t + floor)).log()).mean() / mean


class DecoderObjective(nn.Module):
    """Of true latents the content losses of the autoencoder; of drawn ones an adversarial loss and energy of detail.

    A drawn image is not the truth, so nothing compares the two point by point: it should look like a true one, and have
    as much fine detail.  The mean of drawn images is compared.  Of two, d and d', drawn independently for a truth t,
    E[(d - t) (d' - t)] is the squared error of their mean: what is the same in all has to be right, and how
    much they differ is left alone.  Images of scans without noise are held to them, as all will be.

    Args:
        network: its decoder learns.
        features: of the feature distance, or None.
        weights: of the parts.
        drawing: how latents are drawn.
    """

    def __init__(
        self,
        network: CineLDM,
        features: SqueezeNetFeatures | None,
        weights: DecoderAdversaryConfig,
        drawing: LDMOptions,
    ) -> None:
        super().__init__()
        self.network, self.features, self.weights, self.drawing = network, features, weights, drawing

    def forward(
        self, item: Item, noise: Tensor, chosen: Tensor, discriminator: PatchDiscriminator
    ) -> Decoded:
        """Return the loss for the frames `chosen`; its own gradients are switched by the caller.

        Args:
            item: whole clips, for the latents are drawn of whole clips.
            noise: draws of standard normal noise, each of the shape of the latents: two if the mean counts, else one.
            chosen: (clip, frame), numbers of frames that follow one another, among all frames of all images.
            discriminator: the adversary.
        """
        network, clips = self.network, chosen.shape
        assert network.autoencoder is not None
        chosen = chosen.flatten()
        with torch.no_grad():
            seen = shown(network, item)
            latents = [network.encode(item.x, seen), *self._drawn(item, seen, noise)]
            latents = [z.transpose(1, 2).flatten(0, 1)[chosen][:, :, None] for z in latents]
            seen = seen.flatten(0, 1)[chosen][:, None]
        item = frames_of(item, chosen)
        made, drawn, *others = (held_to_scan(network.decode(z, seen), item) for z in latents)
        # The truth too: else what a piece's projection takes from drawn images and not from it gives them away.
        x = held_to_scan(item.x, item)
        loss, figures = with_adversary(
            made,
            x,
            seen,
            discriminator,
            features=self.features,
            weights=self.weights,
            last=network.autoencoder.last_layer,
            drawn=drawn,
        )
        energy = energy_divergence(drawn[:, 0].unflatten(0, clips), x[:, 0].unflatten(0, clips))
        loss = loss + self.weights.energy * energy
        ratio = detail(drawn.detach())[0].mean() / detail(x)[0].mean().clamp_min(LEAST)
        figures |= {"energy": energy, "energy_ratio": ratio}
        for other in others:
            lacking = (seen - x).square().flatten(1).mean(1) + FLOOR
            # By symmetry the gradient through one of the two is half of it.  (Decoded without gradients, autocast
            # would keep the decoder's weights without them too.)
            mean = (((drawn - x) * (other.detach() - x)).flatten(1).mean(1) / lacking).mean()
            loss = loss + self.weights.mean * mean
            figures |= {"mean": mean}
        return Decoded(loss, {"loss": loss} | figures, x, seen, drawn.detach())

    def _drawn(self, item: Item, seen: Tensor, noise: Tensor) -> list[Tensor]:
        network, cyclic = self.network, bool(item.cyclic)
        condition, origin = network.condition(seen, item.guide), network.encode(seen, seen)

        def denoise(z: Tensor, sigma: Tensor) -> Tensor:
            return network.denoise(z, sigma, condition, cyclic=cyclic)

        return [drawn_latents(denoise, origin, n, self.drawing, noise=torch.randn_like) for n in noise]
