import pytest
from onnxscript import rewriter

from mmedge.graph.exporter_rules import QUADRATIC, linear_rules


def names() -> set[str]:
    return {rule.name for rule in rewriter._DEFAULT_REWRITE_RULES}


def test_the_rules_for_pairs_are_off_inside_and_on_again_after():
    before = names()
    assert before >= QUADRATIC
    with linear_rules():
        assert names() == before - QUADRATIC
    assert names() == before


def test_a_failure_inside_puts_them_back_too():
    before = names()
    with pytest.raises(KeyError), linear_rules():
        raise KeyError
    assert names() == before


def test_another_version_of_onnxscript_keeps_its_rules(monkeypatch):
    monkeypatch.delattr(rewriter, "_DEFAULT_REWRITE_RULES")
    with linear_rules():
        assert not hasattr(rewriter, "_DEFAULT_REWRITE_RULES")
    assert not hasattr(rewriter, "_DEFAULT_REWRITE_RULES")
