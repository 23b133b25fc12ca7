"""Run one command and write what it used as JSON; a script of the standard library alone.

A small process of its own, because Linux counts into a new program's peak memory that of the
process which started it: `execve` carries the old address space's high-water mark into `ru_maxrss`,
and a child of a 2 GB Python would never report less than 2 GB. This script's own 10 MB or so are
the floor instead.

    python measured_child.py RESULT_FD TIMEOUT_S COMMAND [ARGUMENT ...]
"""

import json
import os
import signal
import sys
import time


def main() -> None:
    """Start the command in a process group of its own, wait for it, report to RESULT_FD."""
    result_fd, timeout_s, command = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    os.set_inheritable(result_fd, False)
    start = time.perf_counter()
    try:
        child, timed_out = _spawn(command)
    except OSError as error:
        _report(result_fd, {"errno": error.errno})
        return
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    _, status, usage = os.wait4(child, 0)
    wall_seconds = time.perf_counter() - start
    signal.setitimer(signal.ITIMER_REAL, 0)
    _report(
        result_fd,
        {
            "exit_code": os.waitstatus_to_exitcode(status),
            "timed_out": bool(timed_out),
            "wall_seconds": wall_seconds,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "max_rss": usage.ru_maxrss,
        },
    )


def _spawn(command: list[str]) -> tuple[int, list[int]]:
    """The child's pid, and a list that is no longer empty once SIGALRM has killed its group.

    SIGTERM kills the group and ends this process without a report.
    """
    timed_out: list[int] = []

    def out_of_time(number: int, _frame: object) -> None:
        timed_out.append(number)
        os.killpg(child, signal.SIGKILL)

    def terminated(_number: int, _frame: object) -> None:
        os.killpg(child, signal.SIGKILL)
        os._exit(1)

    # Held back until `child` is known, so that no signal can leave it running unattended.
    held = {signal.SIGTERM, signal.SIGALRM}
    signal.pthread_sigmask(signal.SIG_BLOCK, held)
    child = os.posix_spawnp(command[0], command, os.environ, setpgroup=0, setsigmask=())
    signal.signal(signal.SIGALRM, out_of_time)
    signal.signal(signal.SIGTERM, terminated)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
    return child, timed_out


def _report(result_fd: int, result: dict[str, object]) -> None:
    with os.fdopen(result_fd, "w") as stream:
        json.dump(result, stream)


if __name__ == "__main__":
    main()
