# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The layer that replaces a quantized linear."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from zenwoq import Weight
from zenwoq._library import PACKED_ALIGNMENT
from zenwoq.torch._operator import linear

if TYPE_CHECKING:
    from zenwoq.torch._shared_input import SharedInput


class WeightWithoutValues(torch.Tensor):
    """What :attr:`Linear.weight` is: shape, dtype and device for code that asks a linear for them.

    All that needs no values answers as a plain tensor without gradients would, views included. Code that computes with
    it gets an error instead of a wrong result. torch's transformer layers, which would hand the weights of their
    linears to their own kernels, find that it is no plain tensor and call the linears.

    Attributes:
        on: the device of the packed weight.
    """

    on: torch.device
    _is_hf_initialized = True  # transformers, which initializes layers by type, passes over it

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answers what needs no values."""
        kwargs = kwargs or {}
        weight = args[0] if args and isinstance(args[0], cls) else None
        if weight is not None and func in _DEVICE:
            return weight.on
        with torch._C.DisableTorchFunctionSubclass():
            if weight is not None and func in _ASK_AN_EMPTY_ONE:
                return func(_empty_one(weight), *args[1:], **kwargs)
            if func in _NEED_NO_VALUES:
                return func(*args, **kwargs)
            if weight is not None and func in _VIEWS:
                return _without_values(func(*args, **kwargs), weight.on)
            if weight is not None and func in _LIKE:
                return func(*args, **{"device": weight.on, **kwargs})
            if weight is not None and func in _MAYBE_ITSELF:
                empty = _empty_one(weight)
                result = func(empty, *args[1:], **kwargs)
                if result is empty or isinstance(result, str):
                    return weight if result is empty else result
            if weight is not None and func in _SET_NOTHING:
                values = (*args[1:], *kwargs.values())
                if len(values) == 1 and (values[0] is None or values[0] is False):
                    return weight
        raise TypeError(_no_values(_name_of(func)))

    def __repr__(self) -> str:  # type: ignore[override]
        return f"{type(self).__name__}(shape={list(self.shape)}, dtype={self.dtype})"

    __hash__ = torch.Tensor.__hash__  # Python takes it away from a class with an __eq__, which comes below

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __copy__(self) -> WeightWithoutValues:
        return weight_without_values(self.shape, self.dtype, self.on)

    def __deepcopy__(self, memo: dict[int, Any]) -> WeightWithoutValues:
        return self.__copy__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return weight_without_values, (tuple(self.shape), self.dtype, self.on)


def _refuse(name: str) -> Callable[..., Any]:
    def operator(self: WeightWithoutValues, other: object = None, modulo: object = None) -> Any:
        raise TypeError(_no_values(name))

    return operator


# torch turns the error of an operator into NotImplemented, and Python then says less of it or compares by identity.
for _name in (
    "add",
    "sub",
    "mul",
    "matmul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "and",
    "or",
    "xor",
    "lshift",
    "rshift",
):
    for _form in (f"__{_name}__", f"__r{_name}__", f"__i{_name}__"):
        setattr(WeightWithoutValues, _form, _refuse(_form))
for _name in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"):
    setattr(WeightWithoutValues, _name, _refuse(_name))


def weight_without_values(
    shape: tuple[int, ...] | torch.Size, dtype: torch.dtype, device: torch.device
) -> WeightWithoutValues:
    """Makes one."""
    return _without_values(torch.empty(shape, dtype=dtype, device="meta"), device)


def _without_values(meta: torch.Tensor, device: torch.device) -> WeightWithoutValues:
    weight = meta.as_subclass(WeightWithoutValues)
    weight.on = device
    return weight


def _empty_one(weight: WeightWithoutValues) -> torch.Tensor:
    """A plain tensor without elements, of the weight's type, where the weight is."""
    return torch.empty((0, 0), dtype=weight.dtype, device=weight.on)


def _getter(name: str) -> Any:
    return getattr(torch.Tensor, name).__get__


def _setter(name: str) -> Any:
    return getattr(torch.Tensor, name).__set__


def _no_values(name: str) -> str:
    return (
        f"{name}: the weight of a zenwoq.torch.Linear is packed, it has no values here; the layer's dequantize() makes "
        f"a dense one"
    )


def _name_of(func: Any) -> str:
    """A function's own name; that of the attribute if it is one's getter or setter."""
    if getattr(func, "__name__", "") in ("__get__", "__set__", "__delete__"):
        return str(func.__self__.__name__)
    return str(getattr(func, "__name__", func))


def _of_tensor(names: str) -> set[Any]:
    """torch.Tensor's methods of these names, the getters of its attributes, and torch's functions."""
    found = set()
    for name in names.split():
        of_tensor, of_torch = getattr(torch.Tensor, name, None), getattr(torch, name, None)
        if of_tensor is not None:
            found.add(of_tensor if callable(of_tensor) else of_tensor.__get__)
        if callable(of_torch):
            found.add(of_torch)
    return found


_OF_TWO = ("is_same_size", "is_set_to", "is_nonzero", "is_coalesced", "is_distributed")
_DEVICE = {_getter("device")}
_ASK_AN_EMPTY_ONE = _of_tensor(" ".join(name for name in dir(torch.Tensor) if name.startswith("is_")))
_ASK_AN_EMPTY_ONE -= _of_tensor(" ".join(_OF_TWO))
_ASK_AN_EMPTY_ONE |= _of_tensor("get_device new_empty new_zeros new_ones new_full new_tensor")
_NEED_NO_VALUES = _of_tensor(
    "dtype shape ndim layout requires_grad itemsize nbytes name names volatile _version _base"
    " grad grad_dtype grad_fn output_nr retains_grad _backward_hooks _post_accumulate_grad_hooks"
    " size dim ndimension numel nelement element_size stride storage_offset has_names __len__ __hash__ result_type"
)
_VIEWS = _of_tensor("data real T mT H mH t transpose permute view reshape flatten unflatten squeeze unsqueeze detach")
_LIKE = _of_tensor("empty_like zeros_like ones_like full_like rand_like randn_like")
_MAYBE_ITSELF = _of_tensor("to cpu type contiguous float double half bfloat16")
_SET_NOTHING: set[Any] = {torch.Tensor.requires_grad_, _setter("requires_grad"), _setter("grad")}


# Module attributes take longer to find than what they are asked for here.
_is_compiling, _threads = torch.compiler.is_compiling, torch.get_num_threads
# Threads from which one loop for products of one x gains more than it costs in Python: two gain nothing by it.
SHARING = 4


class Linear(torch.nn.Module):
    """A linear layer with a packed 4-bit weight, for inference.

    Args:
        packed: ``[bytes]`` uint8 on the CPU: a packed weight, borrowed.
        bias: ``[out_features]`` float32, float16 or bfloat16, or None. Gets no gradients from here on.
        in_features, out_features: the weight's, for a layer whose `packed` is still to be loaded (on the meta device);
            None takes them from `packed`.
        dtype: the type of the dense weight that this represents, which :attr:`weight` shows; ``.to(dtype)`` changes it.

    Raises:
        zenwoq.Error: `packed` is no packed weight.
        ValueError: the shape of `packed` is not that of the features.

    Attributes:
        packed: the packed weight, a buffer: in ``state_dict``, moved and shared like any other.
        bias: the bias, a parameter without gradients, or None.
    """

    _version = 1
    __jit_unused_properties__ = ("weight",)  # torch.jit.script leaves it out
    if TYPE_CHECKING:  # torch.jit.script would take it for its own types
        packed: torch.Tensor
        bias: torch.nn.Parameter | None
        _shared_input: SharedInput | None
    _shared_input = None  # with linears beside it that are called with the same x

    def __init__(
        self,
        packed: torch.Tensor,
        bias: torch.Tensor | None = None,
        *,
        in_features: int | None = None,
        out_features: int | None = None,
        dtype: torch.dtype = torch.bfloat16,
    ):
        super().__init__()
        self._weight_dtype = dtype
        if packed.is_meta:
            if in_features is None or out_features is None:
                raise ValueError("a packed weight on the meta device needs in_features and out_features")
            self.in_features, self.out_features = in_features, out_features
        else:
            weight = Weight.from_packed(packed)
            self.in_features, self.out_features = weight.k, weight.n
            if (in_features or weight.k, out_features or weight.n) != (weight.k, weight.n):
                raise ValueError(
                    f"packed has {weight.k} in and {weight.n} out features, not {in_features} and {out_features}"
                )
        self.register_buffer("packed", packed)
        parameter = bias if bias is None or isinstance(bias, torch.nn.Parameter) else torch.nn.Parameter(bias)
        self.register_parameter("bias", parameter)
        if parameter is not None:
            parameter.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x @ W.T + bias``.

        Args:
            x: ``[..., in_features]`` float32, float16 or bfloat16 on the CPU.

        Returns:
            ``[..., out_features]`` in x's dtype, or in autocast's under autocast.

        Raises:
            RuntimeError: x asks for gradients, its shape, dtype or device is wrong, or `packed` is damaged.
        """
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            if x.requires_grad is True and torch.is_grad_enabled():  # torch.fx hands over an x that is no bool
                raise RuntimeError(
                    "zenwoq.torch.Linear computes no gradients: call the model under torch.no_grad() or "
                    "torch.inference_mode(), or zenwoq.torch.restore(model) to train it"
                )
            if torch.is_autocast_enabled("cpu"):
                x = x.to(torch.get_autocast_dtype("cpu"))
            elif self._shared_input is not None and not _is_compiling() and _threads() >= SHARING:
                return self._shared_input.product(self, x)
            # Not self.packed and self.bias, which a module takes half a microsecond each to find.
            return linear(x, self._buffers["packed"], self._parameters["bias"], self.out_features)  # type: ignore[no-any-return]
        return torch.ops.zenwoq.linear(x, self.packed, self.bias, self.out_features)  # type: ignore[no-any-return]

    @property
    def weight(self) -> torch.Tensor:
        """A tensor ``[out_features, in_features]`` without values, for code that asks for shape, dtype or device.

        Raises:
            TypeError: something computes with it.
        """
        device = self._buffers["packed"].device  # type: ignore[union-attr]
        return weight_without_values((self.out_features, self.in_features), self._weight_dtype, device)

    def register_parameter(self, name: str, param: torch.nn.Parameter | None) -> None:
        """Does what every module does, except for a dense weight, which a model that ties its weights would put here.

        Raises:
            TypeError: name is ``"weight"``.
        """
        if name == "weight":
            raise TypeError("the weight of a zenwoq.torch.Linear is packed and cannot be set or tied to another one")
        super().register_parameter(name, param)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Linear:
        """Does what every module does; a cast changes the dtype of `weight`, and never the packed bytes."""
        packed = self.packed
        self._buffers["packed"] = None
        try:
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
            moved = fn(packed[:0])
            self._buffers["packed"] = packed = fn(packed) if moved.dtype == torch.uint8 else packed.to(moved.device)
        finally:
            self._buffers["packed"] = packed
        self._weight_dtype = fn(torch.empty(0, dtype=self._weight_dtype)).dtype
        return self

    def weight_view(self) -> Weight:
        """The weight (its text, scales, codes) in the memory of `packed`, which must live while it is used."""
        return Weight.from_packed(self.packed)

    def dequantize(self, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        """The dense weight ``[out_features, in_features]``, computed in float32, then rounded to dtype."""
        result = torch.empty((self.out_features, self.in_features), dtype=dtype)
        weight = self.weight_view()
        step = max(64, (1 << 22) // self.in_features // 64 * 64)  # 16 MiB of float32 at a time
        for begin in range(0, self.out_features, step):
            end = min(begin + step, self.out_features)
            values = torch.empty((end - begin, self.in_features), dtype=torch.float32)
            result[begin:end] = weight.dequantize(begin, end, out=values)
        return result

    def extra_repr(self) -> str:
        """Shows features, bias and quantization."""
        text = "not loaded" if self.packed.is_meta else self.weight_view().text
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, {text}"

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Takes a packed weight of any quantization, whose size may differ from the present one's."""
        key = f"{prefix}packed"
        packed = state_dict.get(key)
        if packed is not None:
            problem = self.problem_of(packed)
            if problem:
                error_msgs.append(f"{key}: {problem}")
                return
            if packed.shape != self.packed.shape:
                device = "meta" if local_metadata.get("assign_to_params_buffers") else self.packed.device
                self.packed = torch.empty(packed.shape, dtype=torch.uint8, device=device)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        self.packed = aligned(self.packed)

    def problem_of(self, packed: torch.Tensor) -> str:
        """Why a tensor cannot be this layer's packed weight; empty if it can, or is on the meta device."""
        if packed.is_meta:
            return ""
        try:
            weight = Weight.from_packed(packed)
        except (RuntimeError, TypeError, ValueError) as error:
            return str(error)
        if (weight.k, weight.n) != (self.in_features, self.out_features):
            return (
                f"{weight.k} in and {weight.n} out features, the layer has {self.in_features} and {self.out_features}"
            )
        return ""


def operand_of(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What a layer computes with: x, or under autocast x in its type. Raises RuntimeError if x asks for gradients."""
    if x.requires_grad is True and torch.is_grad_enabled():  # torch.fx hands over an x that is no bool
        raise RuntimeError(
            f"zenwoq.torch.{type(layer).__name__} computes no gradients: call the model under torch.no_grad() or "
            "torch.inference_mode(), or zenwoq.torch.restore(model) to train it"
        )
    return x.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else x


def aligned(packed: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy of it at an address where kernels read it fastest."""
    if packed.is_meta or packed.data_ptr() % PACKED_ALIGNMENT == 0:
        return packed
    return packed.clone()


def has_hooks(module: torch.nn.Module) -> bool:
    """Whether somebody sees or changes a module's calls: by a hook, or by a forward of the instance's own."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__)
