import pytest
import torch
from torch import nn

from sam_adapt_ros.training.train_step import add_terms, parameter_groups, train_step


def test_a_step_is_the_optimizer_s_with_the_rate_given() -> None:
    parameter = nn.Parameter(torch.tensor([3.0, -1.0]))
    optimizer = torch.optim.SGD([parameter], lr=99.0)

    def compute_loss():
        terms = {"square": (parameter**2).sum(), "linear": 2 * parameter.sum()}
        return add_terms(terms), terms

    assert train_step(optimizer, 0.1, 0, 0, compute_loss) == {"square": 10.0, "linear": 4.0}
    torch.testing.assert_close(parameter.detach(), torch.tensor([3 - 0.1 * 8, -1 - 0.1 * 0]))


def test_random_layers_depend_on_seed_and_step_alone() -> None:
    parameter = nn.Parameter(torch.ones(64))
    optimizer = torch.optim.SGD([parameter], lr=0.0)

    def drawn(seed: int, step: int) -> float:
        def compute_loss():
            loss = (nn.functional.dropout(parameter) * torch.arange(64.0)).sum()
            return loss, {"loss": loss}

        return train_step(optimizer, 0.0, seed, step, compute_loss)["loss"]

    first = drawn(1, 5)
    torch.rand(3)
    assert drawn(1, 6) != first != drawn(2, 5)
    assert drawn(1, 5) == first


def test_a_loss_that_is_not_finite_changes_nothing() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    with pytest.raises(FloatingPointError, match="step 7"):
        train_step(optimizer, 1.0, 0, 7, lambda: ((parameter / 0).sum(), {}))
    assert not parameter.any()


def test_pretrained_layers_learn_at_a_tenth_of_the_rate() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False))
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer = torch.optim.SGD(parameter_groups(network, [network[0].weight], 0.1), 1.0)

    def compute_loss() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss = torch.stack([parameter.sum() for parameter in network.parameters()]).sum()  # all gradients are 1
        return loss, {}

    train_step(optimizer, 0.5, 0, 0, compute_loss)
    first, second = (old - new.detach() for old, new in zip(before, network.parameters(), strict=True))
    assert torch.allclose(first, torch.full((2, 2), 0.05)) and torch.allclose(second, torch.full((2, 2), 0.5))
