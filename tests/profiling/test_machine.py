import os
import subprocess
import sys
import time

import msgspec
import pytest

from mmedge.profiling.machine import Machine, fingerprint, watch

HERTZ = os.sysconf("SC_CLK_TCK")


class FakeSystem:
    """A /proc and a /sys that tests write."""

    def __init__(self, root):
        self.root = root

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def stat(self, *, busy_seconds=0.0, steal_seconds=0.0):
        busy, steal = round(busy_seconds * HERTZ), round(steal_seconds * HERTZ)
        self.write("proc/stat", f"cpu  {1000 + busy} 0 0 5000 0 0 0 {100 + steal} 0 0\n")

    def cpu(self, file, value):
        self.write(f"sys/devices/system/cpu/cpu0/{file}", f"{value}\n")


@pytest.fixture
def system(tmp_path) -> FakeSystem:
    return FakeSystem(tmp_path)


def test_this_machine_has_a_fingerprint():
    machine = fingerprint()
    assert machine.system == os.uname().sysname
    assert machine.kernel == os.uname().release
    assert machine.python == sys.version.split()[0]
    assert 1 <= machine.usable_cores <= os.cpu_count()
    assert msgspec.json.decode(msgspec.json.encode(machine), type=Machine) == machine


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_usable_cores_are_those_of_this_process():
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert fingerprint().usable_cores == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_system_that_says_nothing_gives_none(tmp_path):
    machine = fingerprint(root=tmp_path)
    read = ("cpu_model", "board", "memory_bytes", "governor", "current_mhz", "max_mhz",
            "load_average", "hypervisor")  # fmt: skip
    assert {name: getattr(machine, name) for name in read} == dict.fromkeys(read)


def test_a_board_is_read_from_its_files(system):
    system.write("proc/cpuinfo", "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\n")
    system.write("proc/device-tree/model", "NVIDIA Jetson Orin NX\0")
    system.write("proc/meminfo", "MemTotal:       8000000 kB\n")
    system.write("proc/loadavg", "0.25 0.10 0.05 1/100 1\n")
    system.cpu("cpufreq/scaling_governor", "schedutil")
    system.cpu("cpufreq/scaling_cur_freq", 729600)
    system.cpu("cpufreq/cpuinfo_max_freq", 1984000)
    machine = fingerprint(root=system.root)
    assert (machine.cpu_model, machine.board) == (
        "ARMv8 Processor rev 1 (v8l)",
        "NVIDIA Jetson Orin NX",
    )
    assert (machine.memory_bytes, machine.load_average) == (8_192_000_000, 0.25)
    assert (machine.governor, machine.current_mhz, machine.max_mhz) == ("schedutil", 729.6, 1984)
    assert machine.hypervisor is None


def test_reasons_are_not_known_before_the_end():
    with watch() as dirtiness, pytest.raises(RuntimeError, match="not ended"):
        _ = dirtiness.reasons


def test_a_quiet_machine_is_clean(system):
    system.stat()
    system.cpu("cpufreq/scaling_cur_freq", 1_000_000)
    system.cpu("thermal_throttle/core_throttle_count", 7)
    with watch(root=system.root) as dirtiness:
        time.sleep(0.55)
        system.cpu("cpufreq/scaling_cur_freq", 1_040_000)
    assert (dirtiness.reasons, dirtiness.dirty) == ((), False)
    assert (dirtiness.other_cores, dirtiness.stolen_cores) == (0, 0)
    assert dirtiness.throttle_events == 0


def test_every_disturbance_has_its_sentence_with_the_number(system):
    system.stat()
    system.cpu("cpufreq/scaling_cur_freq", 1_500_000)
    system.cpu("thermal_throttle/core_throttle_count", 7)
    with watch(root=system.root) as dirtiness:
        time.sleep(0.55)
        system.stat(busy_seconds=20, steal_seconds=10)
        system.cpu("cpufreq/scaling_cur_freq", 900_000)
        system.cpu("thermal_throttle/core_throttle_count", 10)
    assert dirtiness.dirty
    others, hypervisor, heat, clock = dirtiness.reasons
    assert others == f"Other processes used {dirtiness.other_cores:.2f} cores (the limit is 0.10)."
    assert dirtiness.other_cores * dirtiness.wall_seconds == pytest.approx(20, abs=1)
    assert dirtiness.stolen_cores * dirtiness.wall_seconds == pytest.approx(10)
    assert hypervisor.startswith("The hypervisor took")
    assert heat == "The CPU was hot: 3 throttling events."
    assert clock == "The CPU clock went from 1500 to 900 MHz."


def test_this_process_own_work_is_no_disturbance(system):
    system.stat()
    before = sum(os.times()[:4])
    with watch(root=system.root) as dirtiness:
        while sum(os.times()[:4]) < before + 0.7:
            sum(range(10_000))
        system.stat(busy_seconds=sum(os.times()[:4]) - before)
    assert dirtiness.other_cores < 0.1
    assert not dirtiness.dirty


def test_the_limit_is_the_callers(system):
    system.stat()
    with watch(root=system.root, busy_limit_cores=1e6) as dirtiness:
        time.sleep(0.55)
        system.stat(busy_seconds=20)
    assert dirtiness.other_cores > 1
    assert not dirtiness.dirty


def test_a_time_too_short_to_tell_is_none(system):
    system.stat()
    with watch(root=system.root) as dirtiness:
        system.stat(busy_seconds=20)
    assert (dirtiness.other_cores, dirtiness.stolen_cores) == (None, None)


@pytest.mark.parametrize("text", [None, "cpu  1 2\n", "nothing\n"])
def test_without_accounting_nothing_is_claimed(system, text):
    if text is not None:
        system.write("proc/stat", text)
    with watch(root=system.root) as dirtiness:
        time.sleep(0.55)
    assert (dirtiness.other_cores, dirtiness.throttle_events, dirtiness.mhz_after) == (None,) * 3
    assert dirtiness.reasons == ()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_another_process_at_work_is_seen():
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with watch() as dirtiness:
            time.sleep(1)
    finally:
        busy.kill()
        busy.wait()
    assert dirtiness.other_cores > 0.1
    assert any("Other processes" in reason for reason in dirtiness.reasons)
