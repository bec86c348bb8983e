"""Access control of the page: each rule, and no secrets in its output."""

import os
import stat
import subprocess
import sys

import pytest

from kfine.errors import UsageError
from kfine.serve.server import Address
from kfine.serve.session import HOME, session
from tests.serve.conftest import ORIGIN, OURS, client_of

PATHS = ["/", "/api/about", "/api/scans", "/api/events", "/static/app.js", "/api/jobs/x/result"]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_without_the_token(bench, path):
    client = client_of(bench, inside=False)
    assert client.get(path).status_code == 403
    assert client.get(path, params={"token": "wrong"}).status_code == 403


def test_the_token_becomes_a_cookie_and_leaves_the_address(bench):
    client = client_of(bench, inside=False)
    answer = client.get("/", params={"token": bench.token})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert bench.token not in cookie
    assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example:8899", "evil.example", "127.0.0.1:1", "localhost", "", "127.0.0.1"]
)
def test_another_host_name_is_refused(client, host):
    """DNS rebinding: a page whose name leads to 127.0.0.1 sends its own name as Host, with our cookie or not."""
    assert client.get("/api/about", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8899", "localhost:8899", "[::1]:8899"])
def test_our_names_pass(client, host):
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert client.get("/api/about", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://localhost:8899"]
)
def test_another_origin_is_refused(client, origin):
    """The last one is this server under another name than the Host of the request."""
    for method in ("GET", "POST", "DELETE"):
        assert client.request(method, "/api/scans", headers={"Origin": origin}).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_is_refused_even_with_the_cookie(client, site):
    del client.headers["Origin"]
    assert client.get("/api/about", headers={"Sec-Fetch-Site": site}).status_code == 403


def test_a_form_of_another_page_has_not_our_header(client):
    del client.headers["X-Kfine"]
    assert client.post("/api/scans", json={"name": "x"}).status_code == 403
    assert client.get("/api/scans").status_code == 200


def test_headers_of_every_answer(client, bench):
    refused = client_of(bench, inside=False).get("/")
    for answer in (client.get("/"), client.get("/static/app.js"), client.get("/api/jobs/none"), refused):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"


def test_the_page_has_no_inline_script_and_loads_nothing_from_elsewhere(client):
    for path in ("/", "/login"):
        page = client.get(path).text if path == "/" else ""
        assert "<script>" not in page
        assert " style=" not in page
        assert " onclick=" not in page
        assert "http://" not in page
        assert "https://" not in page


@pytest.mark.parametrize("path", ["/static/../store.py", "/static/%2e%2e/store.py", "/static/..%2fstore.py"])
def test_files_beside_the_page_are_out_of_reach(client, path):
    assert client.get(path).status_code == 404


def test_a_network_address_needs_a_password():
    with pytest.raises(UsageError, match="KFINE_PASSWORD"):
        Address("0.0.0.0").check()
    with pytest.raises(UsageError, match="12 characters"):
        Address("0.0.0.0", password="short").check()
    Address("0.0.0.0", password="long enough it is").check()
    Address("127.0.0.1").check()


def test_the_password_stands_for_the_token(bench, monkeypatch):
    monkeypatch.setattr("kfine.serve.app._WRONG", 0.0)
    client = client_of(bench, inside=False, password="long enough it is")
    assert client.get("/").headers["location"] == "/login"
    assert client.get("/", params={"token": bench.token}).headers["location"] == "/login"
    assert client.get("/login").status_code == 200
    assert client.get("/static/view.js").status_code == 403
    assert client.post("/login", json={"password": "long enough it isn't"}, headers=OURS).status_code == 403
    assert client.post("/login", json={"password": 1}, headers=OURS).status_code == 403
    half = b'{"password": "\\ud800"}'  # half a character, which UTF-8 does not have
    assert client.post("/login", content=half, headers=OURS).status_code == 403
    assert client.get("/api/about").status_code == 403
    assert client.post("/login", json={"password": "long enough it is"}, headers=OURS).status_code == 200
    assert client.get("/api/about").status_code == 200


def test_no_page_for_a_password_without_one(client):
    assert client.post("/login", json={"password": ""}).status_code == 404


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no POSIX permissions")
def test_the_folder_is_private_and_goes(tmp_path, monkeypatch, images):
    monkeypatch.setenv(HOME, str(tmp_path / "private"))
    with session(images) as found:
        home = found.home
        token = found.token
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert stat.S_IMODE((home / "token").stat().st_mode) == 0o600
        assert found.token == token
        found.store.add_job("j", scan="s", name="n", request={}, label="")
    assert home.exists()  # unfinished work stays for the next run
    with session(images) as found:
        assert found.token == token
        found.store.update("job", "j", state="done")
    assert not home.exists()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no POSIX permissions")
def test_a_folder_that_others_can_enter_is_refused(tmp_path, monkeypatch, images):
    monkeypatch.setenv(HOME, str(tmp_path / "private"))
    with session(images) as found:
        home = found.home
    home.mkdir(parents=True)
    home.chmod(0o755)
    with pytest.raises(Exception, match="nobody else may enter"), session(images):
        pass


def test_one_server_a_folder(bench, images):
    code = (
        "import sys\nfrom pathlib import Path\nfrom kfine.serve.session import session\n"
        "with session(Path(sys.argv[1])):\n    pass"
    )
    run = subprocess.run([sys.executable, "-c", code, str(images)], capture_output=True, text=True)
    assert "another kfine serve" in run.stderr
    assert bench.home.exists()


def test_origin_of_the_tests_is_a_real_one():
    assert ORIGIN.startswith("http://127.0.0.1:")
