import ctypes
import subprocess
import sys
import weakref

import pytest

from mmedge import free_memory

HOLD_AND_FREE = """
import sys
from pathlib import Path
from mmedge import free_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

before = resident()
blocks = [b"x" * 65536 for _ in range(2000)]  # below glibc's limit for pages of their own
keep = [b"x" * 60000 for _ in range(3)]  # so that the end of the heap is in use
held = resident()
del blocks
getattr(free_memory, sys.argv[1])()
print(before, held, resident())
"""


class Node:
    def __init__(self) -> None:
        self.itself = self


def test_cycles_are_collected():
    node = Node()
    gone = weakref.ref(node)
    del node
    free_memory.give_back()
    assert gone() is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("give", ["give_back", "give_back_pages"])
def test_freed_pages_go_back_to_the_system(give):
    done = subprocess.run(
        [sys.executable, "-c", HOLD_AND_FREE, give], capture_output=True, text=True, check=True
    )
    before, held, after = map(int, done.stdout.split())
    assert held - before > 100 * 2**20
    assert after - before < (held - before) / 4


def test_a_c_library_without_malloc_trim(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    free_memory.give_back()
