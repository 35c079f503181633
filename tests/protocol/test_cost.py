import numpy as np

from emofuse.protocol.cost import cost_figure, seconds_a_run


def entry(n_parameters: int, mean: float, cpu_seconds: float) -> dict:
    metrics = {"wa": {"mean": mean, "std": 0.0, "ci95": [mean - 0.05, mean + 0.1]}}
    return {
        "n_parameters": n_parameters,
        "seconds": 40.0,
        "cpu_seconds": cpu_seconds,
        "metrics": metrics,
        "runs": [{}, {}],
    }


def test_processor_time_where_it_is_known():
    assert seconds_a_run(entry(1, 0.5, 30.0)) == (15.0, "CPU")
    assert seconds_a_run(entry(1, 0.5, 0.0)) == (20.0, "wall-clock")


def test_every_system_stands_at_its_score_and_costs():
    systems = {"a": entry(1000, 0.7, 10.0), "b": entry(5000, 0.6, 20.0), "c": entry(9000, 0.65, 80.0)}
    figure = cost_figure({"systems": systems, "primary_metric": "wa"}, "WA, %", "t")
    left, right = figure.axes
    for ax, xs in ((left, [1000, 5000, 9000]), (right, [5, 10, 40])):
        points = [container[0] for container in ax.containers]
        np.testing.assert_allclose([p.get_xdata()[0] for p in points], xs)
        np.testing.assert_allclose([p.get_ydata()[0] for p in points], [70, 60, 65])
        bars = [container[2][0].get_segments()[0][:, 1] for container in ax.containers]
        np.testing.assert_allclose(bars[0], [65, 80])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]
    assert right.get_xlabel() == "training, CPU seconds a run"
