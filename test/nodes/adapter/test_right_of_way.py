"""Learning waits for labels: not for ever, not for more than half of the time, and with the same result."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from sam_adapt_ros.nodes.adapter import right_of_way
from sam_adapt_ros.nodes.adapter.right_of_way import LONGEST_S, RightOfWay

SOON = 20.0


class Clock(threading.Event):
    """Time passes while somebody waits."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.now += timeout
        return False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(right_of_way, "time", clock)
    return clock


def begun(clock: Clock) -> RightOfWay:
    way = RightOfWay()
    way._free = clock
    clock.set()
    with way.between_layers():
        pass
    return way


def test_it_waits_from_a_sweep_to_its_labels(clock: Clock) -> None:
    way = begun(clock)
    clock.now += 100.0
    for came in ([], [way.labels_came], [way.labels_came, way.sweep_came]):
        for call in came:
            call(1)
        way.give_way()
    assert clock.now == 200.0
    way.sweep_came(2)
    way.labels_came(1)
    way.give_way()
    assert clock.now == 200.0 + LONGEST_S  # a sweep that is dropped is waited for once
    way.give_way()
    assert clock.now == 200.0 + LONGEST_S
    way.sweep_came(3)
    way.labels_came(3)
    way.give_way()
    assert clock.now == 200.0 + LONGEST_S


def test_learning_keeps_half_of_the_time(clock: Clock) -> None:
    way, worked, start = begun(clock), 0.0, clock.now
    for stamp in range(200):
        way.sweep_came(stamp)
        way.give_way()
        clock.now += 0.01
        worked += 0.01
    assert 0.5 <= worked / (clock.now - start) < 0.55


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * 36, 2)
    )


def learn(module: nn.Module) -> torch.Tensor:
    module(torch.ones(2, 3, 8, 8)).square().sum().backward()
    return torch.cat([parameter.grad.flatten() for parameter in module.parameters()])


@pytest.mark.parametrize("at", ["forward", "backward"])
def test_a_network_stands_still_between_layers(at: str) -> None:
    way, module = RightOfWay(), network()
    reached, done = threading.Event(), threading.Event()
    found: list[torch.Tensor] = []

    def stop(*_: object) -> None:
        if not reached.is_set():
            way._began = -1e9  # there is time to wait
            way.sweep_came(7)
            way._until = 1e9
            reached.set()

    if at == "forward":
        module[0].register_forward_hook(stop)
    else:
        module[4].register_full_backward_hook(stop)

    def run() -> None:
        with way.between_layers():
            found.append(learn(module))
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert reached.wait(SOON)
    assert not done.wait(0.2)
    assert module[0].weight.grad is None
    way.labels_came(7)
    thread.join(SOON)
    assert done.is_set()
    torch.testing.assert_close(found[0], learn(network()), rtol=0, atol=0)


def test_afterwards_networks_do_not_wait() -> None:
    way = RightOfWay()
    with way.between_layers():
        learn(network())
    way.sweep_came(1)
    way._began, way._until = -1e9, 1e9
    thread = threading.Thread(target=lambda: learn(network()))
    thread.start()
    thread.join(SOON)
    assert not thread.is_alive()
