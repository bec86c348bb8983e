"""Loss of the decoder on latents drawn by the denoiser, with the energy of texture and motion."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfine.methods.ldm import LDMOptions, drawn_latents
from kfine.networks.discriminator import PatchDiscriminator
from kfine.networks.ldm import CineLDM
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.training.data.patches import Item, frames_of
from kfine.training.ldm_config import WINDOW, DecoderAdversaryConfig
from kfine.training.losses.adversarial import Decoded, with_adversary
from kfine.training.losses.ldm import FLOOR, conditioning, projected_on_scan

STEPS = (
    1,
    2,
)  # pixels between the taps of the Laplacian: the finest detail, and detail of half that frequency
EMPTY = 0.02  # fraction of the mean energy below which a window counts as empty
LEAST = 1e-4  # least mean energy, squared model units: half a percent of the range, which is noise

_LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


def detail(x: Tensor) -> list[Tensor]:
    """Return the mean squared Laplacian of images `x` (image, 1, row, column) in windows of `WINDOW` x `WINDOW` pixels.

    The result is a tensor (image, 1, row / WINDOW, column / WINDOW) for each of `STEPS`, in squared units of x, without
    incomplete windows.
    """
    x = x.float()
    kernel = x.new_tensor(_LAPLACIAN)[None, None]
    with torch.autocast(x.device.type, enabled=False):  # bfloat16 is too coarse for small differences
        filtered = [F.conv2d(F.pad(x, (step,) * 4, mode="reflect"), kernel, dilation=step) for step in STEPS]
    return [F.avg_pool2d(values.square(), WINDOW) for values in filtered]


def motion(x: Tensor) -> list[Tensor]:
    """Return the mean squared change between frames of clips `x` (clip, frame, row, column) in the same windows.

    The result is one tensor, (clip, frame - 1, row / WINDOW, column / WINDOW); [] for single frames.
    """
    return [F.avg_pool2d(x.diff(dim=1).square(), WINDOW)] if x.shape[1] > 1 else []


def energy_divergence(drawn: Tensor, x: Tensor) -> Tensor:
    """Return the divergence of the energies of detail and motion in clips `drawn` and `x` (clip, frame, row, column).

    A scalar: the generalised Kullback-Leibler divergence d - t - t ln(d / t) of the windows' energies d and t, over the
    batch's mean t.  For random d and a common factor k it is least where the mean of k d is the mean of t (the
    derivative of E[k d - t ln k] is 0): mean energies agree, not medians or modes.  After EnhanceNet's texture loss
    (Sajjadi, Schölkopf and Hirsch, ICCV 2017, section 4.2.3), which compares features of windows by least squares.
    """
    ours, true = ([*detail(clips.flatten(0, 1)[:, None]), *motion(clips)] for clips in (drawn, x))
    return torch.stack([_divergence(d, t) for d, t in zip(ours, true, strict=True)]).sum()


def _divergence(d: Tensor, t: Tensor) -> Tensor:
    mean = t.mean().clamp_min(LEAST)
    floor = EMPTY * mean
    return ((d - t) - (t + floor) * ((d + floor) / (t + floor)).log()).mean() / mean


class DecoderObjective(nn.Module):
    """Content losses on true latents; adversarial loss and energy of detail on drawn latents.

    A drawn image differs from the truth, so the two are not compared pixel by pixel: it should look like a true image
    with as much fine detail.  Only the mean of drawn images is compared.  For two images d and d', drawn independently
    for a truth t, E[(d - t) (d' - t)] is the squared error of their expectation; their variance does not matter.
    Images are projected onto noise-free scans, as in the method.

    Args:
        network: its decoder is trained.
        features: of the feature distance, or None.
        weights: of the parts.
        drawing: sampling of the latents.
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
        """Return the loss for the frames `chosen`.

        Args:
            item: whole clips, as latents are drawn for whole clips.
            noise: (draw, *latents), standard normal: two draws if the loss of the mean has a weight, else one.
            chosen: (clip, frame), indices of consecutive frames among all frames of all images.
            discriminator: the adversary; the caller enables and disables its gradients.
        """
        network, clips = self.network, chosen.shape
        assert network.autoencoder is not None
        chosen = chosen.flatten()
        with torch.no_grad():
            seen = conditioning(network, item)
            latents = [network.encode(item.x, seen), *self._drawn(item, seen, noise)]
            latents = [z.transpose(1, 2).flatten(0, 1)[chosen][:, :, None] for z in latents]
            seen = seen.flatten(0, 1)[chosen][:, None]
        item = frames_of(item, chosen)
        made, drawn, *others = (projected_on_scan(network.decode(z, seen), item) for z in latents)
        # Project the truth too: otherwise artefacts of a piece's projection would identify drawn images.
        x = projected_on_scan(item.x, item)
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
            initial = (seen - x).square().flatten(1).mean(1) + FLOOR
            # By symmetry the gradient with respect to one of the two is half of the whole.  (`other` is not decoded
            # under no_grad, as autocast would then cache the decoder's weights without gradients.)
            mean = (((drawn - x) * (other.detach() - x)).flatten(1).mean(1) / initial).mean()
            loss = loss + self.weights.mean * mean
            figures |= {"mean": mean}
        return Decoded(loss, {"loss": loss} | figures, x, seen, drawn.detach())

    def _drawn(self, item: Item, seen: Tensor, noise: Tensor) -> list[Tensor]:
        network, cyclic = self.network, bool(item.cyclic)
        condition, origin = network.condition(seen, item.guide), network.encode(seen, seen)

        def denoise(z: Tensor, sigma: Tensor) -> Tensor:
            return network.denoise(z, sigma, condition, cyclic=cyclic)

        return [drawn_latents(denoise, origin, n, self.drawing, noise=torch.randn_like) for n in noise]
