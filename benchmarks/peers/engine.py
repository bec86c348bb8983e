"""Speed of networks at equal parameters and job: four denoised images of 128x128, and a training update of them.

python benchmarks/peers/engine.py [--rounds 5] [--json engine.json]

kfine's U-Net of method vdm against MONAI's DiffusionModelUNet, diffusers' UNet2DModel and deepinv's DRUNet, each scaled
to the parameters of the first.  They differ in design, which is the point: kfine's starts at half resolution, in
channels-last memory, without attention.  Rounds alternate between the networks, so that a busy machine is busy for all
of them; processor seconds of this process hardly depend on other processes, wall seconds do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision_operators  # noqa: F401
from torch import nn

from kfine.benchmark.cases import machine
from kfine.networks.vdm import VDM

BATCH, SIDE = 4, 128
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Peer:
    """A network and what it is called with: a noisy image and a level of noise."""

    name: str
    network: nn.Module
    level: str  # "gamma", "timestep" or "sigma"

    def __call__(self, x):
        """Return what the network says of the noisy images `x`."""
        count = len(x)
        if self.level == "gamma":
            return self.network(x, torch.zeros(count))
        if self.level == "sigma":
            return self.network(x, sigma=torch.full((count,), 0.5))
        done = self.network(x, torch.full((count,), 500))
        return getattr(done, "sample", done)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Those that the job trains."""
        unused = ("core.", "gamma.")
        return [p for name, p in self.network.named_parameters() if not name.startswith(unused)]

    @property
    def size(self) -> int:
        """Their number."""
        return sum(p.numel() for p in self.parameters)


def kfine_unet() -> Peer:
    return Peer("kfine", VDM(core={"widths": [8], "blocks": 1}), "gamma")


def monai_unet(width: int) -> Peer:
    from monai.networks.nets import DiffusionModelUNet

    network = DiffusionModelUNet(
        spatial_dims=2, in_channels=1, out_channels=1, channels=(width, 2 * width, 3 * width),
        attention_levels=(False, False, False), num_res_blocks=2, norm_num_groups=8, num_head_channels=8,
    )  # fmt: skip
    return Peer("MONAI DiffusionModelUNet", network, "timestep")


def diffusers_unet(width: int) -> Peer:
    from diffusers import UNet2DModel

    network = UNet2DModel(
        sample_size=SIDE, in_channels=1, out_channels=1, block_out_channels=(width, 2 * width, 3 * width),
        down_block_types=("DownBlock2D",) * 3, up_block_types=("UpBlock2D",) * 3, layers_per_block=2,
        norm_num_groups=8, add_attention=False,
    )  # fmt: skip
    return Peer("diffusers UNet2DModel", network, "timestep")


def deepinv_drunet(width: int) -> Peer:
    from deepinv.models import DRUNet

    network = DRUNet(
        in_channels=1, out_channels=1, nc=[width, 2 * width, 4 * width, 8 * width], nb=4, pretrained=None
    )
    return Peer("deepinv DRUNet", network, "sigma")


MAKERS = {"kfine": kfine_unet, "monai": monai_unet, "diffusers": diffusers_unet, "deepinv": deepinv_drunet}


def scaled(name: str, size: int) -> tuple[str, int, Peer]:
    """Return the network whose parameters are nearest to `size`, with its width, a multiple of 8."""
    made = ((name, width, MAKERS[name](width)) for width in range(8, 73, 8))
    return min(made, key=lambda each: abs(each[2].size - size))


def networks() -> list[tuple[str, int | None, Peer]]:
    """Return (name in MAKERS, width, network) of kfine and of each peer."""
    ours = kfine_unet()
    return [("kfine", None, ours), *(scaled(name, ours.size) for name in MAKERS if name != "kfine")]


def forward(peer: Peer, x, precision) -> None:
    with torch.inference_mode(), torch.autocast("cpu", dtype=precision, enabled=precision is not None):
        peer(x)


def update(peer: Peer, x, precision, optimiser) -> None:
    with torch.autocast("cpu", dtype=precision, enabled=precision is not None):
        loss = (peer(x).float() - x).square().mean()
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()


def timed(job) -> tuple[float, float]:
    """Return (processor, wall) seconds."""
    began = time.process_time(), time.perf_counter()
    job()
    return time.process_time() - began[0], time.perf_counter() - began[1]


def measured(peers, rounds: int):
    """Yield (job, precision, name, processor seconds of each round, wall seconds)."""
    x = torch.randn(BATCH, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for job in ("forward", "update"):
        for named, precision in PRECISIONS.items():
            calls = {}
            for peer in peers:
                if job == "forward":
                    calls[peer.name] = lambda peer=peer, precision=precision: forward(peer, x, precision)
                else:
                    optimiser = torch.optim.Adam(peer.parameters, lr=1e-5, fused=True)
                    calls[peer.name] = lambda peer=peer, precision=precision, optimiser=optimiser: update(
                        peer, x, precision, optimiser
                    )
            for call in calls.values():
                call()  # warms up
            took = {name: [] for name in calls}
            for _ in range(rounds):
                for name, call in calls.items():
                    took[name].append(timed(call))
            for name, times in took.items():
                yield job, named, name, [cpu for cpu, _ in times], [wall for _, wall in times]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    peers = [peer for _, _, peer in networks()]
    print(f"# {machine()}; {torch.get_num_threads()} threads")
    print(
        f"# load average {', '.join(f'{load:.1f}' for load in os.getloadavg())}: idle is below the threads above"
    )
    print(f"# {BATCH} images of {SIDE}x{SIDE}; median of {options.rounds} alternating rounds (least to most)")
    print("| job | precision | network | parameters | processor ms | wall ms | of kfine's |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    rows, sizes = [], {peer.name: peer.size for peer in peers}
    for job, precision, name, cpu, wall in measured(peers, options.rounds):
        rows.append({"job": job, "precision": precision, "network": name, "parameters": sizes[name],
                     "processor_s": cpu, "wall_s": wall})  # fmt: skip
        first = next(row for row in rows if (row["job"], row["precision"]) == (job, precision))
        ratio = statistics.median(a / b for a, b in zip(cpu, first["processor_s"], strict=True))
        ms = [
            f"{1e3 * statistics.median(t):.0f} ({1e3 * min(t):.0f} to {1e3 * max(t):.0f})"
            for t in (cpu, wall)
        ]
        print(
            f"| {job} | {precision} | {name} | {sizes[name] / 1e6:.2f} M | {ms[0]} | {ms[1]} | {ratio:.1f} |",
            flush=True,
        )
    print(f"# load average {', '.join(f'{load:.1f}' for load in os.getloadavg())} at the end")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
