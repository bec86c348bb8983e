"""Times of the page: how long it takes to open, and a thick-slice DICOM study from the drop to the picture after.

The steps are those of a reader without a manual: drop a ZIP file, press Start, see before and after, move the slider.
Every option keeps its preset value.  On a machine with other work the seconds of one core say more than the time that
passed.  Needs Linux, the extra serve, Playwright and Chromium.

python benchmarks/page_time.py --image thick_slices.nii.gz [--pictures FOLDER]
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

import kfine
from kfine.image import Image

# WebGL drawn by the processor; no name is looked up, so that the page cannot leave the machine.
FLAGS = [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip
WAIT = 900_000  # ms
DRAWN = 'body[data-drawn]:not([data-drawn=""])'
SHOWN = 'body[data-shown]:not([data-shown=""])'
DROP = """([name, text]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
    document.getElementById("drop").dispatchEvent(
        new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


def main() -> None:
    options = _options()
    study = study_of(kfine.read(options.image))
    with tempfile.TemporaryDirectory() as name:
        server = subprocess.Popen(
            [sys.executable, "-m", "kfine", "serve", "--no-browser"],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"KFINE_SERVE_HOME": name},
        )
        try:
            assert server.stdout is not None
            found = re.search(r"http\S+", server.stdout.readline())
            assert found is not None
            seconds = timed(found[0], study, options.pictures, server=server.pid)
            seconds["seconds of one core, without the browser"] = core_seconds(server.pid)
            print(json.dumps(seconds, indent=1))
        finally:
            server.terminate()
            server.wait(120)


def timed(url: str, study: bytes, pictures: Path | None, *, server: int) -> dict[str, float]:
    """Return the seconds of each step.

    server: the process of the server.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.set_default_timeout(WAIT)
        steps: dict[str, float] = {}
        began = time.perf_counter()
        page.goto(url)
        page.wait_for_selector("#scan option", state="attached")
        steps["the page is open"] = time.perf_counter() - began
        _shoot(page, pictures, "1-open")
        page.evaluate(DROP, ["study.zip", base64.b64encode(study).decode()])
        began = time.perf_counter()
        page.wait_for_selector("#start:not([disabled])")
        steps["dropped: the form is ready"] = time.perf_counter() - began
        page.wait_for_selector("#forecast:has-text('about')")
        steps["dropped: the time is estimated"] = time.perf_counter() - began
        _shoot(page, pictures, "2-form")
        page.click("#start")
        page.wait_for_selector("li[data-state=running] progress[value]")
        _shoot(page, pictures, "3-running")
        page.wait_for_selector("#queue li >> text=Open")
        steps["dropped: the result is ready for the viewer"] = time.perf_counter() - began
        steps["seconds of one core until then, without the browser"] = core_seconds(server)
        page.wait_for_selector(DRAWN)
        steps["dropped: before and after are shown"] = time.perf_counter() - began
        page.wait_for_selector(SHOWN)
        steps["dropped: the uncertainty is shown"] = time.perf_counter() - began
        page.wait_for_timeout(500)
        _shoot(page, pictures, "4-shown")
        page.select_option("#layout", "reveal")
        page.locator("#reveal").fill("30")
        page.wait_for_timeout(500)
        _shoot(page, pictures, "5-slider")
        steps["dropped: the slider has moved"] = time.perf_counter() - began
        page.wait_for_selector("#queue li[data-state=done]")
        steps["dropped: the files are written"] = time.perf_counter() - began
        browser.close()
    return {step: round(seconds, 2) for step, seconds in steps.items()}


def core_seconds(pid: int) -> float:
    """Return the seconds of processor time of a process and its descendants."""
    parents, used = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
        used[int(path.parent.name)] = int(fields[11]) + int(fields[12])
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return round(sum(used[one] for one in family) / os.sysconf("SC_CLK_TCK"), 1)


def _shoot(page: Page, pictures: Path | None, name: str) -> None:
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=pictures / f"{name}.png")


def study_of(image: Image) -> bytes:
    """Return a ZIP file of `image` as a classic DICOM series, a file a slice."""
    grey = np.rint(image.voxels[0] * (2000 / image.voxels.max())).clip(0).astype(np.uint16)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, pixels in enumerate(grey):
            dataset = _slice_of(image, number, pixels)
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
            dataset.FrameOfReferenceUID = frame
            file = io.BytesIO()
            dataset.save_as(file, enforce_file_format=True)
            archive.writestr(f"study/IM{number:04d}", file.getvalue())
    return packed.getvalue()


def _slice_of(image: Image, number: int, pixels: np.ndarray[Any, Any]) -> Dataset:
    lps = np.diag([-1.0, -1, 1])
    axes = lps @ image.affine[:3, :3]
    between, row, column = (float(size) for size in image.voxel_sizes)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.PatientName, dataset.PatientID = "Nobody^Example", "0"
    dataset.PatientBirthDate = dataset.PatientSex = dataset.StudyDate = dataset.StudyTime = ""
    dataset.ReferringPhysicianName = dataset.StudyID = dataset.AccessionNumber = ""
    dataset.Modality, dataset.Manufacturer = "MR", ""
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "SE"]
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "SE", "NONE", ""
    dataset.MRAcquisitionType, dataset.EchoTime, dataset.RepetitionTime = "2D", "", ""
    dataset.EchoTrainLength = dataset.PositionReferenceIndicator = ""
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number + 1
    dataset.SeriesDescription = "thick slices"
    corner = lps @ (image.affine @ [number, 0, 0, 1])[:3]
    dataset.ImagePositionPatient = [round(float(x), 5) for x in corner]
    orientation = (*(axes[:, 2] / column), *(axes[:, 1] / row))  # along a row, down a column
    dataset.ImageOrientationPatient = [round(float(x), 7) for x in orientation]
    dataset.PixelSpacing = [round(row, 6), round(column, 6)]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = round(between, 5)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.tobytes()
    return dataset


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path, required=True, help="a stack of thick slices")
    parser.add_argument("--pictures", type=Path, help="folder for a screenshot of each step")
    return parser.parse_args()


if __name__ == "__main__":
    main()
