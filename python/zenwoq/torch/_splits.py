# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The kinds of splits: what each process gets of a linear or of experts, and whether it can."""

from __future__ import annotations

from typing import Any

import torch

from zenwoq import Weight
from zenwoq._library import OpenWeight
from zenwoq.torch._blocks import FusedBlock
from zenwoq.torch._experts import PACKED, split_experts
from zenwoq.torch._experts_shape import is_experts, is_packed
from zenwoq.torch._group import Group, make_part
from zenwoq.torch._mapped import Mapped
from zenwoq.torch._memory import WeightMemory
from zenwoq.torch._module import Linear
from zenwoq.torch._parts import GatheredLinear, SummedDense, SummedLinear
from zenwoq.torch._shapes import mlp_shape

_PANEL = 64  # rows of W: of a packed weight the parts begin at multiples of it
# The styles of transformers' plans: of experts, and those that leave a module whole, since what they change is for
# training, or saves memory of embeddings. LINEAR_STYLES, below, are the others.
EXPERTS_STYLE = "moe_tp_experts"
WHOLE_STYLES = ("replicate", "replicated_with_grad_allreduce", "embedding_rowwise", "embedding_colwise")
_BY_ROWS, _BY_HALVES = "colwise", "packed_colwise"
_COUNTS_OF_HEADS = ("num_heads", "num_attention_heads", "num_key_value_heads", "num_kv_heads")


class Split:
    """What is to be done to a module; making one changes nothing.

    Args:
        name: of the module.
        module, parent: it, and the module that has it.
        style: the plan's.
        group: the processes.

    Attributes:
        is_by_rows: whether it takes rows that lie side by side, which can be used where they are.
        heads: attributes of the parent that count heads, and what they are to be.
        text: what it is, the same in all processes.

    Raises:
        ValueError: it cannot be done.
    """

    is_by_rows = False

    def __init__(self, name: str, module: Any, parent: torch.nn.Module, style: str, group: Group):
        self.name, self.module, self.parent, self.group = name, module, parent, group
        self.heads: list[tuple[str, int]] = []
        self.text = f"{name} {style} {group.size}"

    def make(self, memory: WeightMemory, mapped: Mapped) -> None:
        raise NotImplementedError

    def own_part(self, size: int) -> tuple[int, int]:
        """This process's part of so many."""
        return size // self.group.size * self.group.rank, size // self.group.size * (self.group.rank + 1)

    def share(self, what: str, size: int, border: int) -> int:
        """How many of `size` each process has; refuses a number that is no multiple of `border`."""
        processes: int = self.group.size
        if processes == 1 or size % (processes * border) == 0:
            return size // processes
        fitting = [str(d) for d in range(1, min(size // border, 64) + 1) if size % (d * border) == 0]
        each = f"a multiple of {border} each" if border > 1 else "as many each"
        raise ValueError(
            f"{self.name}: {size} {what} among {processes} processes are not {each}: {' or '.join(fitting) or 'no'} "
            f"processes would do"
        )


class SplitLinear(Split):
    """The same of a linear, packed or dense."""

    def __init__(self, name: str, module: Any, parent: torch.nn.Module, style: str, group: Group):
        super().__init__(name, module, parent, style, group)
        self.n, self.k, self.is_packed = module.out_features, module.in_features, type(module) is Linear
        kind = module.weight_view().text if self.is_packed else str(module.weight.dtype)
        self.text += f" {self.n} {self.k} {kind} {module.bias is not None}"

    def is_needed(self) -> bool:
        return True

    def put_rows(self, packed: torch.Tensor | None, bias: torch.Tensor | None) -> None:
        """Gives the linear its rows."""
        if packed is not None:
            self.module.packed = packed
        if bias is not None:
            self.module.bias = torch.nn.Parameter(bias.clone(), requires_grad=False)
        self.module.out_features = self.n // self.group.size
        make_part(self.module, self.group)


class Rows(SplitLinear):
    """Rows of W."""

    is_by_rows = True

    def __init__(self, name: str, module: Any, parent: torch.nn.Module, style: str, group: Group):
        super().__init__(name, module, parent, style, group)
        self.check_rows()
        if style == _BY_ROWS:
            self.check_heads()
            if _is_gate_and_up(parent, module):
                raise ValueError(f'{name}: {_BY_ROWS} would split gate from up: its style must be "{_BY_HALVES}"')

    def check_rows(self) -> None:
        self.share("rows", self.n, _PANEL if self.is_packed else 1)

    def check_heads(self) -> None:
        """Refuses rows of half a head, and counts the heads that are left."""
        width = getattr(self.parent, "head_dim", None)
        if not isinstance(width, int) or width < 1:
            return
        if self.n % width == 0:
            self.share(f"heads of {width}", self.n // width, 1)
        for name in _COUNTS_OF_HEADS:
            count = getattr(self.parent, name, None)
            if isinstance(count, int):
                self.heads.append((name, self.share(name, count, 1)))

    def make(self, memory: WeightMemory, mapped: Mapped) -> None:
        begin, end = self.own_part(self.n)
        bias = None if self.module.bias is None else self.module.bias[begin:end]
        if self.is_packed:
            self.put_rows(mapped.rows(self.module.packed, (begin, end), self.k, memory), bias)
        else:
            self.put_rows(None, bias)
            self.module.weight = torch.nn.Parameter(self.module.weight[begin:end].clone(), requires_grad=False)


class GatheredRows(Rows):
    """Rows of W, and the results of all."""

    def is_needed(self) -> bool:
        return self.is_packed and self.n % (_PANEL * self.group.size) == 0

    def check_rows(self) -> None:
        """Accepts all: what does not divide stays whole."""

    def make(self, memory: WeightMemory, mapped: Mapped) -> None:
        super().make(memory, mapped)
        self.module.__class__ = GatheredLinear


class Halves(SplitLinear):
    """Rows of each half of W."""

    def __init__(self, name: str, module: Any, parent: torch.nn.Module, style: str, group: Group):
        super().__init__(name, module, parent, style, group)
        self.share("rows", self.n, 2 * (_PANEL if self.is_packed else 1))

    def make(self, memory: WeightMemory, mapped: Mapped) -> None:
        half = self.n // 2
        begin, end = self.own_part(half)
        parts = [(begin, end), (half + begin, half + end)]
        bias = None if self.module.bias is None else torch.cat([self.module.bias[a:b] for a, b in parts])
        if self.is_packed:
            weight = self.module.weight_view()
            self.put_rows(_in_memory(Weight.join([weight.slice(*part) for part in parts]), memory), bias)
        else:
            self.put_rows(None, bias)
            rows = torch.cat([self.module.weight[a:b] for a, b in parts])
            self.module.weight = torch.nn.Parameter(rows, requires_grad=False)


class Columns(SplitLinear):
    """Columns of W, of an x that is split."""

    takes_all = False

    def __init__(self, name: str, module: Any, parent: torch.nn.Module, style: str, group: Group):
        super().__init__(name, module, parent, style, group)
        part = self.share("columns", self.k, 1)
        if self.is_packed:
            _check_columns(name, module.packed, self.n, self.k, part)

    def make(self, memory: WeightMemory, mapped: Mapped) -> None:
        begin, end = self.own_part(self.k)
        if self.is_packed:
            self.module.packed = memory.part(self.module.packed, (0, self.n), (begin, end))
        else:
            self.module.weight = torch.nn.Parameter(self.module.weight[:, begin:end].clone(), requires_grad=False)
        self.module.in_features = end - begin
        self.module._begin = begin if self.takes_all else None
        self.module.__class__ = SummedLinear if self.is_packed else SummedDense
        make_part(self.module, self.group)


class ColumnsOfAll(Columns):
    """Columns of W, of an x that all have."""

    takes_all = True


# By the styles of transformers' plans, what they do to a linear.
LINEAR_STYLES: dict[str, type[SplitLinear]] = {
    _BY_ROWS: Rows,
    "colwise_gather_output": GatheredRows,
    "colwise_rep": GatheredRows,
    _BY_HALVES: Halves,
    "rowwise": Columns,
    "rowwise_split_input": ColumnsOfAll,
    "rowwise_rep": ColumnsOfAll,
}


class SplitExperts(Split):
    """A part of the intermediate features of each packed expert."""

    def __init__(self, name: str, module: Any, parent: torch.nn.Module, style: str, group: Group):
        super().__init__(name, module, parent, style, group)
        if not is_packed(module):
            kind = "dense experts" if is_experts(module) else "no experts that zenwoq packs"
            raise ValueError(
                f"{name}: a {type(module).__name__} has {kind}: only packed ones can be split (optimize, "
                f"quantize_experts)"
            )
        if any(module._buffers[own].is_meta for own in PACKED):
            raise ValueError(f"{name} has no values yet")
        gate, up, down = (Weight.from_packed(module._buffers[own][0]) for own in PACKED)
        part = self.share("intermediate features", gate.n, _PANEL)
        _check_columns(f"{name}.down_packed", module._buffers["down_packed"][0], down.n, down.k, part)
        self.text += f" {len(module.gate_packed)} {gate.n} {gate.k} {gate.text} {up.text} {down.text}"

    def make(self, memory: WeightMemory, mapped: Mapped) -> None:
        split_experts(self.module, self.group, *self.own_part(Weight.from_packed(self.module.gate_packed[0]).n))
        make_part(self.module, self.group)


def _check_columns(name: str, packed: torch.Tensor, n: int, k: int, part: int) -> None:
    """Raises ValueError unless each process's columns of a packed weight are a weight, whichever process asks."""
    with OpenWeight(packed.data_ptr(), packed.nbytes) as handle:
        for begin in range(0, k, part):
            try:
                handle.slice_bytes((0, n), (begin, begin + part))
            except ValueError as error:
                raise ValueError(f"{name}: {k} columns among {k // part} processes are {part} each: {error}") from error


def _in_memory(weight: Weight, memory: WeightMemory) -> torch.Tensor:
    return memory.copy(torch.frombuffer(bytearray(weight.packed), dtype=torch.uint8))


def _is_gate_and_up(parent: torch.nn.Module, module: torch.nn.Module) -> bool:
    """Whether a linear has both of a gated MLP in its halves."""
    shape = mlp_shape((parent._fused.block if isinstance(parent, FusedBlock) else type(parent)).forward)
    first = () if shape is None or not shape.gated else shape.first
    return len(first) == 1 and parent._modules.get(first[0]) is module
