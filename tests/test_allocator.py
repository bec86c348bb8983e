"""Freed memory is reused by the command line, and can be returned."""

import platform
import subprocess
import sys

import pytest

# Minor page faults of 20 rounds that write 64 MB of new memory and free it.
ROUNDS = """
import resource, numpy as np
from kfine.allocator import reuse_freed_memory
{setup}
np.ones(2**23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(2**23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(setup):
    command = [sys.executable, "-c", ROUNDS.format(setup=setup)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_freed_memory_is_reused():
    assert faults("reuse_freed_memory()") < 0.1 * faults("")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no malloc_trim")
def test_freed_memory_is_returned_before_it_is_measured():
    code = (
        "import numpy as np\n"
        "from kfine.allocator import reuse_freed_memory\n"
        "from kfine.restoration.memory import resident\n"
        "reuse_freed_memory()\n"
        "start = resident()\n"
        "np.ones(2**25)\n"  # 256 MB
        "print(resident() - start)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2**26
