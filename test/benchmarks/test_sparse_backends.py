from sam_adapt_ros.benchmarks import sparse_backends
from sam_adapt_ros.benchmarks.segmentation import synthetic_frame
from sam_adapt_ros.segmentation.sparse_backend import find_spconv_problem


def test_every_backend_is_measured_on_every_scan(monkeypatch):
    monkeypatch.setattr(sparse_backends, "_scans", lambda: [("few", synthetic_frame(300))])
    figures = sparse_backends.run(quick=True)
    names = ["torch"] if find_spconv_problem("cpu") else ["torch", "spconv"]
    assert [figure.name for figure in figures] == [
        f"point branch {work} few, 1 threads, {name}" for work in ("labels", "trains") for name in names
    ]
    assert all(figure.value > 0 for figure in figures)


def test_calls_take_turns_and_the_first_ones_do_not_count():
    order, now = [], iter(range(1000))
    calls = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    assert sparse_backends.alternate(calls, 3, lambda: next(now)) == {"a": 1, "b": 1}
    assert order == ["a", "b"] * 4
