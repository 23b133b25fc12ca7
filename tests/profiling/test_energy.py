import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedge.profiling.energy import (
    Counter,
    idle_power_w,
    joules_between,
    measure_energy,
    read_counters,
)

RANGE_UJ = 262_143_328_850  # a Core i7's


class Package:
    """A RAPL zone in a directory."""

    def __init__(self, root, name="intel-rapl:0", label="package-0", energy_uj=0):
        self.root = root
        self.directory = root / name
        self.directory.mkdir()
        (self.directory / "name").write_text(f"{label}\n")
        (self.directory / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
        self.set(energy_uj)

    def set(self, energy_uj):
        # Replaced whole, as a reader may come at any time.
        new = self.directory / "energy_uj.new"
        new.write_text(f"{energy_uj % RANGE_UJ}\n")
        new.replace(self.directory / "energy_uj")
        self.energy_uj = energy_uj

    def use(self, joules):
        self.set(self.energy_uj + round(joules * 1e6))


def test_only_packages_are_counted(tmp_path):
    Package(tmp_path, "intel-rapl:0", "package-0", 10)
    Package(tmp_path, "intel-rapl:1", "package-1", 20)
    Package(tmp_path, "intel-rapl:0:0", "core", 5)
    Package(tmp_path, "intel-rapl:2", "psys", 99)
    counters = read_counters(root=tmp_path)
    assert {zone: c.energy_uj for zone, c in counters.items()} == {
        "intel-rapl:0": 10,
        "intel-rapl:1": 20,
    }


@pytest.mark.parametrize("broken", ["energy_uj", "max_energy_range_uj"])
@pytest.mark.parametrize("text", [None, "", "many\n"])
def test_a_counter_that_cannot_be_read_makes_all_unavailable(tmp_path, broken, text):
    Package(tmp_path, "intel-rapl:0")
    Package(tmp_path, "intel-rapl:1", "package-1")
    file = tmp_path / "intel-rapl:1" / broken
    file.unlink() if text is None else file.write_text(text)
    assert read_counters(root=tmp_path) is None
    assert measure_energy(lambda: None, count=1, idle_seconds=0.01, root=tmp_path) is None


def test_absent_is_none(tmp_path):
    for root in (tmp_path, tmp_path / "absent"):
        assert read_counters(root=root) is None
        assert idle_power_w(seconds=0.01, root=root) is None
        assert measure_energy(lambda: None, count=1, idle_seconds=0.01, root=root) is None


@given(
    start=st.integers(0, RANGE_UJ - 1),
    used=st.lists(st.integers(0, RANGE_UJ - 1), min_size=1, max_size=3),
)
def test_wraparound_does_not_lose_energy(start, used):
    before = {str(i): Counter(start, RANGE_UJ) for i in range(len(used))}
    after = {str(i): Counter((start + uj) % RANGE_UJ, RANGE_UJ) for i, uj in enumerate(used)}
    assert joules_between(before, after) == pytest.approx(sum(used) / 1e6)


def test_different_zones_cannot_be_compared():
    with pytest.raises(ValueError, match="different zones"):
        joules_between({"a": Counter(0, 1)}, {"b": Counter(0, 1)})


def test_joules_per_inference_across_a_wraparound(tmp_path):
    package = Package(tmp_path, energy_uj=RANGE_UJ - 2_000_000)
    energy = measure_energy(lambda: package.use(1.5), count=4, idle_seconds=0.01, root=tmp_path)
    assert energy.idle_power_w == 0
    assert energy.joules == pytest.approx(6)
    assert energy.joules_per_inference == pytest.approx(1.5)
    assert energy.count == 4


def test_a_zone_that_disappears_makes_the_energy_unavailable(tmp_path):
    package = Package(tmp_path)
    vanish = (package.directory / "name").unlink
    assert measure_energy(vanish, count=1, idle_seconds=0.01, root=tmp_path) is None


class Clock:
    """Time that passes only when somebody sleeps, while a package draws power."""

    def __init__(self, package, watts):
        self.package, self.watts, self.now = package, watts, 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.package.use(self.watts * seconds)


@pytest.fixture
def clock(tmp_path, monkeypatch):
    clock = Clock(Package(tmp_path), watts=50)
    monkeypatch.setattr("mmedge.profiling.energy.time", clock)
    return clock


def test_idle_power_is_measured_and_taken_off(clock, tmp_path):
    def infer():
        clock.sleep(0.1)
        clock.package.use(2)

    energy = measure_energy(infer, count=4, idle_seconds=0.5, root=tmp_path)
    assert energy.idle_power_w == pytest.approx(50)
    assert energy.joules == pytest.approx(4 * (50 * 0.1 + 2))
    assert energy.joules_per_inference == pytest.approx(2)


def test_less_than_idle_is_none_not_negative(clock, tmp_path):
    def infer():
        clock.watts = 10
        clock.sleep(0.1)

    energy = measure_energy(infer, count=1, idle_seconds=0.5, root=tmp_path)
    assert energy.idle_power_w == pytest.approx(50)
    assert energy.joules == pytest.approx(1)
    assert energy.joules_per_inference is None


@pytest.mark.parametrize("options", [{"count": 0}, {"count": 1, "idle_seconds": 0}])
def test_impossible_requests_are_refused(options, tmp_path):
    with pytest.raises(ValueError, match="at least one call"):
        measure_energy(lambda: None, root=tmp_path, **options)
