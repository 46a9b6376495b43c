"""BatchNorm layers folded into the convolutions before them: the same result with fewer passes over the images."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def fold_batchnorm(module: AnyModule, run: Callable[[AnyModule], Tensor]) -> AnyModule:
    """A copy in which each convolution and the BatchNorm layer that takes its output are one convolution.

    Which layer follows which is seen from the tensors that they exchange, so that it does not matter how the module is
    built; where the result is another one all the same, as when another layer takes the convolution's output, too,
    the copy has its layers as they are. For inference.

    run: computes something of a module, for comparison.
    """
    plain = copy.deepcopy(module).eval()
    folded = copy.deepcopy(plain)
    exact = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)  # GPUs round to 10 bits
    with torch.inference_mode(False), torch.no_grad(), exact:
        _replace(folded, _pairs(folded, run))
        same = torch.allclose(expected := run(plain), run(folded), rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    return folded if same else plain


def _pairs(module: AnyModule, run: Callable[[AnyModule], Tensor]) -> dict[nn.BatchNorm2d, nn.Conv2d]:
    """By BatchNorm layer the convolution that it takes the output of; each of them computes once in a run."""
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # kept, so that no other tensor has the same id
    pairs: dict[nn.BatchNorm2d, nn.Conv2d] = {}
    calls: Counter[nn.Module] = Counter()

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[layer] += 1
        if isinstance(layer, nn.Conv2d):
            outputs[id(output)] = layer, output
        elif isinstance(layer, nn.BatchNorm2d) and id(inputs[0]) in outputs:
            pairs[layer] = outputs[id(inputs[0])][0]

    kinds = (nn.Conv2d, nn.BatchNorm2d, BatchNormAct2d)  # no others derived from them, which may compute more
    hooks = [layer.register_forward_hook(note) for layer in module.modules() if type(layer) in kinds]
    try:
        run(module)
    finally:
        for hook in hooks:
            hook.remove()
    return {after: before for after, before in pairs.items() if calls[after] == calls[before] == 1}


def _replace(module: nn.Module, pairs: dict[nn.BatchNorm2d, nn.Conv2d]) -> None:
    new: dict[nn.Module, nn.Module] = {}
    for normalization, convolution in pairs.items():
        new[convolution] = fuse_conv_bn_eval(convolution, normalization)
        new[normalization] = _without_normalization(normalization)
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if child in new:
                setattr(parent, name, new[child])


def _without_normalization(layer: nn.BatchNorm2d) -> nn.Module:
    """What else a layer computes: timm's have their activation within."""
    return nn.Sequential(layer.drop, layer.act) if isinstance(layer, BatchNormAct2d) else nn.Identity()
