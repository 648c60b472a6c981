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
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import torch

from zenwoq.torch._checkpoint import plain_name
from zenwoq.torch._experts_shape import is_packed
from zenwoq.torch._fuse import take_apart_what_differs
from zenwoq.torch._group import Group, group_of
from zenwoq.torch._mapped import Mapped
from zenwoq.torch._memory import WeightMemory
from zenwoq.torch._module import Linear
from zenwoq.torch._splits import EXPERTS_STYLE, LINEAR_STYLES, WHOLE_STYLES, Split, SplitExperts

_ModelT = TypeVar("_ModelT", bound=torch.nn.Module)


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
    splits: list[Split] = []
    problem: Exception | None = None
    try:
        splits = _checked_splits(model, _plan_of(model) if plan is None else plan, group)
    except Exception as error:  # a damaged weight, or whatever an odd module does: the others must hear of it
        problem = error
    _agree(group, problem, splits)
    memory = WeightMemory()
    mapped = Mapped(model, [s.module for s in splits if s.is_by_rows and isinstance(s.module, Linear)])
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


def _agree(group: Group, problem: Exception | None, splits: list[Split]) -> None:
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


def _checked_splits(model: torch.nn.Module, plan: Mapping[str, str], group: Group) -> list[Split]:
    """What is to be done, all of it checked. Raises ValueError."""
    found: list[Split] = []
    in_experts: set[int] = set()
    modules = dict(model.named_modules())
    for full, module in modules.items():
        name = plain_name(model, full)
        if group_of(module) is not None:
            raise ValueError(f"{name} is split already")
        style = _rule_of(plan, name)
        parent = modules[full.rpartition(".")[0]]
        if style is None or style in WHOLE_STYLES or id(module) in in_experts:
            _refuse_rules_of_parameters(name, module, plan)
            continue
        if style == EXPERTS_STYLE:
            in_experts.update(id(each) for each in module.modules())
            found.append(SplitExperts(name, module, parent, style, group))
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
        if style is not None and style not in WHOLE_STYLES:
            raise ValueError(f"{name}.{own}: the plan splits it ({style}), zenwoq splits linears and packed experts")


def _split_of_linear(
    name: str, module: torch.nn.Module, parent: torch.nn.Module, style: str, group: Group
) -> Iterator[Split]:
    if style not in LINEAR_STYLES:
        raise ValueError(
            f"{name}: its style {style!r} is none of {', '.join([*LINEAR_STYLES, EXPERTS_STYLE, *WHOLE_STYLES])}"
        )
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
    split = LINEAR_STYLES[style](name, module, parent, style, group)
    if split.is_needed():
        yield split
