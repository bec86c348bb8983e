"""docs/images/orthanc.png: a restored DICOM series beside its study, as Orthanc's own pages show it.

python benchmarks/orthanc_picture.py --study CINE_FOLDER --restored OUT_FOLDER --out docs/images/orthanc.png

Needs Debian's orthanc, orthanc-webviewer and chromium.  The server is the script's own, on loopback, and gone
afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from PIL import Image as Picture

VIEWER = Path("/usr/share/orthanc/plugins/libOrthancWebViewer.so")
WAIT = 60.0


def main() -> None:
    options = _options()
    if not VIEWER.exists():
        raise SystemExit(f"{VIEWER}: expected Orthanc's viewer, got nothing; install orthanc-webviewer")
    with tempfile.TemporaryDirectory() as folder, _orthanc(Path(folder)) as address:
        study = {}
        for path in sorted(
            p for top in (options.study, options.restored) for p in top.rglob("*") if p.is_file()
        ):
            study = _upload(address, path)
        series = _restored(address, study["ParentStudy"])
        pages = (
            f"{address}/app/explorer.html#study?uuid={study['ParentStudy']}",
            f"{address}/web-viewer/app/viewer.html?series={series}",
        )
        shots = [_shot(page, Path(folder) / f"{number}.png") for number, page in enumerate(pages)]
    sheet = Picture.new("RGB", (sum(shot.width for shot in shots), max(shot.height for shot in shots)))
    left = 0
    for shot in shots:
        sheet.paste(shot, (left, 0))
        left += shot.width
    sheet.save(options.out, optimize=True)


@contextlib.contextmanager
def _orthanc(folder: Path):
    """Run a server on loopback and yield its address."""
    port = _free_port()
    (folder / "orthanc.json").write_text(
        json.dumps(
            {
                "StorageDirectory": str(folder / "db"),
                "IndexDirectory": str(folder / "db"),
                "HttpPort": port,
                "DicomServerEnabled": False,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "Plugins": [str(VIEWER)],
            }
        )
    )
    program = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([program, folder / "orthanc.json"], stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + WAIT
        while True:
            try:
                urllib.request.urlopen(f"{address}/system").close()
                break
            except OSError:
                if time.monotonic() > until:
                    raise SystemExit(f"orthanc_picture.py: Orthanc did not start in {WAIT:.0f} s") from None
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(WAIT)


def _upload(address: str, path: Path) -> dict[str, str]:
    request = urllib.request.Request(f"{address}/instances", data=path.read_bytes())
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def _restored(address: str, study: str) -> str:
    """Return the identifier of the restored MR series: the one of the study whose description says kfine."""
    with urllib.request.urlopen(f"{address}/studies/{study}/series") as answer:
        for series in json.load(answer):
            tags = series["MainDicomTags"]
            if tags["Modality"] == "MR" and "kfine" in tags.get("SeriesDescription", ""):
                return series["ID"]
    raise SystemExit("orthanc_picture.py: --restored: expected a series that kfine restore wrote, found none")


def _shot(page: str, path: Path) -> Picture.Image:
    """Return what a browser shows of a page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("orthanc_picture.py: expected chromium, found none; install it")
    subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--screenshot={path}", "--window-size=800,720", "--virtual-time-budget=30000", page,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return Picture.open(path).convert("RGB")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", type=Path, required=True, metavar="FOLDER", help="the series given")
    parser.add_argument("--restored", type=Path, required=True, metavar="FOLDER", help="what kfine wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="F.png")
    return parser.parse_args()


if __name__ == "__main__":
    main()
