"""Uploads: bounded, numbered, unpacked with care."""

import gzip
import io
import struct
import zipfile
import zlib

import numpy as np
import pytest

import kfine
from kfine.errors import InputError, ResourceError
from kfine.image import Image
from kfine.serve import app
from kfine.serve.requests import Limits, unpack
from tests.conftest import phantom
from tests.io.dicom_files import series
from tests.serve.conftest import client_of, sent

SMALL = Limits(upload=200_000, unpacked=300_000, files=20)


def nifti(tmp_path, shape=(1, 3, 32, 32)):
    path = tmp_path / "made.nii.gz"
    kfine.write(Image(phantom(shape)), path)
    return path.read_bytes()


def zipped(*files, **options):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED, **options) as packed:
        for name, content in files:
            packed.writestr(name, content)
    return memory.getvalue()


def test_a_nifti_file_arrives_and_is_described(client, tmp_path, bench):
    key = sent(client, ("Doe^John <b>.nii.gz", nifti(tmp_path)), name="Doe^John <b>.nii.gz")
    seen = client.post(f"/api/scans/{key}/facts", json={}).json()
    assert seen["facts"]["shape"] == [1, 3, 32, 32]
    assert [path.name for path in bench.scan(key).iterdir()] == ["000000.nii.gz"]  # the name reaches no disk


def test_a_zip_of_dicom_files_is_unpacked_by_number(client, tmp_path, bench):
    series(tmp_path / "dicom", slices=4)
    files = [(f"../../etc/{path.name}", path.read_bytes()) for path in sorted((tmp_path / "dicom").iterdir())]
    key = sent(client, ("study.zip", zipped(*files)))
    assert client.post(f"/api/scans/{key}/facts", json={}).json()["facts"]["shape"][1] == 4
    inside = [
        path.relative_to(bench.scan(key)).as_posix() for path in bench.scan(key).rglob("*") if path.is_file()
    ]
    assert len(inside) == 4
    assert all(name.startswith("unpacked/0000") for name in inside)


def test_two_series_are_offered(client, tmp_path):
    series(tmp_path / "a", slices=3)
    series(
        tmp_path / "b", slices=2, SeriesInstanceUID="1.2.3.4", SeriesNumber=9, SeriesDescription="<script>x"
    )
    files = [
        (path.name + folder, path.read_bytes()) for folder in "ab" for path in (tmp_path / folder).iterdir()
    ]
    key = sent(client, *files)
    offered = client.post(f"/api/scans/{key}/facts", json={}).json()["series"]
    assert len(offered) == 2
    chosen = client.post(f"/api/scans/{key}/facts", json={"series": "1.2.3.4"}).json()
    assert chosen["facts"]["shape"][1] == 2


def test_a_pair_of_raw_kspace_files_arrives(client, tmp_path):
    from tests.io.raw_files import measured, write_bart

    write_bart(tmp_path / "scan", measured().transpose(1, 2, 0)[:, :, None])
    key = sent(client, *((name, (tmp_path / name).read_bytes()) for name in ("scan.cfl", "scan.hdr")))
    assert client.post(f"/api/scans/{key}/facts", json={}).json()["facts"]["k-space"] == "measured"


def test_an_upload_above_the_limit_is_refused_and_leaves_nothing(bench):
    client = client_of(bench, limits=SMALL)
    key = client.post("/api/scans", json={"name": "x"}).json()["id"]
    put = f"/api/scans/{key}/files"
    assert client.put(put, params={"name": "a.nii"}, content=b"0" * 200_001).status_code == 413

    def endless():  # no Content-Length
        for _ in range(300):
            yield b"0" * 1000

    assert client.put(put, params={"name": "a.nii"}, content=endless()).status_code == 413
    assert list(bench.scan(key).iterdir()) == []
    assert client.put(put, params={"name": "a.nii"}, content=b"0" * 150_000).status_code == 200
    assert client.put(put, params={"name": "b.nii"}, content=b"0" * 60_000).status_code == 413  # together


def test_files_that_are_sent_at_once_do_not_share_the_room(bench, monkeypatch):
    client = client_of(bench, limits=SMALL)
    key = client.post("/api/scans", json={"name": "x"}).json()["id"]
    codes = []

    def put(name, content):
        answer = client.put(f"/api/scans/{key}/files", params={"name": name}, content=content)
        codes.append(answer.status_code)

    receiving, meanwhile, receive = client.app.state.workbench._receiving, [], app.receive

    async def watched(*arguments, **options):
        meanwhile.append(set(receiving))
        return await receive(*arguments, **options)

    monkeypatch.setattr(app, "receive", watched)
    receiving.add(key)  # the first file is on its way
    put("a.nii", b"0" * 150_000)
    assert client.post(f"/api/scans/{key}/ready", json={}).status_code == 409
    receiving.clear()
    put("b.nii", b"0" * 150_000)
    put("c.nii", b"0" * 150_000)
    assert codes == [409, 200, 413]
    assert meanwhile == [{key}]
    assert not receiving
    assert sum(path.stat().st_size for path in bench.scan(key).iterdir()) == 150_000


def test_too_many_files_are_refused(bench):
    client = client_of(bench, limits=Limits(files=2))
    key = client.post("/api/scans", json={"name": "x"}).json()["id"]
    codes = [
        client.put(f"/api/scans/{key}/files", params={"name": str(n)}, content=b"1").status_code
        for n in range(3)
    ]
    assert codes == [200, 200, 413]


def test_an_archive_bomb_is_refused_and_removed(bench):
    client = client_of(bench, limits=SMALL)
    key = client.post("/api/scans", json={"name": "x"}).json()["id"]
    bomb = zipped(("a.dcm", b"\0" * 50_000_000))
    assert len(bomb) < 100_000
    client.put(f"/api/scans/{key}/files", params={"name": "a.zip"}, content=bomb)
    answer = client.post(f"/api/scans/{key}/ready")
    assert (answer.status_code, "limit" in answer.json()["error"]) == (422, True)
    assert not bench.scan(key).exists()


def test_an_archive_that_lies_about_its_sizes(tmp_path):
    content = bytearray(zipped(("a.dcm", b"\0" * 1_000_000)))
    at = content.index(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 10)  # uncompressed size in the directory
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises((InputError, ResourceError)):
        unpack(path, tmp_path / "out", SMALL)
    assert sum(file.stat().st_size for file in (tmp_path / "out").iterdir()) <= 300_000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04 broken", "cannot be unpacked"),
        (zipped(*((f"{n}", b"1") for n in range(30))), "30 files"),
    ],
)
def test_archives_that_cannot_be_used(tmp_path, content, said):
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises((InputError, ResourceError), match=said):
        unpack(path, tmp_path / "out", SMALL)


def test_a_gzip_bomb_is_one_line(client):
    """A header of a small image before a gigabyte of zeros."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 8, 8, 2, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 4, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352.0)
    header[344:348] = b"n+1\0"
    packer = zlib.compressobj(1, wbits=31)
    content = packer.compress(bytes(header)) + b"".join(packer.compress(bytes(1 << 20)) for _ in range(200))
    key = sent(client, ("a.nii.gz", content + packer.flush()))
    answer = client.post(f"/api/scans/{key}/facts", json={})
    assert answer.status_code == 422
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    "content",
    # Names of tests must be the same in every process: a compressed file holds the time.
    [b"", b"nonsense", gzip.compress(b"nonsense", mtime=0), b"\x93NUMPY" + b"\xff" * 50],
    ids=["empty", "nonsense", "compressed", "numpy"],
)
def test_broken_files_are_one_line(client, content):
    key = client.post("/api/scans", json={"name": "x"}).json()["id"]
    client.put(f"/api/scans/{key}/files", params={"name": "a.nii.gz"}, content=content)
    assert client.post(f"/api/scans/{key}/ready").status_code == 200
    answer = client.post(f"/api/scans/{key}/facts", json={})
    assert answer.status_code == 422
    assert "fault of kfine" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[1]", 400), (b"{", 400), (b"[" * 60_000, 400), (b'{"scale": 99}', 400), (b'{"scale": "2"}', 400),
        (b'{"method": "x"}', 400), (b'{"device": "cuda"}', 400), (b'{"model": "/etc"}', 400), (b" " * 70_000, 413),
    ],
)  # fmt: skip
def test_requests_that_no_page_of_ours_sends(client, images, body, code):
    kfine.write(Image(np.ones((1, 1, 8, 8))), images / "a.nii")
    key = client.get("/api/scans").json()[0]["id"]
    assert client.post(f"/api/scans/{key}/forecast", content=body).status_code == code


def test_the_folder_lists_images_and_not_results(client, images):
    kfine.write(Image(phantom((1, 1, 16, 16))), images / "b.nii.gz")
    series(images / "study")
    (images / "notes.txt").write_text("x")
    kfine.restore(images / "b.nii.gz", scale=2, method="zero-filling").save(images / "c.nii.gz")
    found = client.get("/api/scans").json()
    assert sorted(scan["name"] for scan in found) == ["b.nii.gz", "study/"]
    assert str(images) not in str(found)  # keys are opaque
    assert client.get("/api/scans").json() == found
