"""Files of a restoration: names, and writing them together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfine.files.digests import output_digest
from kfine.files.names import PICTURES, beside, check_suffix, dicom_kind, volume_suffix
from kfine.files.staging import staged
from kfine.restoration.labels import Restored
from kfine.text import json_text

if TYPE_CHECKING:
    from kfine.io.dicom.reader import DicomSeries

# Content of the JSON files of a restoration: from it, and from where its other files are, whole, before they are moved
# into place.
Sidecars = Callable[[Restored, Mapping[Path, Path]], dict[Path, Any]]


@dataclass(frozen=True)
class RestorationFiles:
    """Where the files of one restoration go.

    Attributes:
        mean: a NIfTI, NRRD or MetaImage file, or a folder of DICOM images.
        std, lower, upper, sharp, record: beside it; `sharp` is of the kind of `mean`, also a folder of DICOM images.
        figure: None for none.
        dicom: None, or what kind of DICOM image is written ("classic", "enhanced").
        std_record: JSON file of the standard deviation; None for none.
    """

    mean: Path
    std: Path
    lower: Path
    upper: Path
    sharp: Path
    record: Path
    figure: Path | None = None
    dicom: str | None = None
    std_record: Path | None = None

    @classmethod
    def of(cls, mean: Path, figure: Path | None, *, dicom: str | None = None) -> RestorationFiles:
        """Return the files beside `mean`, or raise `UsageError` if a name has the wrong suffix."""
        kind = dicom_kind(mean, dicom)
        suffix = ".dcm" if kind else volume_suffix(mean, also=", or a folder for DICOM")
        check_suffix(figure, "figure", PICTURES)
        std, lower, upper = (beside(mean, f"_{what}{suffix}") for what in ("std", "lower", "upper"))
        sharp = beside(mean, "_sharp" if kind else f"_sharp{suffix}")
        return cls(mean, std, lower, upper, sharp, beside(mean, ".json"), figure, kind)

    @property
    def folders(self) -> list[Path]:
        """Which of them are folders."""
        return [self.mean, self.sharp] if self.dicom else []

    @property
    def all(self) -> list[Path]:
        """Every file that a restoration of one frame may have."""
        figure = [self.figure] if self.figure else []
        return [*self.images, self.record, *figure]

    @property
    def images(self) -> list[Path]:
        """All images, and the JSON file of the standard deviation."""
        return [self.mean, *self.of_std, *self.of_interval, self.sharp]

    @property
    def of_std(self) -> list[Path]:
        """Those that a restoration without standard deviation lacks."""
        return [self.std, *([self.std_record] if self.std_record else [])]

    @property
    def of_interval(self) -> list[Path]:
        """Those that a restoration without intervals lacks."""
        return [self.lower, self.upper]

    @property
    def animation(self) -> Path | None:
        """The moving picture that a cine has beside its figure."""
        return self.figure.with_suffix(".gif") if self.figure else None

    @property
    def parts(self) -> Path:
        """The hidden folder for finished slices while others are not."""
        return self.mean.with_name(f".{self.mean.name}.kfine-part")


def write_restoration(
    result: Restored,
    files: RestorationFiles,
    *,
    overwrite: bool,
    series: DicomSeries | None = None,
    sidecars: Sidecars | None = None,
) -> list[Path]:
    """Write a restoration's files together and return their paths.

    A restoration without standard deviation, intervals or sharp image removes those of the one that it replaces.

    Args:
        result: what is written.
        files: where to.
        overwrite: whether files there are replaced.
        series: the one that DICOM output joins, None for other formats.
        sidecars: what the JSON files say; the provenance alone if left out.
    """
    moving = files.animation if result.mean.frames > 1 else None
    lacking = [*([] if result.std else files.of_std), *([] if result.lower else files.of_interval)]
    lacking += [] if result.sharp else [files.sharp]
    paths = [path for path in files.all if path not in lacking] + ([moving] if moving else [])
    # The record first: where it is not, there is nothing of ours, and where it is, it tells what belongs to it.
    order = sorted(paths, key=lambda path: path != files.record)
    obsolete = lacking if overwrite else []
    folders = [path for path in files.folders if path in paths]
    with staged(order, overwrite=overwrite, obsolete=obsolete, folders=folders) as places:
        if series is not None:
            _write_dicom(result, files, places, series=series)
        else:
            _write_volumes(result, files, places)
        if files.figure:
            from kfine.restoration.pictures import draw_restoration

            draw_restoration(result, places[files.figure], animation=places[moving] if moving else None)
        said = sidecars(result, places) if sidecars else {files.record: _record(result, files, places)}
        for path, content in said.items():
            places[path].write_text(json_text(content), "utf-8")
    return paths


def _record(result: Restored, files: RestorationFiles, places: Mapping[Path, Path]) -> dict[str, Any]:
    """Return what the record says: the restoration's own and the digest of each other file, by its name."""
    digests = {path.name: output_digest(place) for path, place in places.items() if path != files.record}
    return result.record | {"dicom": files.dicom, "outputs": digests}


def _write_volumes(result: Restored, files: RestorationFiles, places: dict[Path, Path]) -> None:
    from kfine.image import magnitude
    from kfine.io import write
    from kfine.io.nifti.companions import RESTORED

    write(magnitude(result.mean), places[files.mean], description=RESTORED)
    if result.sharp:
        write(magnitude(result.sharp), places[files.sharp], description=RESTORED)
    for image, path in ((result.std, files.std), (result.lower, files.lower), (result.upper, files.upper)):
        if image:
            write(image, places[path], description=RESTORED)


def _write_dicom(
    result: Restored, files: RestorationFiles, places: dict[Path, Path], *, series: DicomSeries
) -> None:
    from kfine.io.dicom.derived.writer import write_map, write_series

    made_by, enhanced = result.provenance, files.dicom == "enhanced"
    write_series(result.mean, places[files.mean], source=series, made_by=made_by, enhanced=enhanced)
    if result.sharp:
        write_series(
            result.sharp, places[files.sharp], source=series, made_by=made_by, enhanced=enhanced, what="sharp"
        )
    maps = (
        ("std", result.std, files.std),
        ("lower", result.lower, files.lower),
        ("upper", result.upper, files.upper),
    )
    for what, image, path in maps:
        if image:
            write_map(image, places[path], source=series, made_by=made_by, what=what)
