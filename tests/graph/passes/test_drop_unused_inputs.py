from mmedge.graph.passes import DropUnusedInputs


def test_what_nothing_uses_goes_and_the_record_says_what(run, ops):
    text = """(float[n] a, float[n] x, float[m] b) => (float[n] y)
        <float[2] w = {1, 2}> { dead = Add(b, w) y = Neg(x) }"""
    model, record = run(text, DropUnusedInputs(), m=2)
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert ops(model) == ["Neg"]
    assert not model.graph.initializers
    assert record.what == [
        "dropped input a, which nothing uses",
        "dropped input b, which nothing uses",
        "removed unused 1 Add",
        "removed 1 unused weights",
    ]


def test_the_order_of_the_others_stays(run):
    text = """(float[n] c, float[n] unused, float[n] a, float[n] b) => (y) {
        s = Add(a, b) y = Sub(s, c) }"""
    model, _ = run(text, DropUnusedInputs())
    assert [value.name for value in model.graph.inputs] == ["c", "a", "b"]


def test_an_input_used_in_a_subgraph_stays(run):
    text = """(bool c, float[n] v, float[n] x) => (y) {
        y = If(c) <then_branch = t () => (p) { p = Neg(v) },
                   else_branch = e () => (q) { q = Neg(x) }> }"""
    model, record = run(text, DropUnusedInputs())
    assert len(model.graph.inputs) == 3
    assert not record.changed


def test_nothing_to_drop(run):
    _, record = run("(float[n] x) => (float[n] y) { y = Neg(x) }", DropUnusedInputs())
    assert (record.changed, record.what) == (False, [])


def test_an_overridable_weight_that_nothing_uses_goes(run):
    text = "(float[2] x, float[2] w = {1, 2}) => (y) { y = Neg(x) }"
    model, _ = run(text, DropUnusedInputs())
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert not model.graph.initializers
