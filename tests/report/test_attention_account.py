"""What the report says of attentions for which a kernel was chosen."""

from __future__ import annotations

from mmedge.report.attention_account import AttentionRow, attention_rows, attention_summary

OPERATOR, PRODUCTS = "Attention operator", "product, softmax, product"


def report(*blocks: tuple[str, str, str]) -> dict[str, object]:
    chosen = [
        {"module": f"layer.{index}", "form": form, "became": became, "why": why}
        for index, (form, became, why) in enumerate(blocks)
    ]
    fused = [{"module": "layer.0", "treatment": "fused", "why": "one Attention operator"}]
    return {"components": [{"name": "part", "rewrite": {"attention": fused}, "attention": chosen}]}


def test_what_was_chosen_comes_before_what_the_passes_made() -> None:
    made = report((OPERATOR, "plugin", "a bias"), (OPERATOR, "plugin", "a bias"))
    assert attention_rows(made) == [
        AttentionRow("part", "plugin", f"{OPERATOR}; a bias", ("layer.0", "layer.1"), form=OPERATOR)
    ]
    assert attention_summary(made) == "2 of 2 attentions fused into one operator each. " + (
        "2 by the plugin."
    )


def test_only_one_operator_counts_as_fused() -> None:
    made = report((OPERATOR, "builtin", "x"), (PRODUCTS, "builtin", "x"), (PRODUCTS, "left", "y"))
    assert [row.treatment for row in attention_rows(made)] == ["builtin", "builtin", "left"]
    assert attention_summary(made).startswith("1 of 3 attentions fused")


def test_without_a_choice_the_passes_say() -> None:
    assert attention_rows(report())[0].treatment == "fused"
