import platform
import subprocess
import sys

import pytest

COUNT = """
import resource
from emofuse.memory import keep_freed_memory
import numpy as np

if {kept}:
    assert keep_freed_memory()
def use():
    for _ in range(20):
        arrays = [np.ones(2**19) for _ in range(4)]
        del arrays
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's setting")
def test_what_is_freed_is_used_again_without_the_kernel() -> None:
    def faults(kept: bool) -> int:
        command = [sys.executable, "-c", COUNT.format(kept=kept)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults(kept=False) > 10_000
    assert faults(kept=True) < 1_000
