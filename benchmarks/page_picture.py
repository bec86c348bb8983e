"""A screenshot of the page: an image made coarser, restored again, before, after and uncertainty.

Needs the extra serve, Playwright and Chromium.

python benchmarks/page_picture.py --image brain.nii.gz --out docs/images/page.png
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import kfine

# WebGL drawn by the processor.
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
WAIT = 600_000  # ms


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        image = kfine.read(options.image)
        middle, half = image.slices // 2, options.slices // 2
        low = kfine.degrade(image.take_slices(middle - half, middle + half), scale=options.scale)
        kfine.write(low, folder / "images" / "brain.nii.gz")
        server = subprocess.Popen(
            [sys.executable, "-m", "kfine", "serve", str(folder / "images"), "--no-browser"],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"KFINE_SERVE_HOME": str(folder / "private")},
        )
        try:
            assert server.stdout is not None
            found = re.search(r"http\S+", server.stdout.readline())
            assert found is not None
            photograph(found[0], options)
        finally:
            server.terminate()
            server.wait(120)


def photograph(url: str, options: argparse.Namespace) -> None:
    """Restore the image on the page at `url` and save what the page then looks like."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.set_default_timeout(WAIT)
        page.goto(url)
        page.wait_for_selector("#scan option:nth-child(2)", state="attached")
        page.select_option("#scan", label="brain.nii.gz")
        page.wait_for_selector("#start:not([disabled])")
        page.select_option("#scale", f"{options.scale:g}")
        page.wait_for_selector("#start:not([disabled])")
        page.click("#start")
        page.wait_for_selector('body[data-shown]:not([data-shown=""])')
        page.wait_for_timeout(1500)
        page.screenshot(path=options.out)
        browser.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path, required=True, help="a brain without a face")
    parser.add_argument("--scale", type=float, default=2)
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
