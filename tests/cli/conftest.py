"""The command line in process, and the files that commands are tried on."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import kfine
from kfine.cli import run
from kfine.image import Image
from tests.conftest import phantom

WALL_TIME = re.compile(rb'"wall_time_s": [0-9.]+')
AFFINE = np.array([[0, 0, -2, 30], [0, 2, 0, -28], [4, 0, 0, 7], [0, 0, 0, 1]], float)


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Command = Callable[..., Outcome]


@pytest.fixture
def command(capsys) -> Command:
    """Run a command; what it refuses must be one printable line on stderr, "kfine: ...", after notes on the input."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        if code:
            assert printed.err.endswith("\n")
            *notes, refusal = printed.err[:-1].split("\n")
            assert all(note.startswith("kfine: note: ") and note.isprintable() for note in notes)
            assert refusal.startswith("kfine: ")
            assert not refusal.startswith("kfine: note: ")
            assert refusal.isprintable()
            assert len(refusal) > 20
            assert printed.out == ""
        return Outcome(code, printed.out, printed.err)

    return call


@pytest.fixture
def high(tmp_path) -> Path:
    """A volume of 3 slices of 32x24."""
    kfine.write(Image(phantom((1, 3, 32, 24)), AFFINE), tmp_path / "high.nii.gz")
    return tmp_path / "high.nii.gz"


@pytest.fixture
def low(high, tmp_path) -> Path:
    """The same at 16x12."""
    kfine.write(kfine.degrade(kfine.read(high), matrix=(16, 12)), tmp_path / "low.nii.gz")
    return tmp_path / "low.nii.gz"


@pytest.fixture
def kspace(tmp_path) -> Path:
    """Complex k-space of 2 slices of 16x16."""
    phase = np.exp(1j * np.linspace(0, 2, 16))[None, None, None, :]
    image = Image((phantom((1, 2, 16, 16)) * phase).astype(np.complex64))
    kfine.write(image, tmp_path / "raw.npy")
    return tmp_path / "raw.npy"


@pytest.fixture
def files(tmp_path) -> Callable[[], dict[str, bytes]]:
    """Return every file below the test's folder and its bytes but for wall times, so that a test sees what changed."""
    return lambda: {
        str(path.relative_to(tmp_path)): WALL_TIME.sub(b"", path.read_bytes()) if path.is_file() else b""
        for path in tmp_path.rglob("*")
    }


@pytest.fixture
def batch(capsys):
    """Run kfine batch; whatever it prints is printable lines."""

    def call(*arguments):
        capsys.readouterr()
        code = run(["batch", *map(str, arguments)])
        printed = capsys.readouterr()
        assert all(line.isprintable() for line in (printed.out + printed.err).split("\n"))
        return Outcome(code, printed.out, printed.err)

    return call


def save(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    kfine.write(Image(phantom((1, 2, 16, 12), seed), AFFINE), path, overwrite=True)


@pytest.fixture
def scans(tmp_path):
    """A folder with two images."""
    save(tmp_path / "in" / "b.nii")
    save(tmp_path / "in" / "deep" / "a.nii.gz", 1)
    return tmp_path / "in"


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
