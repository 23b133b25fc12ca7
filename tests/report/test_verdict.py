from __future__ import annotations

from typing import Any

import pytest

from mmedge.report.comparison import Compared, by_component
from mmedge.report.layer_account import listed_parameters, parameters_not_listed
from mmedge.report.reproduce import changed_settings, compile_command
from mmedge.report.verdict import verdict


def _titles(report: dict[str, Any]) -> dict[str, bool]:
    return {caveat.title: caveat.serious for caveat in verdict(report).caveats}


def _figures(report: dict[str, Any]) -> dict[str, Any]:
    return {figure.label: figure for figure in verdict(report).figures}


def test_a_clean_report_says_what_was_achieved(report: dict[str, Any]) -> None:
    report["checkpoint"]["size_bytes"] = 12_000
    found = verdict(report)
    assert found.sentence == (
        "vqa gives the outputs of the PyTorch model within tolerance. "
        "It runs 4.20× faster than PyTorch eager at the median."
    )
    figures = _figures(report)
    assert figures["Speed-up"].value == "4.20×"
    assert "4.00 to 4.40" in figures["Speed-up"].note
    assert (figures["Size"].before, figures["Size"].value) == ("12.0 kB", "6.00 kB")
    assert "2.00× smaller" in figures["Size"].note
    assert (figures["Task metric"].before, figures["Task metric"].value) == ("0.9712", "0.9712")
    assert not found.caveats


@pytest.mark.parametrize(
    ("speedup", "words"),
    [
        ((0.5, 0.4, 0.6), "It runs 2.00× slower than PyTorch eager at the median."),
        ((1.01, 0.97, 1.05), "not measurably different"),
        ((1.5, 1.4, 1.6), "It runs 1.50× faster than PyTorch eager at the median."),
    ],
)
def test_speed_in_words_follows_the_interval(
    make_report: Any, speedup: tuple[float, float, float], words: str
) -> None:
    assert words in verdict(make_report(speedup=speedup)).sentence


def test_slower_is_said_up_front(make_report: Any) -> None:
    report = make_report(speedup=(0.5, 0.4, 0.6))
    report["provenance"]["config"]["allow_slower"] = True
    slower = verdict(report).caveats[0]
    assert (slower.title, slower.serious) == ("Slower than before", True)
    assert "--allow-slower" in slower.text


def test_no_difference_at_all_is_called_exact(report: dict[str, Any]) -> None:
    for found in report["verification"]["end_to_end"].values():
        found.update(max_abs=0.0, relative=0.0, sqnr_db=None, cosine=1.0)
    assert "gives exactly the outputs" in verdict(report).sentence


@pytest.mark.parametrize(
    "change", [{"relative": 2e-4}, {"mismatched": 3}, {"not_finite": 1}], ids=str
)
def test_a_report_that_is_not_equal_never_says_so(
    report: dict[str, Any], change: dict[str, float]
) -> None:
    report["verification"]["end_to_end"]["logits"].update(change)
    assert "does not give the outputs" in verdict(report).sentence
    assert verdict(report).caveats[0].title == "Not equal to the model"
    assert _figures(report)["Outputs"].value == "different"


def test_a_component_outside_its_tolerance_is_a_serious_caveat(report: dict[str, Any]) -> None:
    report["verification"]["components"]["fusion"]["logits"]["relative"] = 1.0
    assert _titles(report)["Not equal to the model"]


@pytest.mark.parametrize("how", ["dirty", "warm", "drift"])
def test_a_disturbed_measurement_is_not_boasted_of(report: dict[str, Any], how: str) -> None:
    measurement = report["measurement"]
    whole = measurement["end_to_end"]
    if how == "dirty":
        measurement["dirty"] = ["Other processes used 1.46 of a core."]
    elif how == "warm":
        whole["warmed_up"] = False
    else:
        whole["summaries"]["engine"].update(
            drifted=True, drift={"value": 1.3, "low": 1.2, "high": 1.4}
        )
    found = verdict(report)
    assert "faster" not in found.sentence
    assert "with caution" in found.sentence
    assert _titles(report)["The measurement was disturbed"]
    assert _figures(report)["Speed-up"].doubtful


def test_a_slower_tail_is_not_hidden_by_a_faster_median(report: dict[str, Any]) -> None:
    engine = report["measurement"]["end_to_end"]["summaries"]["engine"]
    engine["p99_ms"] = 50.0
    assert _titles(report)["The slowest calls are not faster"]
    engine["count"] = 99
    assert "The slowest calls are not faster" not in _titles(report)


def test_synthetic_inputs_and_no_metric_are_said(report: dict[str, Any]) -> None:
    report["verification"].update(real_inputs=False, task=None)
    titles = _titles(report)
    assert titles["Verified on synthetic inputs"]
    assert not titles["No task metric"]
    assert _figures(report)["Task metric"].value == "not measured"


def test_what_was_not_measured_has_no_number(report: dict[str, Any]) -> None:
    report["measurement"] = {"end_to_end": None, "components": {}, "dirty": [], "machine": None}
    figures = _figures(report)
    assert figures["Speed-up"].value == figures["Latency, median"].value == "not measured"
    assert "Its speed was not measured." in verdict(report).sentence
    assert _titles(report)["Speed was not measured"]


def test_other_caveats_are_notes(make_report: Any) -> None:
    report = make_report(generates=True)
    report["stages"][-1]["cached"] = True
    report["measurement"]["end_to_end"]["summaries"]["pytorch"]["count"] = 6
    titles = _titles(report)
    assert not any(titles.values())
    assert {"Generation with a cache", "Measured earlier", "Few calls"} <= set(titles)


def test_parameters_in_no_layer_are_counted(report: dict[str, Any]) -> None:
    assert listed_parameters(report) == report["checkpoint"]["parameters"]
    lost = report["components"][0]["layers"].pop(0)
    assert parameters_not_listed(report) == lost["parameters"]
    assert _titles(report)["Layers not accounted for"]


def test_a_module_in_two_components_is_counted_once(report: dict[str, Any]) -> None:
    report["components"][1]["layers"].append(report["components"][0]["layers"][0])
    assert parameters_not_listed(report) == 0


def test_an_unknown_tolerance_is_not_passed(report: dict[str, Any]) -> None:
    report["verification"]["component_tolerance"] = {}
    row: Compared = by_component(report)[0]
    assert row.tolerance is None
    assert row.judgement == "tolerance not available"


def test_the_command_has_what_is_not_the_default(report: dict[str, Any]) -> None:
    report["provenance"]["config"].update(opset=18, debug=True, max_drop=0.001)
    assert changed_settings(report) == {"opset": 18, "debug": True}
    assert compile_command(report) == (
        "mmedge compile PROJECT -o vqa.mmedge --target cpu --opset 18 --debug"
    )


def test_the_command_is_safe_to_paste(make_report: Any) -> None:
    assert "'a; rm b.mmedge'" in compile_command(make_report(name="a; rm b"))


def test_remarks_on_raw_inputs_are_told(report: dict[str, Any]) -> None:
    report["remarks"] = ["the chat template cannot be rendered: TemplateSyntaxError"]
    (caveat,) = (item for item in verdict(report).caveats if item.title == "Raw inputs")
    assert not caveat.serious
    assert caveat.text == "The chat template cannot be rendered: TemplateSyntaxError."


def test_engines_that_did_not_run_are_a_serious_caveat(make_report: Any) -> None:
    report = make_report(own_engines=True)
    report["measurement"] |= {"end_to_end": None, "components": {}, "why": "run by tensorrt_rtx"}
    assert _titles(report)["The target's engines have not run yet"]
    assert _figures(report)["Speed-up"].note == "run by tensorrt_rtx"
    assert "on the target" in _figures(report)["Latency, median"].note


def test_shapes_and_sizes_are_reproduced(report: dict[str, Any]) -> None:
    report["provenance"]["config"] |= {
        "shapes": {"batch": "1:4:16", "length": "8,16"},
        "workspace_bytes": 5 * 10**8,
        "precision": "fp16",
    }
    command = compile_command(report)
    for words in ("--shape batch=1:4:16", "--shape length=8,16", "--precision fp16"):
        assert words in command
    assert "--workspace 500000000B" in command


def test_the_size_is_that_of_what_the_target_runs(make_report: Any) -> None:
    report = make_report(own_engines=True)
    assert _figures(report)["Size"].value == "6.00 kB"  # not all are built: the portable ones
    for item in report["native"].values():
        item["engine"] = {**report["native"]["fusion"]["engine"], "size_bytes": 5_000_000}
    assert _figures(report)["Size"].value == "15.0 MB"
