"""Footprint of networks and packages: peak memory of the jobs of engine.py, and the size of what is installed.

python benchmarks/peers/footprint.py [--json footprint.json]

Each network, job and precision has a process of its own.  Its memory is the greatest resident memory of two calls, less
that of the process with the network built: features, gradients, moments of Adam and work space, without weights and
libraries.  The kernel counts the greatest resident memory of a process (VmHWM); the process resets it before the calls
and returns freed memory first.  The installed size of a package is that of the files that its own list names, then with
torch and all packages that it requires here, each counted once.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

import engine
import torch
from packaging.requirements import Requirement

from kfine.benchmark.cases import machine

PACKAGES = ("kfine", "monai", "diffusers", "deepinv")


def peak(name: str, width: int | None, job: str, precision: str) -> int:
    """Return the bytes that two calls of a job take in this process."""
    torch.manual_seed(0)
    peer = engine.MAKERS[name](*() if width is None else (width,))
    x = torch.randn(engine.BATCH, 1, engine.SIDE, engine.SIDE)
    kind = engine.PRECISIONS[precision]
    optimiser = torch.optim.Adam(peer.parameters, lr=1e-5, fused=True)
    ctypes.CDLL(None).malloc_trim(0)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    for _ in range(2):
        if job == "forward":
            engine.forward(peer, x, kind)
        else:
            engine.update(peer, x, kind, optimiser)
    return _status("VmHWM") - before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def in_own_process(*arguments) -> int:
    """Return `peak` of a new process."""
    call = [sys.executable, __file__, "--one", json.dumps(arguments)]
    return int(subprocess.run(call, check=True, capture_output=True, text=True).stdout)


def installed(name: str) -> tuple[int, int]:
    """Return the bytes of a package, and of all that it requires."""
    found: dict[str, int] = {}
    _collect(distribution(name), found)
    _collect(distribution("torch"), found)  # diffusers leaves the choice of a framework to its users
    return next(iter(found.values())), sum(found.values())


def _collect(package: Distribution, found: dict[str, int]) -> None:
    name = package.metadata["Name"].lower().replace("_", "-")
    if name in found:
        return
    files = [Path(package.locate_file(file)) for file in package.files or ()]
    found[name] = sum(file.stat().st_size for file in files if file.suffix != ".pyc" and file.is_file())
    for text in package.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            _collect(distribution(requirement.name), found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(peak(*json.loads(options.one)))
        return
    print(f"# {machine()}; {engine.BATCH} images of {engine.SIDE}x{engine.SIDE}")
    jobs = [(job, precision) for job in ("forward", "update") for precision in engine.PRECISIONS]
    print("| network | weights MB |" + "".join(f" {job}, {precision}, MB |" for job, precision in jobs))
    print("| --- " + "| ---: " * 5 + "|")
    rows = []
    for name, width, peer in engine.networks():
        taken = {
            f"{job}, {precision}": in_own_process(name, width, job, precision) for job, precision in jobs
        }
        rows.append({"network": peer.name, "weights": 4 * peer.size, **taken})
        cells = "".join(f" {bytes_ / 1e6:.0f} |" for bytes_ in taken.values())
        print(f"| {peer.name} | {4 * peer.size / 1e6:.1f} |{cells}", flush=True)
    print("\n| package | installed MB | with requirements MB |\n| --- | ---: | ---: |")
    sizes = {}
    for name in PACKAGES:
        sizes[name] = installed(name)
        alone, together = (size / 1e6 for size in sizes[name])
        print(f"| {name} {distribution(name).version} | {alone:.0f} | {together:.0f} |")
    if options.json:
        options.json.write_text(json.dumps({"memory": rows, "installed": sizes}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
