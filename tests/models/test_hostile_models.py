"""Model folders that ask for more than they hold: refused at once, whatever their config.json says."""

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from kfine.errors import ModelError
from kfine.models.checkpoint import ModelSampling, load_model, save_model
from kfine.models.tensors import read_tensors, shapes_of
from kfine.networks.vdm import VDM
from tests.io.refusals import refused

NETWORK = {"core": {"widths": [8, 16], "blocks": 1}, "widths": [8, 16], "blocks": 1}
SAMPLING = {"steps": 3, "samples": 2, "conditioned": True}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_model(tmp_path / "m", VDM(**NETWORK), {"method": "vdm", "network": NETWORK, "sampling": SAMPLING})
    return tmp_path / "m"


def change(model: Path, key: str, **values: Any) -> None:
    config = json.loads((model / "config.json").read_text())
    config[key] |= values
    (model / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "values",
    [
        {"widths": [4000, 30000]},
        {"core": {"widths": [10**6, 10**6], "blocks": 1}},
        {"blocks": 10**8},
        {"blocks": 10**20},
        {"core": {"widths": [8], "blocks": 10**8}},
    ],
)
def test_a_config_does_not_decide_memory_or_time(model: Path, values: dict[str, Any]) -> None:
    change(model, "network", **values)
    began = time.monotonic()
    refused(ModelError, "no network that can be built", load_model, model)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("values", [{"steps": 10**12}, {"samples": 20_000}, {"steps": 0}, {"samples": 2**40}])
def test_sampling_out_of_range(model: Path, values: dict[str, int]) -> None:
    change(model, "sampling", **values)
    refused(ModelError, f"sampling.{next(iter(values))}", ModelSampling.of, load_model(model))


@pytest.mark.parametrize("what", ["pipe", "device", "large", "deep"])
def test_a_config_that_is_no_small_file(model: Path, what: str) -> None:
    config = model / "config.json"
    config.unlink()
    if what == "pipe":
        os.mkfifo(config)
    elif what == "device":
        config.symlink_to("/dev/zero")
    else:
        config.write_text("[" * 100_000 if what == "deep" else " " * (1 << 25))
    refused(ModelError, "config.json cannot be read", load_model, model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64, torch.bool])
def test_tensors_are_read_as_safetensors_does(tmp_path: Path, dtype: torch.dtype) -> None:
    from safetensors.torch import load_file, save_file

    tensors = {"a": torch.arange(6).reshape(2, 3).to(dtype), "empty": torch.zeros(0, 4, dtype=dtype)}
    tensors["scalar"] = torch.tensor(1).to(dtype)
    save_file(tensors, tmp_path / "a")
    ours, theirs = read_tensors(tmp_path / "a"), load_file(tmp_path / "a")
    assert ours.keys() == theirs.keys() == shapes_of(tmp_path / "a").keys()
    assert all(torch.equal(ours[name], theirs[name]) and ours[name].dtype == dtype for name in ours)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_tensors(model: Path, seed: int) -> None:
    path = model / "model.safetensors"
    data = bytearray(path.read_bytes())
    turned = torch.Generator().manual_seed(seed)
    for at in torch.randint(0, 600, (4,), generator=turned).tolist():
        data[at] ^= 1 << (seed % 8)
    path.write_bytes(data if seed % 2 else data[: 100 * seed])
    with contextlib.suppress(ModelError):
        read_tensors(path)


@pytest.mark.parametrize("times", [0.2, 0.5, 0.8])
def test_an_interruption_while_weights_are_read_stays_one(model: Path, times: float) -> None:
    import signal

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    began = time.perf_counter()
    read_tensors(model / "model.safetensors")
    span = time.perf_counter() - began
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(50):
            try:
                signal.setitimer(signal.ITIMER_REAL, max(1e-5, times * span))
                read_tensors(model / "model.safetensors")
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
