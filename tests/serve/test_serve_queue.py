"""The queue and its worker: results, progress, cancelling, restarts; on real images and real restorations."""

import json

import nibabel
import numpy as np
import pytest

import kfine
from kfine.image import Image
from kfine.phantom.cine import beating_heart
from kfine.restoration.outputs import write_restoration
from kfine.serve.worker import work
from tests.conftest import phantom
from tests.io.dicom_files import cine
from tests.serve.conftest import sent


def run_all(bench):
    work(bench, lambda: False, until_empty=True)


def asked(client, key, **values):
    answer = client.post("/api/jobs", json={"scan": key, "method": "zero-filling", **values})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


@pytest.fixture
def low(images):
    affine = np.array([[0, 0, -2, 30], [0, 2, 0, -28], [4, 0, 0, 7], [0, 0, 0, 1]], float)
    kfine.write(Image(phantom((1, 6, 24, 20)), affine), images / "low.nii.gz")
    return images / "low.nii.gz"


@pytest.fixture
def key(client, low):
    return client.get("/api/scans").json()[0]["id"]


def test_the_page_gives_the_voxels_of_the_library(client, bench, low, key):
    job = asked(client, key, scale=2)
    run_all(bench)
    found = client.get(f"/api/jobs/{job}").json()
    assert found["state"] == "done", found["error"]
    answer = client.get(f"/api/jobs/{job}/result")
    assert answer.headers["content-disposition"] == 'attachment; filename="low_x2-zero-filling_kfine.nii.gz"'
    (bench.home / "r.nii.gz").write_bytes(answer.content)
    expected = kfine.restore(low, scale=2, method="zero-filling").mean
    assert np.array_equal(kfine.read(bench.home / "r.nii.gz").voxels, expected.voxels)
    record = client.get(f"/api/jobs/{job}/record").json()
    assert record["method"] == "zero-filling"


def test_the_views_lie_on_the_image(client, bench, low, key):
    """Before and after agree in the world: the centre of mass of both is the same."""
    job = asked(client, key, scale=2)
    run_all(bench)
    about = client.get(f"/api/jobs/{job}").json()["result"]
    assert about["volumes"] == ["before", "after", "std", "difference"]
    centres = []
    for name in ("before", "after"):
        path = bench.home / f"{name}.nii"
        path.write_bytes(client.get(f"/api/jobs/{job}/{name}").content)
        file = nibabel.load(path)
        assert file.get_data_dtype() == np.int16
        weight = file.get_fdata()
        grid = np.indices(weight.shape).reshape(3, -1)
        mass = (grid * weight.ravel()).sum(1) / weight.sum()
        centres.append(nibabel.affines.apply_affine(file.affine, mass))
    assert np.abs(centres[0] - centres[1]).max() < 0.1


def test_intervals_are_those_of_the_library(client, bench, low, key):
    job = asked(client, key, scale=2, method="core", effort="fast", confidence=0.9)
    run_all(bench)
    found = client.get(f"/api/jobs/{job}").json()
    assert found["state"] == "done", found["error"]
    assert found["result"]["confidence"] == 0.9
    assert found["result"]["volumes"] == ["before", "after", "std", "difference", "lower", "upper"]
    expected = kfine.restore(low, scale=2, method="core", effort="fast", confidence=0.9)
    for end, image in (("lower", expected.lower), ("upper", expected.upper)):
        path = bench.home / "end.nii.gz"
        path.write_bytes(client.get(f"/api/jobs/{job}/result-{end}").content)
        assert np.array_equal(kfine.read(path).voxels, image.voxels)
        assert client.get(f"/api/jobs/{job}/{end}").status_code == 200
    half = found["result"]["multiplier"] * expected.std.voxels
    assert np.allclose(expected.upper.voxels, expected.mean.voxels + half, rtol=1e-3)


@pytest.mark.parametrize("amount", [None, 0.5])
def test_the_sharp_image_is_that_of_the_library(client, bench, low, key, amount):
    job = asked(client, key, scale=2, method="core", effort="fast", sharp=True, sharp_amount=amount)
    run_all(bench)
    found = client.get(f"/api/jobs/{job}").json()
    assert found["state"] == "done", found["error"]
    assert found["result"]["sharp"]
    assert "sharp" in found["result"]["volumes"]
    answer = client.get(f"/api/jobs/{job}/result-sharp")
    assert answer.headers["content-disposition"].endswith('_sharp.nii.gz"')
    path = bench.home / "sharp.nii.gz"
    path.write_bytes(answer.content)
    expected = kfine.restore(low, scale=2, method="core", effort="fast", sharp=True, sharp_amount=amount)
    assert np.array_equal(kfine.read(path).voxels, expected.sharp.voxels)
    assert client.get(f"/api/jobs/{job}/record").json()["sharp"]["name"] == "sharp"
    assert '"sharp":true' in client.get(f"/api/jobs/{job}/mail").text.replace(" ", "")


@pytest.mark.parametrize(("amount", "sharp"), [(1.6, True), (0, True), (0.5, False)])
def test_an_amount_of_a_sharp_image_that_cannot_be_is_refused(client, key, amount, sharp):
    wanted = {"scale": 2, "method": "auto", "sharp": sharp, "sharp_amount": amount}
    answer = client.post(f"/api/scans/{key}/forecast", json=wanted)
    assert answer.status_code in (400, 422)
    assert "sharp_amount" in answer.json()["error"]


def test_finer_slices_have_no_sharp_image(client, key):
    answer = client.post(f"/api/scans/{key}/forecast", json={"slices": "isotropic", "sharp": True})
    assert answer.status_code == 422
    assert "sharp: only for measured slices" in answer.json()["error"]


def test_the_result_is_shown_before_its_files_are_written(client, bench, low, key, monkeypatch):
    """The page can look at the volumes while the files for downloads are missing."""
    seen = []

    def write(result, files, **options):
        job = bench.store.all("job")[-1]["id"]
        found = client.get(f"/api/jobs/{job}").json()
        codes = {
            kind: client.get(f"/api/jobs/{job}/{kind}").status_code
            for kind in ("after", "kspace", "result", "mail")
        }
        seen.append((found["state"], found["result"]["method"], codes))
        return write_restoration(result, files, **options)

    monkeypatch.setattr("kfine.restoration.pipeline.write_restoration", write)
    job = asked(client, key, scale=2)
    run_all(bench)
    codes = {"after": 200, "kspace": 200, "result": 404, "mail": 404}
    assert seen == [("running", "zero-filling", codes)]
    assert client.get(f"/api/jobs/{job}/result").status_code == 200


def test_without_confidence_there_is_no_interval(client, bench, key):
    job = asked(client, key, scale=2)
    run_all(bench)
    assert client.get(f"/api/jobs/{job}").json()["result"]["confidence"] is None
    assert client.get(f"/api/jobs/{job}/result-lower").status_code == 404


def test_intervals_without_calibration_are_refused_before_the_start(client, images):
    kfine.write(beating_heart((24, 24), frames=4, period=0.8), images / "heart.nii.gz")
    key = client.get("/api/scans").json()[0]["id"]
    values = {"scale": 2, "frames_scale": 2, "method": "core", "confidence": 0.9}
    answer = client.post(f"/api/scans/{key}/forecast", json=values)
    assert answer.status_code == 422
    assert "calibrated" in answer.json()["error"]


def test_an_image_unlike_the_training_data_is_announced_or_refused(client, bench, images):
    noise = np.random.default_rng(0).random((1, 3, 48, 40), dtype=np.float32)
    kfine.write(Image(noise), images / "noise.nii")
    key = client.get("/api/scans").json()[0]["id"]
    found = client.post(f"/api/scans/{key}/forecast", json={"scale": 2}).json()
    assert found["domain"]["foreign"]
    assert "unlike" in found["notes"][0]
    refused = client.post(f"/api/scans/{key}/forecast", json={"scale": 2, "strict": True})
    assert (refused.status_code, "strict" in refused.json()["error"]) == (422, True)
    job = asked(client, key, scale=2, method="auto")
    run_all(bench)
    found = client.get(f"/api/jobs/{job}").json()
    assert found["result"]["domain"]["foreign"]
    assert any("unlike" in note for note in found["notes"])


def test_the_page_learns_which_options_a_method_does_not_use(client):
    no_use = client.get("/api/about").json()["no_use"]
    assert no_use["bicubic"] == ["effort", "sharp", "denoise", "samples"]
    assert "sharp" in no_use["vdm"]
    assert "sharp" not in no_use["core"]
    assert no_use["auto"] == []


def test_thick_slices_are_shown_from_the_side_and_kspace_is_drawn(client, bench, key):
    job = asked(client, key, slices="isotropic")
    run_all(bench)
    about = client.get(f"/api/jobs/{job}").json()["result"]
    assert about["through"]
    assert about["block"]["restored"][0] > about["block"]["measured"][0] == 6
    assert about["simulated"]
    assert about["shape"]["after"][1] > about["shape"]["before"][1]
    assert client.get(f"/api/jobs/{job}/kspace").content.startswith(b"\x89PNG")


def test_images_without_directions_are_shown_as_stored(client, bench, images):
    """Raw k-space: rows run down and columns to the right in the axial view, which gets no letters."""
    image = phantom((1, 1, 24, 20))[0, 0]
    np.save(images / "raw.npy", np.fft.fftshift(np.fft.fft2(image)).astype(np.complex64))
    key = client.get("/api/scans").json()[0]["id"]
    job = asked(client, key, scale=2)
    run_all(bench)
    found = client.get(f"/api/jobs/{job}").json()
    assert found["state"] == "done", found["error"]
    about = found["result"]
    assert not about["oriented"]
    assert not about["simulated"]
    assert set(about["reading_notes"]) <= set(found["notes"])
    path = bench.home / "after.nii"
    path.write_bytes(client.get(f"/api/jobs/{job}/after").content)
    affine = nibabel.load(path).affine
    # Radiological axial views draw the patient's left (-x) on the right, and the back (-y) below.
    assert affine[0, 0] < 0
    assert affine[1, 1] < 0
    assert affine[2, 2] > 0


def test_a_cine_has_its_times(client, bench, images):
    kfine.write(beating_heart((24, 24), frames=4, period=0.8), images / "heart.nii.gz")
    key = client.get("/api/scans").json()[0]["id"]
    job = asked(client, key, scale=2, frames_scale=2)
    run_all(bench)
    about = client.get(f"/api/jobs/{job}").json()["result"]
    assert np.allclose(about["times"]["after"], np.arange(8) * 0.1, atol=1e-4)
    assert np.allclose(about["times"]["before"], np.arange(4) * 0.2, atol=1e-4)
    assert about["period"] == pytest.approx(0.8)
    assert client.get(f"/api/jobs/{job}/moving").content.startswith(b"GIF8")


def test_dicom_comes_back_as_dicom(client, bench, tmp_path):
    pytest.importorskip("highdicom")
    cine(tmp_path / "dicom", frames=3, StudyInstanceUID="1.2.3", PatientName="Doe^John", NominalInterval=200)
    key = sent(client, *((path.name, path.read_bytes()) for path in (tmp_path / "dicom").iterdir()))
    job = asked(client, key, scale=2)
    run_all(bench)
    found = client.get(f"/api/jobs/{job}").json()
    assert found["state"] == "done", found["error"]
    assert found["result"]["dicom"], found["result"]["dicom_error"]
    assert client.get(f"/api/jobs/{job}/dicom").content.startswith(b"PK")
    mail = client.get(f"/api/jobs/{job}/mail")
    assert "Doe" not in mail.text
    assert "Doe" not in mail.headers["content-disposition"]


def test_ranges_are_bounded(client, bench, key):
    job = asked(client, key, scale=2)
    run_all(bench)
    path = f"/api/jobs/{job}/result"
    whole = client.get(path).content
    part = client.get(path, headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, whole[2:6])
    assert client.get(path, headers={"Range": f"bytes={len(whole)}-"}).status_code == 416
    many = client.get(path, headers={"Range": "bytes=" + ",".join(["0-"] * 500)})
    assert len(many.content) <= len(whole)


def test_only_what_is_named_can_be_fetched(client, bench, key):
    job = asked(client, key, scale=2)
    for kind in ("queue.sqlite3", "..", "..%2f..%2ftoken", "dicom"):
        assert client.get(f"/api/jobs/{job}/{kind}").status_code in (404, 405)
    run_all(bench)
    assert client.get(f"/api/jobs/{job}/dicom").status_code == 404
    assert client.get(f"/api/jobs/{job}/token").status_code == 404


def test_what_cannot_be_restored_says_so(client, bench, images):
    (images / "bad.nii.gz").write_bytes(b"\x1f\x8b broken")
    kfine.write(Image(np.zeros((1, 1, 8, 8))), images / "air.nii")
    for scan in client.get("/api/scans").json():
        job = asked(client, scan["id"], scale=2)
        run_all(bench)
        found = client.get(f"/api/jobs/{job}").json()
        assert (found["state"], "\n" in found["error"]) == ("failed", False)
        assert "fault of kfine" not in found["error"]


def test_a_waiting_and_a_running_one_are_cancelled(client, bench, key, monkeypatch):
    first, second = asked(client, key, scale=2), asked(client, key, scale=3)
    client.post(f"/api/jobs/{second}/cancel")
    # The first is cancelled by its own first step.
    check = "kfine.serve.worker.QueueProgress.group"
    monkeypatch.setattr(check, lambda self, text: client.post(f"/api/jobs/{first}/cancel"))
    run_all(bench)
    states = {job["id"]: job["state"] for job in bench.store.all("job")}
    assert states == {first: "cancelled", second: "cancelled"}
    assert not (bench.job(first) / "result.nii.gz").exists()
    assert client.delete(f"/api/jobs/{first}").status_code == 200
    assert not bench.job(first).exists()


def test_a_stopped_worker_goes_on_where_it_was(client, bench, images):
    kfine.write(Image(phantom((1, 6, 128, 128))), images / "large.nii.gz")
    key = client.get("/api/scans").json()[0]["id"]
    job = asked(client, key, scale=2)
    looks = iter([False] * 6)
    work(bench, lambda: next(looks, True), until_empty=True)
    assert bench.store.get("job", job)["state"] == "queued"
    kept = list((bench.job(job) / ".result.nii.gz.kfine-part").iterdir())
    assert 0 < len(kept) < 6
    run_all(bench)
    assert bench.store.get("job", job)["state"] == "done"


def test_what_kills_its_process_twice_has_failed(client, bench, key):
    job = asked(client, key, scale=2)
    for state in ("queued", "failed"):
        bench.store.take()
        bench.store.requeue()  # what the next worker does first
        assert bench.store.get("job", job)["state"] == state
    assert "memory" in bench.store.get("job", job)["error"]


def test_changes_are_seen_once(bench):
    store = bench.store
    store.add_job("a", scan="s", name="n", request={"scale": 2}, label="x2")
    revision, changed, keys = store.since(-1)
    assert ([job["id"] for job in changed], keys) == (["a"], ["a"])
    assert store.since(revision) == (revision, [], [])
    store.update("job", "a", done=3, total=4)
    latest, changed, _ = store.since(revision)
    assert (latest > revision, changed[0]["done"]) == (True, 3)
    store.remove("job", "a")
    assert store.since(latest)[1:] == ([], [])


def test_events_stream_the_queue(client, bench, key):
    job = asked(client, key, scale=2)
    bench_app = client.app
    while not hasattr(bench_app, "state"):
        bench_app = bench_app.app
    with client.stream("GET", "/api/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        bench_app.state.workbench.closing.set()
        line = next(line for line in stream.iter_lines() if line.startswith("data:"))
    body = json.loads(line[5:])
    assert body["keys"] == [job]
    assert "path" not in str(body)


def test_a_forecast_names_grid_method_and_time(client, key):
    plain = client.post(f"/api/scans/{key}/forecast", json={"scale": 2, "method": "zero-filling"}).json()
    assert (plain["from"], plain["to"]) == ("24 × 20, 6 slices", "48 × 40, 6 slices")
    timed = client.post(
        f"/api/scans/{key}/forecast?timed=1", json={"scale": 2, "method": "zero-filling"}
    ).json()
    assert 0 < timed["seconds"] < 60
    assert client.post(f"/api/scans/{key}/forecast", json={"slices": "keep"}).status_code == 400
