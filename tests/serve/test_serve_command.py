"""`kfine serve` as a command: address, output, exit."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from http.cookiejar import CookieJar

import pytest

from kfine.cli import run
from kfine.serve.session import HOME


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_it_serves_prints_the_token_once_and_ends_clean(tmp_path):
    command = [sys.executable, "-m", "kfine", "serve", "--no-browser"]
    home = tmp_path / "private"
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {HOME: str(home)},
    )
    try:
        url = re.search(r"http\S+", process.stdout.readline())[0]
        assert url.startswith("http://127.0.0.1:")
        token = url.split("token=")[1]
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        with opener.open(url, timeout=60) as answer:
            assert b"kfine" in answer.read()
            assert token not in answer.url
        with opener.open(url.split("?")[0] + "api/about", timeout=60) as answer:
            assert b"version" in answer.read()
        assert len(list(home.iterdir())) == 1
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=120)
    assert process.returncode in (0, 130)
    assert token not in rest
    assert "Traceback" not in rest
    assert list(home.iterdir()) == []


def test_beyond_this_machine_it_wants_a_password(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(HOME, str(tmp_path))
    monkeypatch.delenv("KFINE_PASSWORD", raising=False)
    assert run(["serve", "--host", "0.0.0.0", "--no-browser"]) == 2
    assert "KFINE_PASSWORD" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert run(["serve", "--no-browser"]) == 6
    assert "pip install 'kfine[serve]'" in capsys.readouterr().err


def test_no_folder_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(HOME, str(tmp_path))
    assert run(["serve", str(tmp_path / "none"), "--no-browser"]) == 2
    assert "expected a folder" in capsys.readouterr().err
