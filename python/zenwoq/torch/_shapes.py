# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""What the forward of a block computes, read from its source.

Blocks are known by what they compute, not by the names of their classes or variables. A forward of plain assignments is
evaluated with symbols: what it returns is an expression of calls of the block's modules, to be compared with

    down(act(gate(x)) * up(x))      in any order of factors
    down(act(a) * b)                a, b = gate_up(x).chunk(2, dim=-1)
    fc2(act(fc1(x)))
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from zenwoq._structs import Activation

_FUNCTIONS: dict[Any, Activation] = {
    torch.nn.functional.relu: Activation.RELU,
    torch.relu: Activation.RELU,
    torch.nn.functional.silu: Activation.SILU,
    torch.nn.functional.gelu: Activation.GELU,
}
_ACTIVATIONS = {  # of transformers.activations
    "SiLUActivation": Activation.SILU,
    "GELUActivation": Activation.GELU,
    "GELUTanh": Activation.GELU_TANH,
    "NewGELUActivation": Activation.GELU_TANH,
    "FastGELUActivation": Activation.GELU_TANH,
    "AccurateGELUActivation": Activation.GELU_TANH,
}


@dataclass(frozen=True)
class MlpShape:
    """An MLP.

    Attributes:
        argument: the name of its forward's argument.
        first: the names of gate and up; of one linear of both, if it is `gated`; of the only one before the activation.
        last: the name of the linear after the activation.
        act: the name of the module that is the activation, or the activation, if it is a function.
        gated: whether the activation is multiplied.
    """

    argument: str
    first: tuple[str, ...]
    last: str
    act: str | Activation
    gated: bool


def activation_of(module: object) -> Activation | None:
    """What a module of torch or transformers computes of each element; None if it is none of those that are known."""
    kind = type(module)
    if kind is torch.nn.ReLU:
        return Activation.RELU
    if kind is torch.nn.SiLU:
        return Activation.SILU
    if kind is torch.nn.GELU:
        return Activation.GELU_TANH if module.approximate == "tanh" else Activation.GELU  # type: ignore[attr-defined]
    return _ACTIVATIONS.get(kind.__name__) if kind.__module__ == "transformers.activations" else None


@functools.lru_cache(maxsize=256)
def mlp_shape(forward: Callable[..., Any]) -> MlpShape | None:
    """The shape of an MLP with this forward (a function of a class); None if it is not one that is known."""
    function = _function_of(forward)
    if function is None or inspect.unwrap(forward) is not forward:
        return None
    try:
        return _mlp_of(_Evaluation(function, forward.__globals__).result, function.args.args[1].arg)
    except _UnknownError:
        return None


def _function_of(forward: Callable[..., Any]) -> ast.FunctionDef | None:
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(forward))).body
    except (OSError, SyntaxError, TypeError):
        return None
    return body[0] if len(body) == 1 and isinstance(body[0], ast.FunctionDef) else None


class _UnknownError(Exception):
    """Something that the evaluation does not know."""


# An expression: ("x",), ("call", name of a module, argument), ("function", activation, argument), ("halves", argument),
# ("half", 0 or 1, argument), ("product", factor, factor).
_Expression = tuple[Any, ...]


class _Evaluation:
    """Evaluates ``def forward(self, x)`` of nothing but assignments, and a return at the end."""

    def __init__(self, function: ast.FunctionDef, names: dict[str, Any]):
        self._names = names
        given = function.args
        others = (given.vararg, given.kwarg, *given.kwonlyargs, *given.defaults)
        if function.decorator_list or len(given.args) != 2 or any(other is not None for other in others):
            raise _UnknownError
        self._self, x = (argument.arg for argument in given.args)
        self._values: dict[str, _Expression] = {x: ("x",)}
        *body, last = function.body
        for statement in body:
            self._execute(statement)
        if not isinstance(last, ast.Return) or last.value is None:
            raise _UnknownError
        self.result = self._value(last.value)

    def _execute(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            return  # a docstring
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            raise _UnknownError
        (target,) = statement.targets
        value = self._value(statement.value)
        if isinstance(target, ast.Name):
            self._values[target.id] = value
            return
        if not isinstance(target, ast.Tuple) or len(target.elts) != 2 or value[0] != "halves":
            raise _UnknownError
        for half, name in enumerate(target.elts):
            if not isinstance(name, ast.Name):
                raise _UnknownError
            self._values[name.id] = ("half", half, value[1])

    def _value(self, node: ast.expr) -> _Expression:
        if isinstance(node, ast.Name) and node.id in self._values:
            return self._values[node.id]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            return "product", self._value(node.left), self._value(node.right)
        if isinstance(node, ast.Call):
            return self._call(node)
        raise _UnknownError

    def _call(self, node: ast.Call) -> _Expression:
        function, given = node.func, node.args
        options = {option.arg: ast.unparse(option.value) for option in node.keywords}
        known = self._global(function)
        if isinstance(function, ast.Attribute) and len(given) == 1 and not options and self._is_self(function.value):
            return "call", function.attr, self._value(given[0])
        if known in _FUNCTIONS and len(given) == 1:
            activation = _FUNCTIONS[known]
            if activation is Activation.GELU and options.pop("approximate", "'none'") == "'tanh'":
                activation = Activation.GELU_TANH
            if not options:
                return "function", activation, self._value(given[0])
        if known is torch.chunk and given:
            return self._chunk(given[0], given[1:], options)
        if known is None and isinstance(function, ast.Attribute) and function.attr == "chunk":
            return self._chunk(function.value, given, options)
        raise _UnknownError

    def _chunk(self, tensor: ast.expr, given: list[ast.expr], options: dict[str | None, str]) -> _Expression:
        values = [ast.unparse(each) for each in given]
        if [*values, *options.values()] != ["2", "-1"] or list(options) not in ([], ["dim"], ["chunks", "dim"]):
            raise _UnknownError
        return "halves", self._value(tensor)

    def _is_self(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id == self._self

    def _global(self, node: ast.expr) -> Any:
        """What a dotted name of the module stands for; None if it is no such name."""
        if isinstance(node, ast.Name):
            return None if node.id in self._values or node.id == self._self else self._names.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self._global(node.value)
            return None if owner is None else getattr(owner, node.attr, None)
        return None


def _mlp_of(result: _Expression, argument: str) -> MlpShape | None:
    if result[0] != "call":
        return None
    _, last, hidden = result
    factors = hidden[1:] if hidden[0] == "product" else (hidden,)
    for active, other in zip(factors, reversed(factors), strict=True):
        if active[0] not in ("call", "function"):
            continue
        _, act, inner = active
        first = _first_linears(inner, other if len(factors) == 2 else None)
        if first and len({*first, act, last}) == len(first) + 2:
            return MlpShape(argument, first, last, act, len(factors) == 2)
    return None


def _first_linears(active: _Expression, other: _Expression | None) -> tuple[str, ...]:
    """The linears whose products of x are given to the activation and multiplied with it; none if it is no such MLP."""
    if other is None:
        return (active[1],) if _is_of_x(active) else ()
    if _is_of_x(active) and _is_of_x(other):
        return active[1], other[1]
    is_of_halves = active[:2] == ("half", 0) and other == ("half", 1, active[2]) and _is_of_x(active[2])
    return (active[2][1],) if is_of_halves else ()


def _is_of_x(expression: _Expression) -> bool:
    """Whether it is one module's value of x."""
    kind, *parts = expression
    return bool(kind == "call" and parts[1] == ("x",))


@functools.lru_cache(maxsize=256)
def called_with_one_input(forward: Callable[..., Any], names: tuple[str, ...]) -> tuple[str, ...]:
    """Which of a block's modules its forward calls with the same tensor, one after the other: the most that there are.

    Each is named once in the forward, and called with the same variable, which nothing sets in between or may write to.

    Args:
        forward: a function of a class.
        names: of modules of the block.

    Returns:
        At least two names in the order of calls, or none.
    """
    function = _function_of(forward)
    if function is None or not function.args.args:
        return ()
    of_self = function.args.args[0].arg
    named = [_attribute(node, of_self) for node in ast.walk(function)]
    once = {name for name in names if named.count(name) == 1}
    best: tuple[str, ...] = ()
    for body in _bodies(function):
        for variable, found in _calls_by_argument(body, of_self, once).items():
            statements = body[found[0].place : found[-1].place + 1]
            arguments = [call.argument for call in found]
            if len(found) > len(best) and _is_only_read(variable, statements, arguments):
                best = tuple(call.name for call in found)
    return best if len(best) > 1 else ()


def _attribute(node: ast.AST, variable: str) -> str:
    """The attribute's name, of an attribute of a variable."""
    is_one = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == variable
    return node.attr if is_one else ""  # type: ignore[attr-defined]


@dataclass(frozen=True)
class _CallOfOne:
    """A call of a module with a variable.

    Attributes:
        name: the module's.
        place: which statement it is in.
        argument: the variable.
    """

    name: str
    place: int
    argument: ast.Name


def _calls_by_argument(body: list[ast.stmt], of_self: str, names: set[str]) -> dict[str, list[_CallOfOne]]:
    """The calls of these modules in statements, by the variables that they are called with."""
    found: dict[str, list[_CallOfOne]] = {}
    for place, statement in enumerate(body):
        for call in _calls(statement):
            name, argument = _attribute(call.func, of_self), call.args[0] if len(call.args) == 1 else None
            if name in names and isinstance(argument, ast.Name) and not call.keywords:
                found.setdefault(argument.id, []).append(_CallOfOne(name, place, argument))
    return found


def _bodies(function: ast.FunctionDef) -> Iterator[list[ast.stmt]]:
    """The lists of statements in a function."""
    for node in ast.walk(function):
        for part in ("body", "orelse", "finalbody"):
            body = getattr(node, part, None)
            if isinstance(body, list):
                yield body


def _calls(statement: ast.stmt) -> Iterator[ast.Call]:
    """The calls in a statement of its own, in the order in which they are written."""
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr | ast.Return):
        calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
        yield from sorted(calls, key=lambda node: (node.lineno, node.col_offset, -(node.end_col_offset or 0)))


def _is_only_read(variable: str, statements: list[ast.stmt], arguments: list[ast.Name]) -> bool:
    """Whether statements use a variable as these arguments alone, or ask for its shape."""
    nodes = [node for statement in statements for node in ast.walk(statement)]
    allowed = {id(argument) for argument in arguments}
    for node in nodes:
        if isinstance(node, ast.Attribute) and node.attr in ("shape", "dtype", "device", "ndim"):
            allowed.add(id(node.value))
    return all(id(node) in allowed for node in nodes if isinstance(node, ast.Name) and node.id == variable)
