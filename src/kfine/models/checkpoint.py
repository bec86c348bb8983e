"""Models on disk: a folder with `model.safetensors` and `config.json`, the weights' hash checked; never a pickle.

A model around a packaged core network holds no copy of it: its config.json names it, with its hash, under "core".
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kfine.errors import ModelError
from kfine.files.atomic import atomic_file
from kfine.files.digests import digest_of
from kfine.files.side_files import read_json
from kfine.models.bounds import bounded_by
from kfine.models.tensors import read_tensors, shapes_of
from kfine.text import printable

PACKAGED = Path(__file__).parent
FORMAT = 1
_CORE = "core."  # how the names of a core network's weights begin in a model around it


@dataclass(frozen=True)
class Model:
    """A network ready for use, and what is known of it.

    Attributes:
        name: its folder's name.
        method: which method it serves, for example "vdm".
        network: the torch module, in evaluation mode, on the CPU, float32.
        config: the whole config.json.
        digest: SHA-256 of the weights file.
        core: the packaged core network that the model is around; None where it holds its own, or none.
    """

    name: str
    method: str
    network: nn.Module
    config: dict[str, Any]
    digest: str
    core: Model | None = None

    @property
    def network_config(self) -> dict[str, Any]:
        """The arguments of the network, those of its core network among them."""
        return self.config["network"] | ({"core": self.core.config["network"]} if self.core else {})

    @property
    def digests(self) -> dict[str, str]:
        """Name and hashes: all that the network depends on."""
        return {"name": self.name, "sha256": self.digest} | ({"core": self.core.digest} if self.core else {})

    def is_that_of(self, named: Mapping[str, str]) -> bool:
        """Return whether these are the weights whose `digests` a record holds."""
        return all(self.digests.get(key) == named.get(key) for key in ("sha256", "core"))


def packaged_models() -> list[str]:
    """Return the names of the models inside the package."""
    return sorted(folder.parent.name for folder in PACKAGED.glob("*/config.json"))


def load_model(model: str | os.PathLike[str]) -> Model:
    """Load a packaged model by its name, or a folder that holds `model.safetensors` and `config.json`.

    A folder that has a packaged model's name is given as "./NAME", or as a `Path`.

    Warns:
        UserWarning: it was trained around another core network than the packaged one.

    Raises:
        ModelError: unknown name, missing, truncated, altered or foreign files, or a pickle.
    """
    folder = folder_of(model)
    config, weights = read_config(folder), folder / "model.safetensors"
    if not weights.is_file():
        others = sorted(
            p.name for p in folder.iterdir() if p.suffix in {".pt", ".pth", ".ckpt", ".bin", ".pkl"}
        )
        hint = f"; {others[0]} may be a pickle, which can run code and is not loaded" if others else ""
        raise ModelError(f"model {folder.name}: expected model.safetensors in the folder{hint}")
    digest = digest_of(weights)
    if digest != config["sha256"]:
        raise ModelError(
            f"model {folder.name}: model.safetensors is not the file its config.json was made for "
            f"(SHA-256 {digest[:12]}…, expected {str(config['sha256'])[:12]}…); copy the model again"
        )
    core = _core_of(config, folder.name)
    shapes = list(shapes_of(weights).values())
    tensors, built = read_tensors(weights), config
    if core is not None:
        inner = core.network.state_dict()
        shapes += [tuple(tensor.shape) for tensor in inner.values()]
        tensors |= {f"{_CORE}{name}": tensor for name, tensor in inner.items()}
        built = config | {"network": config["network"] | {"core": core.config["network"]}}
    with bounded_by(shapes):
        network = build_network(built)
    _fill(network, tensors, folder.name)
    return Model(folder.name, config["method"], network.eval(), config, digest, core)


def _core_of(config: dict[str, Any], name: str) -> Model | None:
    """Return the packaged core network that config.json names; None where the model holds its own, or none."""
    named = config.get("core")
    if "core" in config["network"] or named is None:
        return None
    if not isinstance(named, dict) or named.get("name") not in packaged_models():
        raise ModelError(f"model {name}: config.json: expected the name of a packaged model under core")
    core = load_model(str(named["name"]))
    if core.method != "core":
        raise ModelError(f"model {name}: config.json: core: {core.name} is a model of method {core.method}")
    if core.digest != named.get("sha256"):
        warnings.warn(
            f"model {name}: was trained around another {core.name} than the packaged one; its samples may be a little "
            "worse",
            UserWarning,
            stacklevel=3,
        )
    return core


def save_model(folder: Path, network: nn.Module, config: dict[str, Any]) -> None:
    """Write `network` and `config` (method, network and whatever describes it) as a model folder, atomically.

    Weights are stored in float16, half the size of float32: its rounding, 0.05 %, is far below what a weight's
    value is worth.  Loading gives float32.  A core network whose `config["core"]` (name, sha256) is a packaged model's
    is left out.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    weights = network.state_dict()
    if _is_packaged(config.get("core")):
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(_CORE)}
        own = {name: value for name, value in config["network"].items() if name != "core"}
        config = config | {"network": own}
    payload = save(
        {name: tensor.detach().to("cpu", torch.float16).contiguous() for name, tensor in weights.items()}
    )
    described = {"format": FORMAT, **config, "sha256": hashlib.sha256(payload).hexdigest()}
    replace_bytes(folder / "model.safetensors", payload)
    replace_bytes(folder / "config.json", (json.dumps(described, indent=2) + "\n").encode())


def _is_packaged(core: Any) -> bool:
    """Return whether `core`, a table of name and sha256, is of a packaged model."""
    if not isinstance(core, dict) or core.get("name") not in packaged_models():
        return False
    return bool(read_config(PACKAGED / core["name"])["sha256"] == core.get("sha256"))


def read_config(folder: Path) -> dict[str, Any]:
    """Return a model folder's config.json, checked for what loading needs."""
    try:
        config = read_json(folder / "config.json")
    except FileNotFoundError:
        raise ModelError(f"model {folder.name}: expected config.json in the folder, found none") from None
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model {folder.name}: config.json cannot be read ({type(error).__name__})"
        ) from None
    needed = {"format": int, "method": str, "network": dict, "sha256": str}
    wrong = [
        key
        for key, kind in needed.items()
        if not isinstance(config, dict) or not isinstance(config.get(key), kind)
    ]
    if wrong:
        raise ModelError(
            f"model {folder.name}: not a kfine model, config.json lacks a valid {', '.join(wrong)}"
        )
    if not isinstance(config.get("sampling", {}), dict):
        raise ModelError(f'model {folder.name}: config.json: expected a table under "sampling"')
    if config["format"] != FORMAT:
        raise ModelError(
            f"model {folder.name}: format {config['format']}, this kfine reads {FORMAT}; upgrade kfine"
        )
    return config  # type: ignore[no-any-return]


def build_network(config: dict[str, Any]) -> nn.Module:
    """Return the untrained network that `config["method"]` and `config["network"]` describe."""
    from kfine.networks.core import CineCoreNet, CoreNet, SharpNet
    from kfine.networks.ldm import CineLDM, StillLDM
    from kfine.networks.srresnet import SRResNet
    from kfine.networks.vdm import VDM

    # By method: the network, and those of its optional parts that the method cannot do without.
    networks: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
        "core": (CoreNet, ()),
        "vdm": (VDM, ()),
        "sharp": (SharpNet, ()),
        "cine-core": (CineCoreNet, ()),
        "cine-regression": (CineLDM, ()),
        "vqgan": (CineLDM, ("autoencoder",)),
        "cine-ldm": (CineLDM, ("autoencoder", "denoiser")),
        "srresnet": (SRResNet, ()),
        "srgan": (SRResNet, ()),
        "autoencoder": (StillLDM, ()),
        "ldm": (StillLDM, ("denoiser",)),
    }
    if config["method"] not in networks:
        raise ModelError(f"method {config['method']!r}: expected one of {', '.join(networks)}; upgrade kfine")
    network, parts = networks[config["method"]]
    try:
        lacking = [part for part in parts if config["network"].get(part) is None]
        if lacking:
            raise ValueError(f"a {config['method']} needs its {' and '.join(lacking)}")
        return network(**config["network"])
    except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError, MemoryError) as error:
        reason = printable((str(error) or type(error).__name__)[:200])
        raise ModelError(f"config.json describes no network that can be built ({reason})") from None


def replace_bytes(path: Path, payload: bytes) -> None:
    """Write `payload` to `path` so that a reader sees the old file or the new one, never a part."""
    with atomic_file(path, overwrite=True) as partial:
        partial.write_bytes(payload)


def folder_of(model: str | os.PathLike[str]) -> Path:
    """Return the folder of a packaged model by its name, or the folder itself, where there is one.

    Raises:
        ModelError: there is none, or it is no folder.
    """
    packaged = isinstance(model, str) and model in packaged_models()
    folder = PACKAGED / model if packaged else Path(model)
    if folder.name in {"", ".."}:  # "." and "..": the provenance wants the folder's own name
        folder = folder.resolve()
    if not folder.exists():
        known = ", ".join(packaged_models()) or "none"
        raise ModelError(f"model {model}: expected a packaged model ({known}) or a folder, found neither")
    if not folder.is_dir():
        raise ModelError(
            f"model {folder.name}: expected a folder with model.safetensors and config.json, got a file"
        )
    return folder


def _fill(network: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError:
        raise ModelError(
            f"model {name}: the weights do not fit the network that config.json describes"
        ) from None
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        raise ModelError(f"model {name}: the weights hold NaN or Inf: its training failed; use another model")
