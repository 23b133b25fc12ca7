import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedge.profiling.procfs import (
    CpuTicks,
    governors,
    max_frequency_mhz,
    parse_cpu_model,
    parse_cpu_ticks,
    parse_hypervisor,
    parse_load_average,
    parse_memory_bytes,
    read_int,
    read_text,
    throttle_counts,
)

PARSERS = [
    parse_cpu_model,
    parse_cpu_ticks,
    parse_hypervisor,
    parse_load_average,
    parse_memory_bytes,
]
X86 = "processor\t: 0\nmodel name\t: AMD EPYC 7B13 \nflags\t\t: fpu hypervisor sse\n"
ARM = "processor\t: 0\nBogoMIPS\t: 62.50\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n"


@pytest.mark.parametrize(
    ("text", "model", "hypervisor"),
    [
        (X86, "AMD EPYC 7B13", True),
        (X86.replace("hypervisor", "hypervisors"), "AMD EPYC 7B13", False),
        (ARM, None, None),
        ("model name\t:\nflags\t:\n", None, False),
    ],
)
def test_cpuinfo(text, model, hypervisor):
    assert parse_cpu_model(text) == model
    assert parse_hypervisor(text) is hypervisor


@pytest.mark.parametrize(
    ("text", "ticks"),
    [
        ("cpu  10 1 5 900 30 2 3 7 4 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n", CpuTicks(busy=21, steal=7)),
        ("intr 3\ncpu  10 1 5 900 30 2 3\n", CpuTicks(busy=21, steal=0)),
        ("cpu0 10 1 5 900 30 2 3 7\n", None),
        ("cpu  10 1 5\n", None),
        ("cpu  10 one 5 900 30 2 3 7\n", None),
    ],
)
def test_cpu_ticks(text, ticks):
    assert parse_cpu_ticks(text) == ticks


@pytest.mark.parametrize(
    ("text", "load"), [("2.20 1.29 0.59 5/105 4981\n", 2.2), ("high\n", None), ("2.2", None)]
)
def test_load_average(text, load):
    assert parse_load_average(text) == load


@pytest.mark.parametrize(
    ("text", "size"),
    [("MemTotal:       100 kB\nMemFree: 3 kB\n", 102_400), ("MemTotal: many kB\n", None)],
)
def test_memory(text, size):
    assert parse_memory_bytes(text) == size


@given(st.text())
def test_parsers_never_raise_on_text_they_do_not_know(text):
    for parse in PARSERS:
        parse(text)


@pytest.mark.parametrize("parse", PARSERS)
def test_nothing_is_none_and_not_zero(parse):
    assert parse("") is None


def test_read_int(tmp_path):
    file = tmp_path / "file"
    assert read_int(file) is None
    for text, value in {
        "12\n": 12,
        "-3": -3,
        "1 2": None,
        "": None,
        "1.5": None,
        "٣": None,
    }.items():
        file.write_text(text, encoding="utf-8")
        assert read_int(file) == value
    assert read_text(tmp_path) is None, "a directory has no text"


def write(root, path, text):
    file = root / "sys/devices/system/cpu" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_frequency_is_of_the_fastest_core(tmp_path):
    assert max_frequency_mhz(tmp_path, "scaling_cur_freq") is None
    write(tmp_path, "cpu0/cpufreq/scaling_cur_freq", "800000\n")
    write(tmp_path, "cpu10/cpufreq/scaling_cur_freq", "2400000\n")
    write(tmp_path, "cpu2/cpufreq/scaling_cur_freq", "<unknown>\n")
    write(tmp_path, "cpufreq/cpufreq/scaling_cur_freq", "9900000\n")
    assert max_frequency_mhz(tmp_path, "scaling_cur_freq") == 2400


def test_governors(tmp_path):
    assert governors(tmp_path) is None
    write(tmp_path, "cpu0/cpufreq/scaling_governor", "performance\n")
    write(tmp_path, "cpu1/cpufreq/scaling_governor", "performance\n")
    assert governors(tmp_path) == "performance"
    write(tmp_path, "cpu1/cpufreq/scaling_governor", "powersave\n")
    assert governors(tmp_path) == "performance, powersave"


def test_throttle_counts_leave_out_what_is_no_number(tmp_path):
    write(tmp_path, "cpu0/thermal_throttle/core_throttle_count", "4\n")
    write(tmp_path, "cpu0/thermal_throttle/package_throttle_count", "?\n")
    write(tmp_path, "cpu0/thermal_throttle/core_throttle_total_time_ms", "9\n")
    assert throttle_counts(tmp_path) == {"cpu0/core_throttle_count": 4}
