"""The page in a real browser: Debian's Chromium, driven by Playwright, on phantoms that the tests make.

Skipped where either is missing.  WebGL is drawn by the processor.
"""

import base64
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image as Picture

import kfine
from kfine.image import Image
from kfine.phantom.cine import beating_heart
from kfine.serve.session import HOME
from tests.conftest import phantom
from tests.io.dicom_files import series

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no chromium on this machine", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytest.importorskip("starlette", reason="needs the extra serve")

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
WAIT = 240_000  # ms: a busy machine is slow
AFFINE = np.array([[0, 0, -2, 30], [0, 2, 0, -28], [5, 0, 0, 7], [0, 0, 0, 1]], float)
SHOWN = 'body[data-shown]:not([data-shown=""])'


class Server:
    """`kfine serve` as a user starts it."""

    def __init__(self, home, images, port=0):
        command = [sys.executable, "-m", "kfine", "serve", str(images), "--no-browser", "--port", str(port)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {HOME: str(home), "OMP_NUM_THREADS": "1"},
        )
        self.url = re.search(r"http\S+", self.process.stdout.readline())[0]
        self.origin = self.url.split("?")[0].rstrip("/")

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    images = tmp_path_factory.mktemp("images")
    kfine.write(Image(phantom((1, 6, 48, 40)), AFFINE), images / "brain.nii.gz")
    kfine.write(beating_heart((32, 32), frames=6, period=0.9, slices=2), images / "heart.nii.gz")
    kfine.write(Image(phantom((1, 40, 64, 64)), AFFINE), images / "stack.nii")
    kfine.write(Image(phantom((1, 200, 160, 160)), AFFINE), images / "long.nii")
    # A short axis of the heart: its slices lie in no plane of the body.
    turned = [[5.76, -0.03, -0.95, 51], [-5.27, -0.46, -0.92, 232], [1.74, -1.29, 0.35, 88], [0, 0, 0, 1]]
    kfine.write(Image(phantom((1, 2, 48, 40)), np.array(turned)), images / "oblique.nii.gz")
    np.save(images / "coils.npy", coils())
    noise = np.random.default_rng(0).random((1, 3, 48, 40), dtype=np.float32)
    kfine.write(Image(noise, AFFINE), images / "noise.nii.gz")
    return images


def coils():
    """k-space (coil, row, column) of one slice, as four coils around it measure it."""
    x, y = np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 48))
    near = [np.exp(-((x - a) ** 2) - (y - b) ** 2) for a, b in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    images = phantom((1, 1, 48, 40))[0, 0] * np.array(near)
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(images, axes=(1, 2))), axes=(1, 2)).astype(
        np.complex64
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory, folder):
    started = Server(tmp_path_factory.mktemp("private"), folder)
    yield started
    started.end()


@pytest.fixture(scope="module")
def player():
    with sync_api.sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(player):
    started = player.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield started
    started.close()


@pytest.fixture
def tab(browser, server):
    yield from opened(browser, server)


def opened(browser, server):
    """Yield a tab with the page; whatever it loads comes from the server, and no script fails."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.set_default_timeout(WAIT)
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(server.url)
    page.wait_for_selector("#scan option:nth-child(2)", state="attached")
    yield page
    context.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith((server.origin, "data:", "blob:"))] == []


def choose(page, name, *, method="zero-filling", **options):
    page.select_option("#scan", label=name)
    page.wait_for_selector("#start:not([disabled])")
    page.evaluate("document.querySelector('#options details').open = true")
    for name_, value in {"method": method, **options}.items():
        page.select_option(f"#{name_}", value)
    page.wait_for_selector("#start:not([disabled])")


def restore(page, name, **options):
    choose(page, name, **options)
    page.click("#start")
    page.wait_for_selector(SHOWN)
    page.wait_for_timeout(300)


def grey(page, selector):
    """What is drawn there, as an array (row, column) of 0..255."""
    shot = page.locator(selector).screenshot()
    return np.asarray(Picture.open(io.BytesIO(shot)).convert("L"), float)


def hidden(page):
    """The part of the pane "after" that is covered."""
    shot = page.locator("#canvas-after").screenshot()
    colours = np.asarray(Picture.open(io.BytesIO(shot)).convert("RGB"), int)
    return (np.abs(colours - [24, 30, 44]).max(axis=-1) <= 3).mean()


def unsure(page, value):
    """The part of the slice on view whose standard deviation is above the limit of the slider."""
    return page.evaluate(
        """(value) => {
            const { volume, dims: [nx, ny, nz], slope, offset } = viewer.samplers.std;
            const at = viewer.views.after.scene.crosshairPos, limit = value / 100 * viewer.about.spread;
            const z = Math.min(nz - 1, Math.floor(at[2] * nz)), all = nx * ny;
            let count = 0;
            for (let k = 0; k < all; k++) count += volume.img[z * all + k] * slope + offset > limit;
            return count / all;
        }""",
        value,
    )


def settled(page, what, seconds=30.0):
    """Return the first true answer of `what`, or fail."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        page.wait_for_timeout(100)
    raise AssertionError("waited in vain")


def drop(page, *paths):
    files = [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in paths]
    page.evaluate(
        """(files) => {
            const transfer = new DataTransfer();
            for (const [name, text] of files)
                transfer.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
            document.getElementById("drop").dispatchEvent(
                new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        files,
    )


def test_drop_restore_and_look(tab, folder, tmp_path):
    """A thick-slice DICOM series is dropped, restored to isotropic voxels and seen from the side."""
    series(tmp_path / "study", slices=8)
    drop(tab, *sorted((tmp_path / "study").iterdir()))
    tab.wait_for_selector("#start:not([disabled])")
    assert "8" in tab.inner_text("#facts")
    assert tab.input_value("#slices") == "isotropic"
    tab.evaluate("document.querySelector('#options details').open = true")
    tab.select_option("#method", "zero-filling")
    tab.wait_for_selector("#start:not([disabled])")
    tab.click("#start")
    tab.wait_for_selector(SHOWN)
    assert tab.input_value("#plane") == "sagittal"  # these slices are nearly coronal
    assert grey(tab, "#canvas-after").max() > 100


def test_linked_views_slider_and_threshold(tab):
    restore(tab, "brain.nii.gz", scale="2", slices="keep")
    for name in ("#canvas-before", "#canvas-after"):
        settled(tab, lambda name=name: grey(tab, name).max() > 100)
    # Linked: arrow keys in one view move all.
    first = tab.inner_text("#slice-text")
    old = grey(tab, "#canvas-before")
    tab.focus("#canvas-after")
    tab.keyboard.press("ArrowUp")
    settled(tab, lambda: tab.inner_text("#slice-text") != first)
    settled(tab, lambda: np.abs(grey(tab, "#canvas-before") - old).max() > 20)
    # The slider: all of the picture is "after" at 0, "before" at 100.
    tab.select_option("#layout", "reveal")
    tab.wait_for_timeout(500)
    pictures = []
    for value in ("0", "100"):
        tab.locator("#reveal").fill(value)
        tab.wait_for_timeout(300)
        pictures.append(grey(tab, "#panes"))
    left = [picture[20:-40, 20 : picture.shape[1] // 2 - 20] for picture in pictures]
    assert 0.7 < left[1].mean() / left[0].mean() < 1.4  # the same anatomy on both sides of the slider
    assert np.abs(left[0] - left[1]).max() > 10
    tab.select_option("#layout", "side")
    # Window: half the white makes it brighter.
    tab.wait_for_timeout(500)
    dark = grey(tab, "#canvas-after").mean()
    tab.locator("#white").fill("50")
    settled(tab, lambda: grey(tab, "#canvas-after").mean() > dark * 1.1)


def test_only_where_sure(tab):
    """The least sure voxels are covered."""
    restore(tab, "brain.nii.gz", scale="2", slices="keep")
    assert tab.input_value("#third") == "std"
    settled(tab, lambda: grey(tab, "#canvas-third").max() > 60)
    open_ = settled(tab, lambda: grey(tab, "#canvas-after").mean())
    tab.check("#pixels")  # between voxels the cover is drawn in part
    covered = {}
    for value in (60, 20):
        tab.locator("#sure").fill(str(value))
        settled(tab, lambda: hidden(tab) > max(covered.values(), default=0))
        tab.wait_for_timeout(300)
        covered[value] = hidden(tab)
    # By the limit, and not all: voxels that are surer than it stay.
    assert covered[60] / covered[20] == pytest.approx(unsure(tab, 60) / unsure(tab, 20), rel=0.25)
    assert grey(tab, "#canvas-after").mean() < open_ * 0.9
    tab.locator("#sure").fill("100")
    settled(tab, lambda: abs(grey(tab, "#canvas-after").mean() - open_) < 0.1 * open_)
    with tab.expect_download() as waiting:
        tab.click("#downloads >> text=HTML page")
    assert "brain" not in waiting.value.suggested_filename


def test_intervals_are_looked_at(tab):
    restore(tab, "brain.nii.gz", method="core", effort="fast", slices="keep", confidence="0.9", scale="2")
    assert "90 % interval" in tab.inner_text("#view-text")
    greys = {}
    for end in ("lower", "upper"):
        tab.select_option("#third", end)
        settled(tab, lambda end=end: end.title() in tab.inner_text("#third-caption"))
        greys[end] = settled(tab, lambda: grey(tab, "#canvas-third").mean())
    assert greys["lower"] < greys["upper"]
    with tab.expect_download() as waiting:
        tab.click("#downloads >> text=Lower")
    assert waiting.value.suggested_filename == "brain_x2-core_kfine_lower.nii.gz"


def test_a_sharp_image_is_looked_at(tab):
    """It is offered where it is possible; a switch draws it in the place of the mean image."""
    choose(tab, "brain.nii.gz", method="core", effort="fast", scale="2", slices="keep")
    settled(tab, lambda: tab.is_disabled("#sharp_amount"))
    tab.check("#sharp")
    settled(tab, lambda: tab.is_enabled("#sharp_amount"))
    tab.evaluate("document.querySelector('#sharp_amount').closest('details').open = true")
    with tab.expect_request(lambda request: request.url.endswith("/forecast")) as waiting:
        tab.fill("#sharp_amount", "0.5")
        tab.dispatch_event("#sharp_amount", "change")
    assert waiting.value.post_data_json["sharp_amount"] == 0.5
    for option, value, reason in (("slices", "isotropic", "finer slices"), ("method", "vdm", "methods core")):
        old = tab.input_value(f"#{option}")
        tab.select_option(f"#{option}", value)
        settled(tab, lambda reason=reason: reason in tab.inner_text("#sharp-reason"))
        assert tab.is_disabled("#sharp")
        assert not tab.is_checked("#sharp")
        tab.select_option(f"#{option}", old)
        settled(tab, lambda: tab.is_enabled("#sharp") and tab.is_checked("#sharp"))
    tab.wait_for_selector("#start:not([disabled])")
    tab.click("#start")
    tab.wait_for_selector(SHOWN)
    assert "mean" in tab.inner_text("#pane-after figcaption")
    assert "sharp" in tab.inner_text("#view-text")
    settled(tab, lambda: grey(tab, "#canvas-after").max() > 100)
    mean = grey(tab, "#canvas-after")
    tab.select_option("#shown", "sharp")
    settled(tab, lambda: np.abs(grey(tab, "#canvas-after") - mean).max() > 5)
    assert "sharp" in tab.inner_text("#pane-after figcaption")
    tab.wait_for_selector("#downloads >> text=Sharp")
    with tab.expect_download() as waiting:
        tab.click("#downloads >> text=Sharp")
    assert waiting.value.suggested_filename == "brain_x2-core_kfine_sharp.nii.gz"
    restore(tab, "brain.nii.gz", scale="2", slices="keep")
    settled(tab, lambda: not tab.is_visible("#shown"))


def test_an_image_unlike_the_training_data_is_announced(tab):
    choose(tab, "noise.nii.gz", method="auto", scale="2")
    assert "unlike" in settled(tab, lambda: tab.inner_text("#forecast-note"))
    tab.check("#strict")
    assert "unlike" in settled(tab, lambda: tab.inner_text("#start-error"))
    assert tab.is_disabled("#start")
    tab.uncheck("#strict")
    tab.wait_for_selector("#start:not([disabled])")
    tab.click("#start")
    tab.wait_for_selector(SHOWN)
    assert "unlike" in tab.inner_text("#caution")


def test_options_that_a_method_does_not_use_are_closed(tab):
    choose(tab, "brain.nii.gz", method="core", effort="fast")
    assert tab.is_enabled("#effort")
    tab.select_option("#method", "bicubic")
    tab.wait_for_selector("#start:not([disabled])")
    assert tab.is_disabled("#effort")
    assert tab.inner_text("#start-error") == ""


def test_a_cine_plays_in_true_time(tab):
    restore(tab, "heart.nii.gz", scale="2", frames_scale="2")
    tab.click("#play")
    # What is shown is the frame of the heart's own time, however seldom a slow machine draws.
    seen = tab.evaluate(
        """async () => {
            const seen = [];
            while (!document.body.dataset.clock) await new Promise(requestAnimationFrame);
            for (let k = 0; k < 40; k++) {
                await new Promise((done) => setTimeout(done, 50));
                const { clock, time, frame } = document.body.dataset;
                seen.push([clock, time, frame].map(Number));
            }
            return seen;
        }"""
    )
    clock, time_, frame = np.array(seen).T
    # In frames; the browser's clock has steps of 0.1 ms and can meet a change of frames exactly.
    position = time_ / 0.075
    assert (frame < position + 1e-6).all()
    assert (position < frame + 1 + 1e-6).all()
    assert len(set(frame)) > 1
    turns = (clock - time_) / 0.9  # whole heart beats but for where it began
    assert np.ptp((turns - turns[0] + 0.5) % 1) < 1e-3
    tab.click("#play")
    tab.select_option("#panel", "time")
    assert grey(tab, "#plot").std() > 10


def test_oblique_slices_are_shown_in_their_plane(tab):
    restore(tab, "oblique.nii.gz", scale="2")
    assert "(slices)" in tab.inner_text("#plane option:checked")
    assert tab.inner_text("#slice-text").endswith("/2")
    assert "NaN" not in tab.inner_text("#view-text")
    settled(tab, lambda: grey(tab, "#canvas-before").max() > 100)
    shown = grey(tab, "#canvas-after")
    assert (shown > 60).mean() > 0.1  # a plane, not the edge of two slices
    assert "NaN" not in tab.inner_text("#view-text")


def test_before_and_after_lie_on_each_other(tab):
    """A point of the world is at one place in both views, though their fields of view differ by parts of a voxel."""
    restore(tab, "brain.nii.gz", scale="2", slices="isotropic")
    for zoom in ("1", "2.5"):
        tab.locator("#zoom").fill(zoom)
        tab.wait_for_timeout(300)
        places = tab.evaluate(
            """() => ["before", "after"].map((name) => {
                const view = viewer.views[name], point = [viewer.mm[0] + 3, viewer.mm[1], viewer.mm[2] + 4];
                return Array.from(view.frac2canvasPos(view.mm2frac(point, 0, true)));
            })"""
        )
        assert np.abs(np.subtract(*places)).max() < 0.5


def test_coils_of_raw_kspace_are_combined_by_a_button(tab):
    tab.select_option("#scan", label="coils.npy")
    tab.click("#scan-error button")
    tab.wait_for_selector("#start:not([disabled])")
    assert tab.input_value("#coil_axis") == "0"
    assert "4" in tab.inner_text("#facts")
    assert tab.inner_text("#scan-error") == ""


def test_cancel_and_two_tabs(tab, browser, server):
    other = opened(browser, server)
    second = next(other)
    choose(tab, "long.nii", method="core", effort="best", scale="4", slices="keep")
    tab.click("#start")
    for page in (tab, second):
        page.wait_for_selector("li[data-state=running]")
    assert tab.inner_text("#nothing-title") == "Restoring long.nii"
    assert second.inner_text("#nothing-title") != "Restoring long.nii"  # it started nothing
    second.click("li[data-state=running] >> text=Cancel")
    for page in (tab, second):
        page.wait_for_selector("#queue li:first-child[data-state=cancelled]")
    with pytest.raises(StopIteration):
        next(other)


def test_a_broken_file_is_one_line(tab, tmp_path):
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(b"\x1f\x8b nothing")
    tab.set_input_files("#files", path)
    settled(tab, lambda: tab.inner_text("#scan-error"))
    assert "fault of kfine" not in tab.inner_text("#scan-error")
    assert not tab.is_visible("#start")


def test_everything_has_a_name_and_the_keyboard_reaches_it(tab):
    unnamed = tab.evaluate(
        """() => [...document.querySelectorAll("button, a, input, select, canvas, img, iframe, progress")]
            .filter((e) => e.getAttribute("aria-hidden") !== "true")
            .filter((e) => !(e.labels?.length || e.ariaLabel || e.alt || e.title || e.textContent.trim()))
            .map((e) => e.id)"""
    )
    assert unnamed == []
    tab.keyboard.press("Tab")
    reached = set()
    for _ in range(12):
        reached.add(tab.evaluate("document.activeElement.id"))
        tab.keyboard.press("Tab")
    assert {"hide", "choose-file", "choose-folder", "scan"} <= reached
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1280
    assert tab.evaluate("document.documentElement.scrollHeight") <= 720


def test_without_webgl_pictures_are_shown(player, server):
    browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-3d-apis"])
    pages = opened(browser, server)
    page = next(pages)
    restore(page, "brain.nii.gz", scale="2", slices="keep")
    inside = page.frame_locator("#flat")
    inside.locator("body[data-drawn]").wait_for()
    shot = inside.locator("#both").screenshot()
    assert np.asarray(Picture.open(io.BytesIO(shot)).convert("L")).max() > 100
    with pytest.raises(StopIteration):
        next(pages)
    browser.close()


def test_the_view_of_a_notebook(browser):
    """What `show` gives a notebook draws, slides and asks no server for anything."""
    low = Image(phantom((1, 6, 48, 40)), AFFINE)
    page = browser.new_page()
    page.set_default_timeout(WAIT)
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.set_content(kfine.restore(low, scale=2, method="zero-filling").show()._repr_html_())
    inside = page.frame_locator("iframe")
    pictures = []
    for value in ("0", "100"):
        inside.locator("#reveal").fill(value)
        inside.locator(f"body[data-drawn*='/{value}/']").wait_for()
        shot = inside.locator("#both").screenshot()
        pictures.append(np.asarray(Picture.open(io.BytesIO(shot)).convert("L"), float))
    page.close()
    after, before = pictures
    assert 0.7 < before.mean() / after.mean() < 1.4
    assert np.abs(before - after).max() > 10
    assert wrong == []
    assert [url for url in asked if not url.startswith(("data:", "about:"))] == []


def test_a_killed_server_goes_on(browser, tmp_path, folder):
    """The server is killed in the middle; the open page finds the next one, and the restoration is finished."""
    first = Server(tmp_path, folder)
    pages = opened(browser, first)
    page = next(pages)
    choose(page, "stack.nii", method="core", effort="fast", scale="2", slices="keep")
    page.click("#start")
    page.wait_for_selector("li[data-state=running]")
    first.end(signal.SIGKILL)
    page.wait_for_selector("#connection:not(:empty)")
    second = Server(tmp_path, folder, port=int(first.origin.rsplit(":", 1)[1]))
    try:
        assert second.url == first.url
        page.wait_for_selector("#queue li[data-state=done], #queue li[data-state=failed]")
        assert page.query_selector("#queue li[data-state=done]")
        with pytest.raises(StopIteration):
            next(pages)
    finally:
        second.end()
    assert list(tmp_path.iterdir()) == []
