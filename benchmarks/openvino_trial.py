"""Core network by OpenVINO against torch: processor time and error, on one thread (decision 35).

pip install openvino
OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/openvino_trial.py --data VOLUME.nii.gz [--rounds 9]

The U-Net runs in OpenVINO; its input channels and the sum with the image stay in torch's float32.  The error is the
root mean square difference from torch's float32, relative to the detail that the network adds.  Rounds alternate.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from pathlib import Path

import torch
from torch import nn

import kfine
from kfine.benchmark.cases import machine
from kfine.benchmark.truths import spread_slices, take
from kfine.intensity import Scaling
from kfine.methods.core import CoreOptions, scan_input, with_precision
from kfine.networks.core import CHANNELS, core_images
from kfine.operators.kspace import KSpaceCrop, measurement_of

CALLS = ((8, 128), (1, 256), (1, 512))  # planes and side of a call


class Inner(nn.Module):
    """The U-Net of the core network on its input channels, which OpenVINO converts."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, channels, facts):
        """Return the output in units of detail (batch, row, column)."""
        described, constants = self.network.embedding(facts), facts[:, :CHANNELS]
        output = self.network.unet(
            channels[:, :, None], cyclic=False, description=described, constants=constants
        )
        return output[:, 0, 0]


def inputs(volume, planes: int, side: int):
    """Return image, unit and facts of `planes` slices, degraded to half of `side`."""
    truth = take(volume, spread_slices(volume, planes), matrix=(side // 2, side // 2))
    units = Scaling.of(truth.voxels).to_model(truth.voxels[0])
    crop = KSpaceCrop((side, side), (side // 2, side // 2), real=True)
    found = [
        scan_input(crop, measurement_of(torch.from_numpy(plane), crop), CoreOptions(), signed=False)
        for plane in units
    ]
    return (
        torch.stack([each.image for each in found]),
        torch.tensor([each.unit for each in found]),
        torch.stack([each.facts.tensor() for each in found]),
    )


def by_openvino(network, image, unit, facts, precision: str):
    """Return a call of the network compiled for these shapes, and the processor seconds of its compilation."""
    import openvino
    from openvino import properties
    from openvino.properties import hint

    channels = core_images(image, unit)
    began = time.process_time()
    model = openvino.convert_model(Inner(network), example_input=(channels.clone(), facts.clone()))
    model.reshape({0: list(channels.shape), 1: list(facts.shape)})
    kind = {"float32": openvino.Type.f32, "bfloat16": openvino.Type.bf16}[precision]
    settings = {hint.inference_precision: kind, properties.inference_num_threads: 1}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()

    def run():
        planes = core_images(image, unit).numpy()
        return image + unit[:, None, None] * torch.from_numpy(request.infer([planes, facts.numpy()])[0])

    return run, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    network, volume = kfine.load_model("core").network.eval(), kfine.read(options.data)
    print(f"# {machine()}; load average {os.getloadavg()[0]:.1f}")
    print("| planes | engine | precision | processor ms | of torch's | error | compilation s |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    for planes, side in CALLS:
        with torch.inference_mode():
            x = inputs(volume, planes, side)
            exact = network(*x)
        calls, compiled = {}, {}
        for precision in ("float32", "bfloat16"):
            own = with_precision(network, torch.device("cpu"), getattr(torch, precision))
            calls["torch", precision] = lambda own=own, x=x: own(*x)
            with torch.no_grad():
                call, seconds = by_openvino(network, *(each.clone() for each in x), precision)
            calls["OpenVINO", precision], compiled["OpenVINO", precision] = call, seconds
        detail = (exact - x[0]).square().mean().sqrt()
        took = {name: [] for name in calls}
        with torch.inference_mode():
            errors = {
                name: float((call() - exact).square().mean().sqrt() / detail) for name, call in calls.items()
            }
            for _ in range(options.rounds):
                for name, call in calls.items():
                    began = time.process_time()
                    call()
                    took[name].append(time.process_time() - began)
        for (engine, precision), times in took.items():
            pairs = zip(times, took["torch", precision], strict=True)
            ratio = statistics.median(a / b for a, b in pairs)
            first = f"{compiled[engine, precision]:.1f}" if engine == "OpenVINO" else ""
            print(
                f"| {planes} of {side}x{side} | {engine} | {precision} | {1e3 * statistics.median(times):.0f} | "
                f"{ratio:.2f} | {errors[engine, precision]:.1e} | {first} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
