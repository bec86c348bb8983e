"""Stages of a latent diffusion model: data, validation, earlier stages, and the tasks that share them."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import nn
from torch.utils.data import Dataset

from kfine.errors import ModelError
from kfine.methods.ldm import LDMOptions
from kfine.models.checkpoint import Model, load_model
from kfine.models.domain import trained_ranges
from kfine.networks.discriminator import PatchDiscriminator, VGGDiscriminator
from kfine.networks.ldm import CineLDM, ResidualLDM, StillLDM
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.training.config import PieceConfig, RunConfig
from kfine.training.data.cines import CineDataset, Cines, find_cines
from kfine.training.data.patches import Item
from kfine.training.data.stills import StillDataset, Stills, find_stills
from kfine.training.data.volumes import SliceRef, Volumes
from kfine.training.losses.adversarial import Decoded, DiscriminatorObjective
from kfine.training.stage_config import CineDataConfig, CineReportConfig, StillDataConfig, StillReportConfig
from kfine.training.tasks.base import Group, Learner, LossStep, Objectives
from kfine.training.validation import LDMValidation, cine_case, spread_over, still_cases


class PiecesRunConfig(RunConfig, Protocol):
    """The configuration of a task that learns from pieces of cines or of stills."""

    @property
    def method(self) -> str:
        """What the model will serve."""
        ...

    @property
    def data(self) -> PieceConfig:
        """A CineDataConfig or a StillDataConfig, which decides what is trained."""
        ...

    def model_dump(self, *, mode: str, exclude: set[str]) -> dict[str, Any]:
        """As pydantic's."""
        ...


@dataclass(frozen=True)
class Kind:
    """What is trained: cines or stills.

    Attributes:
        network: of all stages.
        stages: what each stage adds to the network, and the command that trains it.
    """

    network: type[ResidualLDM]
    stages: Mapping[str, str]


def kind_of(config: PiecesRunConfig) -> Kind:
    """Return what a configuration trains."""
    if isinstance(config.data, StillDataConfig):
        return Kind(StillLDM, {"regressor": "srresnet", "autoencoder": "autoencoder", "denoiser": "ldm"})
    return Kind(CineLDM, {"regressor": "cine-regression", "autoencoder": "vqgan", "denoiser": "cine-ldm"})


@dataclass(frozen=True)
class Supply:
    """Training items and validation slices of some folders.

    Attributes:
        ranges: what the training images are like, for config.json.
        dataset: gives so many training items.
        validation: None without validation subjects, or where nobody will ask.
    """

    ranges: dict[str, Any]
    dataset: Callable[[int], Dataset[Item]]
    validation: LDMValidation | None

    def figures(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Return validation figures, none without validation subjects."""
        return self.validation.figures(_checked(network), device) if self.validation else {}

    def picture(self, network: nn.Module, path: Path, device: torch.device) -> None:
        """Write the validation slices as a PNG, where there are any."""
        if self.validation:
            self.validation.sheet(_checked(network), path, device)


def supply_of(roots: Sequence[Path], config: PiecesRunConfig, *, reports: bool) -> Supply:
    """Return the supply of folders of DICOM series, NIfTI files or PNG pictures, as `config` says.

    reports: whether anybody will ask for `figures` and `picture`.
    """
    data, options, report = config.data, config.optimiser, config.report
    if isinstance(data, StillDataConfig):
        assert isinstance(report, StillReportConfig)
        stills = find_stills(roots, data)
        return Supply(
            _ranges(stills.volumes, stills.training, data),
            dataset=lambda length: StillDataset(stills, data, seed=options.seed, length=length),
            validation=_of_stills(stills, report) if reports and stills.validation else None,
        )
    assert isinstance(data, CineDataConfig)
    assert isinstance(report, CineReportConfig)
    cines = find_cines(roots, data)
    return Supply(
        _ranges(cines.volumes, [cines.clips, cines.stills], data),
        dataset=lambda length: CineDataset(
            cines, data, batch=options.batch, seed=options.seed, length=length
        ),
        validation=_of_cines(cines, report) if reports and cines.validation else None,
    )


def stage_before(
    folder: Path, kind: Kind, *, option: str, part: str, validation: Sequence[str]
) -> tuple[Model, ResidualLDM]:
    """Return the model of an earlier stage, and its network.

    Args:
        folder: the model folder that `option` named.
        kind: of what is trained.
        option: for messages, for example "regression".
        part: of the network, which that stage has trained, a key of `kind.stages`.
        validation: the subjects that this stage is validated on.

    Warns:
        UserWarning: the earlier stage, or one before it, was not told to leave these subjects out.

    Raises:
        ModelError: not a model, or not of that stage.
    """
    model = load_model(folder)
    network = model.network
    fits = isinstance(network, kind.network) and getattr(network, part) is not None
    if not fits or model.method == "srgan":  # whose network is a regression's, and no estimate of a mean
        wanted = kind.stages[part]
        raise ModelError(
            f"{option} {model.name}: expected a model of method {wanted}, got {model.method}; "
            f"give the folder that kfine train {wanted} made"
        )
    unkept = sorted(set(validation) - _kept_out(model.config))
    if unkept:
        warnings.warn(
            f"{option} {model.name}: was trained without leaving out {', '.join(unkept)}; if it learned from them, "
            "this run's validation says too much",
            UserWarning,
            stacklevel=2,
        )
    return model, _checked(network)


def _kept_out(config: dict[str, Any]) -> set[str]:
    """Return the subjects that every stage in a model's record was told to leave out."""
    own = set(config.get("training", {}).get("data", {}).get("validation", ()))
    return own & _kept_out(config["earlier"]) if "earlier" in config else own


def frozen(part: nn.Module, source: nn.Module) -> None:
    """Fill `part` with the weights of `source`, and let it learn nothing more."""
    part.load_state_dict(source.state_dict())
    part.requires_grad_(False).eval()


def history(model: Model) -> dict[str, Any]:
    """Return what config.json of a later stage says of an earlier one: its making, weights and validation."""
    kept = ("training", "validation", "sha256", "earlier")
    return {"method": model.method} | {key: model.config[key] for key in kept if key in model.config}


def _ranges(
    volumes: Volumes, groups: Sequence[Sequence[Sequence[SliceRef]]], data: PieceConfig
) -> dict[str, Any]:
    """Return the ranges of the images that the slices of `groups` are of."""
    paths = [slices[0].path for group in groups for slices in group]
    return trained_ranges(
        [volumes.ranges[path] for path in paths],
        scale=data.scale[1],
        brightness=data.brightness,
    )


def _of_cines(cines: Cines, report: CineReportConfig) -> LDMValidation:
    refs = spread_over(cines.validation, report.slices)
    return LDMValidation(
        [cine_case(cines.volumes, ref, report) for ref in refs],
        sampling=LDMOptions(steps=report.steps, samples=report.samples),
        baseline="flow",
        frame=1 if report.every > 1 else 0,
    )


def _of_stills(stills: Stills, report: StillReportConfig) -> LDMValidation:
    folders = [one for number, one in enumerate(stills.validation) if one not in stills.validation[:number]]
    share = -(-report.slices // len(folders))
    turns = itertools.zip_longest(*(spread_over(folder, share) for folder in folders))
    refs = [ref for turn in turns for ref in turn if ref is not None][: report.slices]
    return LDMValidation(
        [case for ref in refs for case in still_cases(stills.volumes, ref, report)],
        sampling=LDMOptions(steps=report.steps, samples=report.samples),
        baseline="zero_filled",
    )


def _checked(network: nn.Module) -> ResidualLDM:
    assert isinstance(network, ResidualLDM)
    return network


class SuppliedTask:
    """A `kfine.training.tasks.base.Task` whose items and validation its supply gives, once `open` has made it."""

    supply: Supply

    def fixed(self) -> dict[str, nn.Module]:
        """Return nothing: all is in the network."""
        return {}

    def dataset(self, length: int) -> Dataset[Item]:
        """Return pieces of cines or of stills."""
        return self.supply.dataset(length)

    def figures(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Return the PSNRs of the baseline and of what the network's parts can do so far."""
        return self.supply.figures(network, device)

    def picture(self, network: nn.Module, path: Path, device: torch.device) -> None:
        """Write truth, baseline and results of the validation slices."""
        self.supply.picture(network, path, device)

    def described(
        self,
        config: PiecesRunConfig,
        network: Mapping[str, Any],
        *,
        earlier: Model | None = None,
        **training: Any,
    ) -> dict[str, Any]:
        """Return config.json's words on a run: the network's arguments, the stage before, and more on the training."""
        learned = config.model_dump(mode="json", exclude={"network", "method", "report"})
        told = {
            "method": config.method,
            "network": dict(network),
            "ranges": self.supply.ranges,
            "training": learned | training,
        }
        return told | ({"earlier": history(earlier)} if earlier else {})


class AdversarialTask(SuppliedTask):
    """A task of two learners, "network" and "discriminator", once `open` has made the discriminator and the distance.

    Attributes:
        discriminator: the discriminator.
        distance: the features of the feature distance, or None.
        discriminator_betas: Adam's for the discriminator.
    """

    discriminator: PatchDiscriminator | VGGDiscriminator
    distance: SqueezeNetFeatures | None
    discriminator_betas: ClassVar[tuple[float, float]] = (0.5, 0.9)

    def two_learners(
        self, network: nn.Module, objective: nn.Module, group: Group, *, discriminator_rate: float
    ) -> dict[str, Learner]:
        """Return the learner of `group`, weights of `network`, and that of the discriminator."""
        discriminator = Group(list(self.discriminator.parameters()), discriminator_rate)
        return {
            "network": Learner(network, objective, (group,)),
            "discriminator": Learner(
                self.discriminator,
                DiscriminatorObjective(self.discriminator),
                (discriminator,),
                betas=self.discriminator_betas,
            ),
        }

    def fixed(self) -> dict[str, nn.Module]:
        """Return the features, if there are any."""
        return {"features": self.distance} if self.distance is not None else {}

    def content_loss(self) -> dict[str, Any]:
        """Return what config.json says of the content loss: whether it has a feature distance."""
        return {"feature_distance": self.distance is not None}

    def duel(self, objectives: Objectives, *given: Any, begun: bool = True) -> Iterator[LossStep]:
        """Yield the network's loss of what it is `given`, then, if the adversary has begun, the discriminator's."""
        # The discriminator learns in its own turn alone.
        self.discriminator.requires_grad_(False)
        result: Decoded = objectives["network"](*given, self.discriminator if begun else None)
        yield LossStep("network", result.loss, result.figures)
        self.discriminator.requires_grad_(True)
        if begun:
            loss = objectives["discriminator"](result.x, result.decoded, result.seen)
            yield LossStep("discriminator", loss, {"discriminator": loss})
