import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mmedge.profiling import memory
from mmedge.profiling.memory import (
    current_rss_bytes,
    parse_status,
    peak_rss_bytes,
    run_measured,
)

MB = 1_000_000


def python(code: str, *, timeout_s: float = 60, **options):
    return run_measured([sys.executable, "-I", "-c", code], timeout_s=timeout_s, **options)


def test_a_child_that_allocates_reports_at_least_that():
    used = python("data = b'x' * 200_000_000")
    assert used.exit_code == 0
    assert 200 * MB <= used.peak_rss_bytes < 400 * MB
    assert python("pass").peak_rss_bytes < 100 * MB


def test_a_large_parent_does_not_count():
    ballast = np.ones(300 * MB // 8)
    assert run_measured(["true"], timeout_s=60).peak_rss_bytes < 100 * MB
    assert ballast.all()


def test_exit_code_output_and_times():
    used = python("import sys, time; print('out'); print('err', file=sys.stderr)\n"
                  "time.sleep(0.2); sys.exit(7)")  # fmt: skip
    assert (used.exit_code, used.timed_out) == (7, False)
    assert (used.stdout_tail, used.stderr_tail) == ("out\n", "err\n")
    assert used.wall_seconds >= 0.2
    assert used.cpu_seconds > 0


def test_only_the_tail_of_a_long_output_is_kept():
    used = python("import sys; sys.stdout.write('a' * 300_000 + 'z' * 4_000)")
    assert used.stdout_tail == "z" * 4_000


def test_output_that_is_not_text_is_replaced():
    assert python(r"import os; os.write(1, b'\xff!')").stdout_tail == "\ufffd!"


def test_a_signal_is_a_negative_exit_code():
    used = python("import os; os.kill(os.getpid(), 9)")
    assert (used.exit_code, used.timed_out) == (-signal.SIGKILL, False)


def test_a_command_out_of_time_is_killed_with_its_children(tmp_path):
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, time\n"
        "grandchild = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(pid_file)!r}, 'w').write(str(grandchild.pid))\n"
        "time.sleep(60)"
    )
    used = python(code, timeout_s=2)
    assert (used.exit_code, used.timed_out) == (-signal.SIGKILL, True)
    assert used.wall_seconds < 30
    assert used.peak_rss_bytes > 0
    assert ended(int(pid_file.read_text()))


def test_an_interrupt_kills_the_command(tmp_path):
    pid_file = tmp_path / "pid"
    code = f"import os, time\nopen({str(pid_file)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"

    def interrupt():
        while not (pid_file.exists() and pid_file.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        python(code)
    assert ended(int(pid_file.read_text()))


def ended(pid: int) -> bool:
    """Whether the process ends within seconds (it may be a zombie until init collects it)."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_a_command_that_does_not_exist():
    with pytest.raises(FileNotFoundError, match="no-such-command"):
        run_measured(["no-such-command"], timeout_s=60)


def test_a_file_that_is_no_program(tmp_path):
    path = tmp_path / "data"
    path.write_text("data")
    with pytest.raises(PermissionError):
        run_measured([str(path)], timeout_s=60)


@pytest.mark.parametrize(("arguments", "timeout_s"), [([], 1), (["true"], 0), (["true"], -1)])
def test_impossible_requests_are_refused(arguments, timeout_s):
    with pytest.raises(ValueError, match="needed"):
        run_measured(arguments, timeout_s=timeout_s)


def test_the_peak_keeps_what_the_current_size_gives_back():
    before = current_rss_bytes()
    block = np.ones(150 * MB // 8)
    during = current_rss_bytes()
    assert during - before > 140 * MB
    assert block.all()
    del block
    assert during - current_rss_bytes() > 140 * MB
    assert peak_rss_bytes() >= during


def test_without_proc_the_peak_is_from_getrusage_and_the_current_size_unknown(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(memory, "SELF_STATUS", tmp_path / "absent")
    assert current_rss_bytes() is None
    assert peak_rss_bytes() > 10 * MB


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("Name:\tx\nVmHWM:\t    1752 kB\nVmRSS:\t 10 kB\n", 1752 * 1024),
        ("VmHWM:\t1752 kB", 1752 * 1024),
        ("VmHWM:\t kB\n", None),
        ("VmHWM:\t-3 kB\n", None),
        ("XVmHWM:\t3 kB\n", None),
        ("", None),
    ],
)
def test_parse_status(text, size):
    assert parse_status(text, "VmHWM") == size
