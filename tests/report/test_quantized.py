"""What the report says of components in 8-bit integers."""

from mmedge.report.html import render_html
from mmedge.report.quantized import operator_rows, quantized_rows


def test_a_row_says_how_much_and_what_it_brought(make_report):
    first, second, _ = quantized_rows(make_report(quantized=True))
    assert (
        first.outcome
        == "2 of 3 operators quantized, 2.00× as fast (1.92 to 2.08), 4.00 MB to 1.00 MB"
    )
    assert first.least_cosine == "0.9993"
    assert second.outcome == "left in float: not measurably faster: 1.04 (1.01 to 1.07)"
    assert second.operators == "0 of 3 operators"


def test_every_operator_is_accounted_for(make_report):
    rows = operator_rows(make_report(quantized=True, components=2))
    assert [(r.module, r.treatment, r.weights) for r in rows[:3]] == [
        ("layers.0", "static-int8", "42 dB"),
        ("layers.1", "static-int8", "42 dB"),
        ("layers.2", "kept", ""),
    ]


def test_the_page_has_a_section_where_integers_were_asked_for(make_report):
    page = render_html(make_report(quantized=True))
    assert 'id="quantized"' in page
    assert "moved too far &lt;alone&gt;" in page
    assert 'id="quantized"' not in render_html(make_report())


def test_a_target_that_is_not_here_was_not_measured(make_report):
    report = make_report(quantized=True)
    report["quantization"]["measured"] = False
    for done in report["quantization"]["components"].values():
        done["ratio"] = None
    assert "2 of 3 operators quantized, 4.00 MB" in quantized_rows(report)[0].outcome
    assert "it is another machine" in render_html(report)


def test_the_stages_say_what_they_did(make_report):
    from mmedge.report.stage_rows import stage_rows

    def did(report):
        row = dict(report["stages"][0])
        report["stages"] = [{**row, "stage": name} for name in ("quantize", "fuse")]
        return [row.did for row in stage_rows(report)]

    assert did(make_report()) == [
        ("No integers were asked for.",),
        ("No attention is computed by our kernel.",),
    ]
    report = make_report(quantized=True, components=2)
    blocks = [{"became": "plugin"}, {"became": "builtin"}]
    report["components"][0]["attention"] = blocks
    quantized, fused = did(report)
    assert "2 of 3 operators quantized" in quantized[0]
    assert len(fused) == 1
    assert fused[0].endswith("1 attention of 2 by our kernel.")
