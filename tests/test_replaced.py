"""`replaced`: somebody else's attribute, for a while."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mmedge.replaced import replaced


class Base:
    def say(self) -> str:
        return "base"

    @classmethod
    def made(cls) -> str:
        return cls.__name__


class Derived(Base):
    pass


def louder(original):
    return lambda self: original(self).upper()


def test_the_replacement_sees_the_original_and_goes_again():
    owner = SimpleNamespace(rules=(1, 2, 3))
    with replaced(owner, "rules", lambda rules: rules[1:]) as done:
        assert done
        assert owner.rules == (2, 3)
    assert owner.rules == (1, 2, 3)


def test_what_is_inherited_is_inherited_again():
    with replaced(Derived, "say", louder):
        assert Derived().say() == "BASE"
        assert Base().say() == "base"
    assert "say" not in vars(Derived)


def test_a_class_method_is_one_again():
    with replaced(Base, "made", lambda original: lambda: original().upper()):
        assert Base.made() == "BASE"
    assert Derived.made() == "Derived"


def test_it_goes_when_the_block_fails():
    with pytest.raises(ValueError, match="inside"), replaced(Base, "say", louder):
        raise ValueError("inside")
    assert Base().say() == "base"


def test_nothing_happens_where_there_is_no_such_attribute():
    owner = SimpleNamespace()
    with replaced(owner, "rules", lambda rules: rules) as done:
        assert not done
    assert not vars(owner)
