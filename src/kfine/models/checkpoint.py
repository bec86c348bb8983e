"""Models on disk: a folder with `model.safetensors` and `config.json`, the weights' hash checked; never a pickle.

A model built around a packaged core network holds no copy of it: config.json has its name and hash under "core".
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from kfine.errors import ModelError
from kfine.files.atomic import atomic_file
from kfine.files.contents import digest_of, read_json
from kfine.models.tensors import bounded_by, read_tensors, shapes_of
from kfine.text import printable

PACKAGED = Path(__file__).parent
FORMAT = 1
_CORE = "core."  # prefix of the names of a core network's weights in a model around it

Steps = Annotated[int, Field(ge=1, le=1_000_000)]
Samples = Annotated[int, Field(ge=1, le=10_000)]
Level = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class Model:
    """A network ready for use, with its configuration.

    Attributes:
        name: of its folder.
        method: the method that uses it, for example "vdm".
        network: the torch module, in evaluation mode, on the CPU, float32.
        config: the whole config.json.
        digest: SHA-256 of the weights file.
        core: the packaged core network inside the model; None if the model holds its own or none.
    """

    name: str
    method: str
    network: nn.Module
    config: dict[str, Any]
    digest: str
    core: Model | None = None

    @property
    def network_config(self) -> dict[str, Any]:
        """The arguments of the network, including those of its core network."""
        return self.config["network"] | ({"core": self.core.config["network"]} if self.core else {})

    @property
    def digests(self) -> dict[str, str]:
        """Name and hashes of all weights that the network depends on."""
        return {"name": self.name, "sha256": self.digest} | ({"core": self.core.digest} if self.core else {})

    def is_that_of(self, recorded: Mapping[str, str]) -> bool:
        """Return whether `recorded`, the `digests` in a record, are those of this model."""
        return all(self.digests.get(key) == recorded.get(key) for key in ("sha256", "core"))


def packaged_models() -> list[str]:
    """Return the names of the models inside the package."""
    return sorted(folder.parent.name for folder in PACKAGED.glob("*/config.json"))


def load_model(model: str | os.PathLike[str]) -> Model:
    """Load a packaged model by its name, or a folder with `model.safetensors` and `config.json`.

    Write "./NAME", or pass a `Path`, for a folder with the name of a packaged model.

    Warns:
        UserWarning: the model was trained around another core network than the packaged one.

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
    """Return the packaged core network that config.json names; None if the model holds its own or none."""
    entry = config.get("core")
    if "core" in config["network"] or entry is None:
        return None
    if not isinstance(entry, dict) or entry.get("name") not in packaged_models():
        raise ModelError(f"model {name}: config.json: expected the name of a packaged model under core")
    core = load_model(str(entry["name"]))
    if core.method != "core":
        raise ModelError(f"model {name}: config.json: core: {core.name} is a model of method {core.method}")
    if core.digest != entry.get("sha256"):
        warnings.warn(
            f"model {name}: was trained around another {core.name} than the packaged one; its samples may be a little "
            "worse",
            UserWarning,
            stacklevel=3,
        )
    return core


def save_model(folder: Path, network: nn.Module, config: dict[str, Any]) -> None:
    """Write `network` and `config` (method, network and further entries) as a model folder, atomically.

    Weights are stored in float16, whose rounding of 0.05 % is negligible; loading returns float32.  The core network
    is left out if `config["core"]` (name, sha256) is that of a packaged model.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    weights = network.state_dict()
    if _is_packaged(config.get("core")):
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(_CORE)}
        without_core = {name: value for name, value in config["network"].items() if name != "core"}
        config = config | {"network": without_core}
    payload = save(
        {name: tensor.detach().to("cpu", torch.float16).contiguous() for name, tensor in weights.items()}
    )
    described = {"format": FORMAT, **config, "sha256": hashlib.sha256(payload).hexdigest()}
    replace_bytes(folder / "model.safetensors", payload)
    replace_bytes(folder / "config.json", (json.dumps(described, indent=2) + "\n").encode())


def _is_packaged(core: Any) -> bool:
    """Return whether `core`, a table of name and sha256, belongs to a packaged model."""
    if not isinstance(core, dict) or core.get("name") not in packaged_models():
        return False
    return bool(read_config(PACKAGED / core["name"])["sha256"] == core.get("sha256"))


def read_config(folder: Path) -> dict[str, Any]:
    """Return a model folder's config.json after checking the entries that loading needs."""
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
    from kfine.networks.core import CineCoreNet, CoreNet, ErrorNet, PhotographicNet, SharpNet
    from kfine.networks.ldm import CineLDM, StillLDM
    from kfine.networks.srresnet import SRResNet
    from kfine.networks.vdm import VDM

    # By method: the network, and those of its optional parts that the method requires.
    networks: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
        "core": (CoreNet, ()),
        "vdm": (VDM, ()),
        "sharp": (SharpNet, ()),
        "uncertainty": (ErrorNet, ()),
        "cine-core": (CineCoreNet, ()),
        "cine-photographic": (PhotographicNet, ()),
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
    """Write `payload` to `path` atomically: a reader sees the old file or the new one, never a part."""
    with atomic_file(path, overwrite=True) as partial:
        partial.write_bytes(payload)


def folder_of(model: str | os.PathLike[str]) -> Path:
    """Return the folder of a packaged model by its name, or `model` itself if it is a folder.

    Raises:
        ModelError: it does not exist or is no folder.
    """
    packaged = isinstance(model, str) and model in packaged_models()
    folder = PACKAGED / model if packaged else Path(model)
    if folder.name in {"", ".."}:  # "." and "..": the provenance records the folder's real name
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
        raise ModelError(
            f"model {name}: the weights contain NaN or Inf: its training failed; use another model"
        )


class ModelSampling(BaseModel):
    """Sampling defaults of a model, the table "sampling" of its config.json; None: the method's default.

    Attributes:
        steps: network evaluations per sample.
        samples: number of samples to average.
        sampler: a name in `kfine.diffusion.samplers.SAMPLERS`.
        start: noise level to start from, inf for pure noise.
        start_factor: multiple of the noise level estimated from the scan, used without `start`.
        last: noise level of the last evaluation.
        conditioned: whether the network was trained with the scan as an input.
        turned: whether predictions are averaged over quarter turns.
        amount: of a sharp image, see `kfine.methods.sharp.SharpMethod`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    steps: Steps | None = None
    samples: Samples | None = None
    sampler: Literal["dpm-solver-2m", "ddim", "ancestral"] | None = None
    start: Level | None = None
    start_factor: Level = 3.0
    last: Level | None = None
    conditioned: bool = False
    turned: bool = False
    amount: Annotated[float, Field(gt=0, le=1)] = 1.0

    @classmethod
    def of(cls, model: Model) -> Self:
        """Return the validated table of `model`.

        Raises:
            ModelError: an unknown key or a value out of range, with its name.
        """
        try:
            return cls.model_validate(model.config.get("sampling", {}))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in ("sampling", *first["loc"]))
            raise ModelError(f"model {model.name}: config.json: {where}: {first['msg']}") from None
