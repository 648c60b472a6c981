# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Models whose packed layers several processes share: tensor parallelism on torch.distributed.

A layer is split in one of two ways. By rows of W each process computes some of the results, in the bits that one
process gives them. By columns each computes a part of every sum, and the parts are added. What follows a split by rows
(an attention's heads, an activation) works on a process's results alone, until a split by columns takes them.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from zenwoq import Weight, _library
from zenwoq._library import OpenWeight
from zenwoq.torch._blocks import FusedBlock
from zenwoq.torch._checkpoint import plain_name
from zenwoq.torch._experts import PACKED, is_experts, is_packed, split_experts
from zenwoq.torch._fuse import take_apart_what_differs
from zenwoq.torch._group import Group, group_of, make_part
from zenwoq.torch._memory import WeightMemory
from zenwoq.torch._module import Linear, operand_of
from zenwoq.torch._operator import linear
from zenwoq.torch._shapes import mlp_shape

_ModelT = TypeVar("_ModelT", bound=torch.nn.Module)

_PANEL = 64  # rows of W: of a packed weight the parts begin at multiples of it
_EXPERTS = "moe_tp_experts"
# The styles of transformers' plans by what they do to a linear.
_BY_ROWS, _BY_ROWS_GATHERED, _BY_HALVES = "colwise", ("colwise_gather_output", "colwise_rep"), "packed_colwise"
_BY_COLUMNS, _BY_COLUMNS_OF_ALL = "rowwise", ("rowwise_split_input", "rowwise_rep")
# Those that leave a module whole: what they change is for training, or saves memory of embeddings.
_WHOLE = ("replicate", "replicated_with_grad_allreduce", "embedding_rowwise", "embedding_colwise")
_COUNTS_OF_HEADS = ("num_heads", "num_attention_heads", "num_key_value_heads", "num_kv_heads")


def parallelize(model: _ModelT, mesh: Any, *, plan: Mapping[str, str] | None = None) -> _ModelT:
    """Leaves each process of a mesh its part of a model's layers, which then compute together.

    Every process makes the same model, packed, and calls this with its mesh; from then on all call the model with the
    same inputs, at the same time, and get the same bits of the same results. With ``torchrun --nproc-per-node 2``::

        torch.distributed.init_process_group("gloo", timeout=datetime.timedelta(minutes=1))
        mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (torch.distributed.get_world_size(),))
        model = zenwoq.torch.parallelize(AutoModelForCausalLM.from_pretrained(folder), mesh)

    What is split is what transformers' plan of the model says (``model.tp_plan``), in its words:

    - ``"colwise"`` (q, k, v, gate, up): rows of W, N / processes each, a multiple of 64. Results have the bits of one
      process. ``"colwise_gather_output"`` brings the results of all together again; what does not divide stays whole
      there. ``"packed_colwise"`` splits each half of a linear of gate and up.
    - ``"rowwise"`` (o, down): columns of W, K / processes each, which end where groups do. Each process computes its
      part of a sum in float32, the parts are added in float32 by an all-reduce, then the bias is added, once, and the
      result is rounded to x's dtype, once. So only the order of a float32 sum is another one: it stays within the
      bound of one process, (K + 2 G + 8) 2^-24 of the sum of absolute values (src/reference/arithmetic.md), and 2^-23
      of itself more for two processes. One or two in ten thousand results in bfloat16 were the neighbouring number
      (Llamas with random weights; of parts that are rounded before they are added, 44 in a hundred).
      ``"rowwise_split_input"`` takes its part of an x that all have.
    - ``"moe_tp_experts"``: of packed experts each process has a part of every expert's intermediate features, and the
      experts' results are added as above.
    - All else stays whole in every process: embeddings, norms, routers, and what no rule of the plan names.

    Dense linears (``torch.nn.Linear``) that the plan names are split the same way; the parts of their sums are rounded
    to x's dtype before they are added. Fused blocks stay fused where their linears are still computed in one call.
    Attributes that count heads (``num_heads``, ...) of the modules around become this process's.

    Memory: a part by rows of a weight that is mapped privately from a file, as :func:`load` with ``mmap=True``,
    ``from_pretrained`` of a folder of ``save_pretrained`` and :func:`from_checkpoint` of a .zwq file have it, is used
    where it lies: a process reads the pages of its rows and writes two or three. Other tensors that share that memory
    (a ``state_dict`` from before) are of no use afterwards. Everything else is copied, layer by layer, and what was
    there is freed.

    The model cannot be saved, restored or pickled afterwards; a deep copy is of the same processes. It works under
    ``torch.no_grad()`` and ``torch.inference_mode()``, and under torch.compile, where each sum is a call that all
    processes make. One thread at a time may call it: the processes' sums have no names but their order. Each process
    computes on its own torch threads: give each of them its own cores (``OMP_NUM_THREADS``, numactl, or taskset).

    A process that dies, or calls the model less often than others, is an error of torch.distributed in the others
    (RuntimeError), at once or when the group's timeout has passed, which is what ``init_process_group`` was given
    (torch's default is 30 minutes). There is no going on afterwards: end the processes and start them anew.

    Args:
        model: of transformers with packed layers (by :func:`optimize`, :func:`from_checkpoint`, ``from_pretrained``,
            :func:`load`), or any other with `plan`. Changed in place.
        mesh: a ``torch.distributed.device_mesh.DeviceMesh`` of CPUs with one dimension; of a larger one,
            ``mesh["tp"]``.
        plan: patterns of module names (``*`` for numbers) and styles, instead of the model's own.

    Returns:
        The model.

    Raises:
        ValueError: the mesh is none of those, there is no plan, or no packed layer that it names, or one of them cannot
            be split: rows that are no multiple of 64 for each process, heads that do not divide, columns that do not
            end where groups do, columns in act-order, a style or a module that is not known, a forward that is
            replaced, a damaged weight; or the processes' models are not alike. The text names the layer and its sizes.
            Nothing has been changed then, in any process: all of them raise.
        MemoryError: there is no memory for a part; the model is then of no use, and neither are the others'.
        RuntimeError: torch.distributed fails.
        TypeError: model is not a module.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model is a {type(model).__name__}, must be a torch.nn.Module")
    group = _group_of_mesh(mesh)
    splits: list[_Split] = []
    problem: Exception | None = None
    try:
        splits = _splits(model, _plan_of(model) if plan is None else plan, group)
    except Exception as error:  # a damaged weight, or whatever an odd module does: the others must hear of it
        problem = error
    _agree(group, problem, splits)
    memory = WeightMemory()
    mapped = _Mapped(model, splits)
    for split in splits:
        split.make(memory, mapped)
    for module, name, count in {(id(s.parent), n): (s.parent, n, c) for s in splits for n, c in s.heads}.values():
        setattr(module, name, count)
    take_apart_what_differs(model)
    return model


def _group_of_mesh(mesh: Any) -> Group:
    if not torch.distributed.is_available():
        raise ValueError("this torch has no torch.distributed")
    from torch.distributed.device_mesh import DeviceMesh

    if not isinstance(mesh, DeviceMesh):
        raise ValueError(f"mesh is a {type(mesh).__name__}, must be a torch.distributed.device_mesh.DeviceMesh")
    if mesh.device_type != "cpu":
        raise ValueError(f"mesh is of {mesh.device_type}, must be of cpu: zenwoq runs there")
    if mesh.ndim != 1:
        raise ValueError(f'mesh has {mesh.ndim} dimensions, must have one: give mesh["..."] of those that share layers')
    return Group(mesh)


def _plan_of(model: torch.nn.Module) -> Mapping[str, str]:
    plan = getattr(model, "tp_plan", None) or getattr(model, "_tp_plan", None)
    if not plan:
        raise ValueError(f"{type(model).__name__} has no tensor-parallel plan (tp_plan): give plan=")
    return plan  # type: ignore[no-any-return]


def _agree(group: Group, problem: Exception | None, splits: list[_Split]) -> None:
    """Lets all processes go on, or none."""
    is_plain = problem is None or (type(problem) is ValueError and str(problem) != "")
    text = "" if problem is None else str(problem) if is_plain else f"{type(problem).__name__}: {problem}"
    digest = hashlib.sha256("\n".join(split.text for split in splits).encode()).hexdigest()
    answers = group.of_all((text, digest))
    if text:
        raise ValueError(text) from problem
    for rank, (other, its_digest) in enumerate(answers):
        if other:
            raise ValueError(f"process {rank}: {other}")
        if its_digest != answers[0][1]:
            raise ValueError(f"the model of process {rank} has other layers than that of process 0")


def _rule_of(plan: Mapping[str, str], name: str) -> str | None:
    return plan.get(re.sub(r"\d+", "*", name))


def _splits(model: torch.nn.Module, plan: Mapping[str, str], group: Group) -> list[_Split]:
    """What is to be done, all of it checked. Raises ValueError."""
    found: list[_Split] = []
    in_experts: set[int] = set()
    modules = dict(model.named_modules())
    for full, module in modules.items():
        name = plain_name(model, full)
        if group_of(module) is not None:
            raise ValueError(f"{name} is split already")
        style = _rule_of(plan, name)
        parent = modules[full.rpartition(".")[0]]
        if style is None or style in _WHOLE or id(module) in in_experts:
            _refuse_rules_of_parameters(name, module, plan)
            continue
        if style == _EXPERTS:
            in_experts.update(id(each) for each in module.modules())
            found.append(_SplitExperts(name, module, parent, style, group))
        else:
            found.extend(_split_of_linear(name, module, parent, style, group))
    if not any(isinstance(split.module, Linear) or is_packed(split.module) for split in found):
        raise ValueError(
            "no packed layer of the model is in its plan: call zenwoq.torch.optimize (or from_checkpoint) first"
        )
    return found


def _refuse_rules_of_parameters(name: str, module: torch.nn.Module, plan: Mapping[str, str]) -> None:
    for own in module._parameters:
        style = _rule_of(plan, f"{name}.{own}".lstrip("."))
        if style is not None and style not in _WHOLE:
            raise ValueError(f"{name}.{own}: the plan splits it ({style}), zenwoq splits linears and packed experts")


def _split_of_linear(
    name: str, module: torch.nn.Module, parent: torch.nn.Module, style: str, group: Group
) -> Iterator[_Split]:
    kinds: dict[str, type[_SplitLinear]] = {
        _BY_ROWS: _Rows,
        _BY_HALVES: _Halves,
        _BY_COLUMNS: _Columns,
        **dict.fromkeys(_BY_ROWS_GATHERED, _GatheredRows),
        **dict.fromkeys(_BY_COLUMNS_OF_ALL, _ColumnsOfAll),
    }
    if style not in kinds:
        raise ValueError(f"{name}: its style {style!r} is none of {', '.join([*kinds, _EXPERTS, *_WHOLE])}")
    is_plain = type(module) is torch.nn.Linear and type(module.weight) is torch.nn.Parameter
    if type(module) is not Linear and not is_plain:
        kind = type(getattr(module, "weight", module)).__name__
        raise ValueError(
            f"{name}: a {type(module).__name__} ({kind}) cannot be split, only packed layers and dense linears"
        )
    values: Any = module.packed if type(module) is Linear else module.weight
    if values.is_meta:
        raise ValueError(f"{name} has no values yet")
    if "forward" in vars(module):
        raise ValueError(f"{name}: its forward is replaced (an accelerate hook?), which a split would miss")
    split = kinds[style](name, module, parent, style, group)
    if split.is_needed():
        yield split


def _is_gate_and_up(parent: torch.nn.Module, module: torch.nn.Module) -> bool:
    """Whether a linear has both of a gated MLP in its halves."""
    shape = mlp_shape((parent._fused.block if isinstance(parent, FusedBlock) else type(parent)).forward)
    first = () if shape is None or not shape.gated else shape.first
    return len(first) == 1 and parent._modules.get(first[0]) is module


class _Split:
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

    def make(self, memory: WeightMemory, mapped: _Mapped) -> None:
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


class _SplitLinear(_Split):
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


class _Rows(_SplitLinear):
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

    def make(self, memory: WeightMemory, mapped: _Mapped) -> None:
        begin, end = self.own_part(self.n)
        bias = None if self.module.bias is None else self.module.bias[begin:end]
        if self.is_packed:
            self.put_rows(mapped.rows(self.module.packed, (begin, end), self.k, memory), bias)
        else:
            self.put_rows(None, bias)
            self.module.weight = torch.nn.Parameter(self.module.weight[begin:end].clone(), requires_grad=False)


class _GatheredRows(_Rows):
    """Rows of W, and the results of all."""

    def is_needed(self) -> bool:
        return self.is_packed and self.n % (_PANEL * self.group.size) == 0

    def check_rows(self) -> None:
        """Accepts all: what does not divide stays whole."""

    def make(self, memory: WeightMemory, mapped: _Mapped) -> None:
        super().make(memory, mapped)
        self.module.__class__ = GatheredLinear


class _Halves(_SplitLinear):
    """Rows of each half of W."""

    def __init__(self, name: str, module: Any, parent: torch.nn.Module, style: str, group: Group):
        super().__init__(name, module, parent, style, group)
        self.share("rows", self.n, 2 * (_PANEL if self.is_packed else 1))

    def make(self, memory: WeightMemory, mapped: _Mapped) -> None:
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


class _Columns(_SplitLinear):
    """Columns of W, of an x that is split."""

    takes_all = False

    def __init__(self, name: str, module: Any, parent: torch.nn.Module, style: str, group: Group):
        super().__init__(name, module, parent, style, group)
        part = self.share("columns", self.k, 1)
        if self.is_packed:
            _check_columns(name, module.packed, self.n, self.k, part)

    def make(self, memory: WeightMemory, mapped: _Mapped) -> None:
        begin, end = self.own_part(self.k)
        if self.is_packed:
            self.module.packed = memory.part(self.module.packed, (0, self.n), (begin, end))
        else:
            self.module.weight = torch.nn.Parameter(self.module.weight[:, begin:end].clone(), requires_grad=False)
        self.module.in_features = end - begin
        self.module._begin = begin if self.takes_all else None
        self.module.__class__ = SummedLinear if self.is_packed else SummedDense
        make_part(self.module, self.group)


class _ColumnsOfAll(_Columns):
    """Columns of W, of an x that all have."""

    takes_all = True


class _SplitExperts(_Split):
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

    def make(self, memory: WeightMemory, mapped: _Mapped) -> None:
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


class _Mapped:
    """Packed weights in private mappings of files, whose rows can be used where they lie.

    Args:
        model: the weights of all of its layers.
        splits: what is to be done with them.
    """

    def __init__(self, model: torch.nn.Module, splits: list[_Split]):
        self._mappings = list(_private_mappings())
        used = Counter(m.packed.data_ptr() for m in model.modules() if isinstance(m, Linear))
        by_rows = Counter(s.module.packed.data_ptr() for s in splits if s.is_by_rows and isinstance(s.module, Linear))
        self._free = {address for address, count in by_rows.items() if used[address] == count}
        self._made: dict[int, torch.Tensor] = {}  # by the address of the whole

    def rows(self, packed: torch.Tensor, rows: tuple[int, int], k: int, memory: WeightMemory) -> torch.Tensor:
        """Rows of a packed weight: of a mapped one in its pages, after which it is none; of others in a copy."""
        address = packed.data_ptr()
        if address not in self._made:
            begin, end = address, address + packed.nbytes
            if address in self._free and any(a <= begin and end <= b for a, b in self._mappings):
                at, size = _library.cut(address, packed.nbytes, *rows)
                self._made[address] = packed[at - address : at - address + size]
            else:
                self._made[address] = memory.part(packed, rows, (0, k))
        return self._made[address]


def _private_mappings() -> Iterator[tuple[int, int]]:
    """Where this process has files mapped that it may write to without changing them."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return
    last = (0, 0)
    for line in lines:
        addresses, permissions, _, _, inode, *_ = line.split(maxsplit=5)
        if not permissions.startswith("rw-p") or inode == "0":
            continue
        begin, end = (int(address, 16) for address in addresses.split("-"))
        if begin != last[1]:  # neighbours are one
            yield last
            last = begin, end
        else:
            last = last[0], end
    yield last


class GatheredLinear(Linear):
    """A :class:`Linear` with this process's rows of W, whose result is that of all."""

    _zenwoq_group: Group

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As :meth:`Linear.forward`, ``[..., out_features of all]``."""
        return self._zenwoq_group.side_by_side(super().forward(x))


class SummedLinear(Linear):
    """A :class:`Linear` with this process's columns of W, whose sums are those of all."""

    _zenwoq_group: Group
    _begin: int | None  # of its columns, where x has all of them

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As :meth:`Linear.forward`; the processes' sums are added in float32, and rounded once.

        Args:
            x: ``[..., in_features]``, of all processes where the plan says ``"rowwise_split_input"``.
        """
        x = operand_of(self, x)
        part = x if self._begin is None else x[..., self._begin : self._begin + self.in_features]
        sums = linear(part.float(), self._buffers["packed"], None, self.out_features)
        return _finished(self, sums, x.dtype)


class SummedDense(torch.nn.Linear):
    """The same of a dense linear, whose parts are rounded to x's dtype before they are added."""

    _zenwoq_group: Group
    _begin: int | None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As ``torch.nn.Linear.forward``."""
        part = x if self._begin is None else x[..., self._begin : self._begin + self.in_features]
        sums = torch.nn.functional.linear(part, self.weight)
        return _finished(self, sums.float(), sums.dtype)


def _finished(module: SummedLinear | SummedDense, sums: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    sums = module._zenwoq_group.sum(sums)
    bias = module._parameters["bias"]
    return (sums if bias is None else sums + bias).to(dtype)
