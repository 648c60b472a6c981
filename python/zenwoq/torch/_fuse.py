# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Finds blocks of linears that can be computed in fewer calls, fuses them in their places, and takes them apart."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch

from zenwoq._structs import Activation
from zenwoq.torch._blocks import ActivatedMLP, Fused, FusedBlock, GatedMLP
from zenwoq.torch._fits import Apart, check_alike, check_pair, linear_of
from zenwoq.torch._module import SHARING, Linear, has_hooks
from zenwoq.torch._report import BlockReport
from zenwoq.torch._shapes import MlpShape, activation_of, called_with_one_input, mlp_shape
from zenwoq.torch._shared_input import SharedInput
from zenwoq.torch._sources import is_linear

_ATTENTION = ("attention", "attn")  # in names of classes


def fuse(model: torch.nn.Module, wanted: Callable[[str], bool] = lambda name: True) -> list[BlockReport]:
    """Fuses the blocks of a model that are understood, each in its place.

    Args:
        model: of any kind, with linears of zenwoq's or without.
        wanted: whether to fuse the block with this name; others stay as they are.

    Returns:
        A report of each such block with linears of zenwoq's that belong together, in the model's order.
    """
    return [block.report for block in _blocks(model, fuse_them=True, wanted=wanted)]


def what_is_fused(model: torch.nn.Module) -> bool | list[str]:
    """Which blocks of those that can be fused are: all of them (or there are none), none, or these names."""
    can_be = [block for block in _blocks(model, fuse_them=False) if block.report.fused]
    names = [block.report.name for block in can_be if block.is_fused()]
    return True if len(names) == len(can_be) else names or False


def unfuse(model: torch.nn.Module) -> None:
    """Gives blocks their own classes back, and lets each linear compute by itself."""
    for module in model.modules():
        if isinstance(module, FusedBlock):
            _take_apart(module)
        elif isinstance(module, Linear):
            vars(module).pop("_shared_input", None)


def take_apart_what_differs(model: torch.nn.Module) -> None:
    """Gives blocks whose linears cannot be computed in one call any longer their own classes back."""
    for module in model.modules():
        _take_apart_what_differs(module, None)


class _Block:
    """A block that may be fused."""

    def __init__(self, name: str, module: torch.nn.Module, kind: str):
        self.module = module
        self.report = BlockReport(name, kind, False, "")

    def is_fused(self) -> bool:
        """Whether it is fused now."""
        shared = (getattr(child, "_shared_input", None) for child in self.module.children())
        return isinstance(self.module, FusedBlock) or any(each is not None for each in shared)

    def settle(self, fused: bool, result: str) -> None:
        self.report = BlockReport(self.report.name, self.report.kind, fused, result)


def _blocks(
    model: torch.nn.Module, fuse_them: bool, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[_Block]:
    for name, module in list(model.named_modules()):
        if not wanted(name):
            continue
        names = tuple(own for own, child in module.named_children() if isinstance(child, Linear))
        if not names:
            continue
        linears = tuple(own for own, child in module.named_children() if isinstance(child, Linear) or is_linear(child))
        of_class = module._fused.block if isinstance(module, FusedBlock) else type(module)
        shape = mlp_shape(of_class.forward)
        projections = called_with_one_input(of_class.forward, linears) if shape is None else ()
        if shape is not None and {*shape.first, shape.last} & {*names}:
            block = _Block(name, module, "gated MLP" if shape.gated else "MLP")
            look = functools.partial(_fuse_mlp, module, shape, fuse_them)
        elif projections and {*projections} & {*names}:
            is_attention = any(part in of_class.__name__.lower() for part in _ATTENTION)
            block = _Block(name, module, "attention" if is_attention else "set of projections")
            look = functools.partial(_share_input, module, projections, fuse_them)
        elif len(names) > 1 and any(activation_of(child) is not None for child in module.children()):
            block = _Block(name, module, "other block")
            look = functools.partial(_not_understood)
        else:
            continue
        try:
            block.settle(True, look())
        except Apart as reason:
            block.settle(False, str(reason))
            if isinstance(module, FusedBlock) and fuse_them:
                _take_apart(module)
        yield block


def _not_understood() -> str:
    raise Apart("its forward is none of those that are known")


def _fuse_mlp(module: torch.nn.Module, shape: MlpShape, fuse_it: bool) -> str:
    first = [linear_of(module, name) for name in shape.first]
    if not isinstance(module, FusedBlock):
        _check_class(module)
    act, activation = _activation_in(module, shape)
    check_pair(shape.first, shape.gated, first)
    if module._modules.get(shape.last) is None:
        raise Apart(f"{shape.last} is no module")
    if fuse_it and not isinstance(module, FusedBlock):
        name = shape.act if isinstance(shape.act, str) else None
        act_class = None if act is None else type(act)
        fused = Fused(type(module), shape.argument, shape.first, shape.last, activation, name, act_class)
        try:
            module.__class__ = GatedMLP if shape.gated else ActivatedMLP
        except TypeError as error:
            raise Apart(f"a {fused.block.__name__} cannot take another class ({error})") from error
        module._fused = fused  # type: ignore[assignment]
        module._fused_handle = module.register_load_state_dict_post_hook(_take_apart_what_differs)
    active = f"{activation.name.lower()}({shape.first[0]})"
    if not shape.gated:
        return f"{active} in one call"
    return f"{active} * {shape.first[1]} in one call" if len(first) == 2 else f"{active} of its halves in one call"


def _activation_in(module: torch.nn.Module, shape: MlpShape) -> tuple[torch.nn.Module | None, Activation]:
    """The module of a block that is its activation, if there is one, and what it computes."""
    if not isinstance(shape.act, str):
        return None, shape.act
    act = module._modules.get(shape.act)
    activation = activation_of(act)
    if act is None or activation is None:
        kind = type(getattr(module, shape.act, None)).__name__
        raise Apart(f"{shape.act} is a {kind}, none of the activations that are known")
    if has_hooks(act):
        raise Apart(f"{shape.act} has hooks")
    return act, activation


def _check_class(module: torch.nn.Module) -> None:
    """Refuses a class of which more than its forward would be missed."""
    if "forward" in vars(module):
        raise Apart("its forward is replaced")
    for cls in type(module).__mro__:
        if cls is torch.nn.Module:
            return
        for name, value in vars(cls).items():
            is_code = callable(value) or isinstance(value, property | staticmethod | classmethod)
            if is_code and name not in ("__init__", "forward"):
                raise Apart(f"{type(module).__name__} has more than a forward: {name}")


def _share_input(module: torch.nn.Module, names: tuple[str, ...], fuse_it: bool) -> str:
    if "forward" in vars(module):
        raise Apart("its forward is replaced")
    layers = [linear_of(module, name) for name in names]
    check_alike(names, layers)
    shared = layers[0]._shared_input
    is_done = shared is not None and all(a is b for a, b in zip(shared.layers(), layers, strict=False))
    if fuse_it and not is_done:
        shared = SharedInput(layers)
        for layer in layers:
            layer._shared_input = shared
    return f"{', '.join(names)} in one call on {SHARING} threads or more"


def _take_apart(block: FusedBlock) -> None:
    fused = block._fused
    block._fused_handle.remove()  # type: ignore[operator, union-attr]
    del block._fused, block._fused_handle
    block.__class__ = fused.block  # type: ignore[assignment]


def _take_apart_what_differs(block: torch.nn.Module, _: object) -> None:
    """After a state_dict was loaded, whose weights may be quantized in another way."""
    if isinstance(block, FusedBlock) and not block.fits():
        _take_apart(block)
