"""A session and its application, with the inspection in this process."""

import time

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")

from starlette.testclient import TestClient

from kfine.serve.app import application
from kfine.serve.requests import Limits
from kfine.serve.security import Door
from kfine.serve.session import HOME, session

ORIGIN = "http://127.0.0.1:8899"
OURS = {"X-Kfine": "1", "Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}


class Here:
    """Inspection without separate processes."""

    def start(self):
        """Nothing has to be started."""

    async def run(self, work, *arguments):
        return work(*arguments)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


@pytest.fixture
def bench(tmp_path, monkeypatch, images):
    """A session of a folder of images."""
    monkeypatch.setenv(HOME, str(tmp_path / "private"))
    with session(images) as found:
        yield found


def client_of(bench, *, limits=None, inside=True, **door):
    door = Door(bench.token, 8899, **door)
    client = TestClient(application(bench, Here(), door, limits or Limits()), base_url=ORIGIN)
    client.follow_redirects = False
    if inside:
        client.get("/", params={"token": bench.token})
        client.headers.update(OURS)
    return client


@pytest.fixture
def client(bench):
    """A client that has opened the address with the token."""
    return client_of(bench)


def sent(client, *files, name="upload"):
    """Send (name, bytes) as one scan and return its key."""
    key = client.post("/api/scans", json={"name": name}).json()["id"]
    for each, content in files:
        answer = client.put(f"/api/scans/{key}/files", params={"name": each}, content=content)
        assert answer.status_code == 200, answer.text
    answer = client.post(f"/api/scans/{key}/ready")
    assert answer.status_code == 200, answer.text
    return key


def wait_for(what, seconds=120.0):
    """Return the first true answer of `what`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError("waited in vain")
