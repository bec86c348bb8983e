"""Sampling defaults of a model: the table "sampling" of its config.json."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kfine.errors import ModelError
from kfine.models.checkpoint import Model

Steps = Annotated[int, Field(ge=1, le=1_000_000)]
Samples = Annotated[int, Field(ge=1, le=10_000)]
Level = Annotated[float, Field(gt=0)]


class ModelSampling(BaseModel):
    """What a model says of its sampling; None where it leaves that to the method.

    Attributes:
        steps: network evaluations a sample.
        samples: samples to average.
        sampler: a name of `kfine.diffusion.samplers.SAMPLERS`.
        start: noise level to start from, inf for pure noise.
        start_factor: of the noise level estimated from the scan, where there is no `start`.
        last: noise level of the last evaluation.
        conditioned: whether the network has learnt to see the scan.
        turned: whether predictions are averaged over quarter turns.
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

    @classmethod
    def of(cls, model: Model) -> Self:
        """Return the checked table of `model`.

        Raises:
            ModelError: an unknown key or a value out of range, named.
        """
        try:
            return cls.model_validate(model.config.get("sampling", {}))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in ("sampling", *first["loc"]))
            raise ModelError(f"model {model.name}: config.json: {where}: {first['msg']}") from None
