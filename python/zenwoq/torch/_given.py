# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""A linear's weight as tensors in memory, under the names that a file of its format has.

So the library of formats reads it as it reads files, and there is one reader of each format.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from zenwoq import Error
from zenwoq._formats import Checkpoint, GivenTensor, open_tensors

NAME = "linear"  # of the layer in the checkpoint

# As safetensors spells them.
_TYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
}


def is_a(module: torch.nn.Module, *names: str) -> bool:
    """Whether a module's class, or one that it is made from, has one of these names."""
    return any(cls.__name__ in names for cls in type(module).__mro__)


class Unsupported(Exception):  # noqa: N818 - a verdict, not an error
    """Why a layer stays as it is."""


def sentence(error: Exception) -> str:
    """What is wrong, without the names that the weight has here alone."""
    text = str(error).removeprefix("tensors in memory: ").removeprefix(f"weight {NAME}.weight: ")
    return text.removeprefix(f"tensor {NAME}.")


@contextlib.contextmanager
def looking() -> Iterator[None]:
    """Where a module is only looked at, whatever it raises but MemoryError is a reason to leave it: Unsupported."""
    try:
        yield
    except (Unsupported, MemoryError):
        raise
    except Error as error:  # its tensors contradict each other
        raise Unsupported(sentence(error)) from error
    except Exception as error:  # whatever an odd module or a tensor of another library does when it is asked
        raise Unsupported(f"cannot be looked at ({type(error).__name__}: {error})") from error


@dataclass
class Given:
    """What a linear's weight consists of.

    Attributes:
        parts: by the end of their names (``"qweight"``); None is left out.
        config: ``quantization_config`` of the config.json that a file would lie beside.
        metadata: TorchAO's of the weight.
        block_type: the type of ``parts["weight"]`` if it holds GGUF blocks, and `shape` its shape in values.
        shape: see there.
        avx2: whether an opaque weight was packed for AVX2.
        check: raises ValueError if the packed weight has not the values that its owner computes with.
    """

    parts: Mapping[str, torch.Tensor | None]
    config: object = None
    metadata: object = None
    block_type: str = ""
    shape: tuple[int, ...] = ()
    avx2: bool = False
    check: Callable[[Any], None] | None = field(default=None, repr=False)

    def open(self) -> Checkpoint:
        """Opens it; tensors are borrowed, not copied. Raises Unsupported, or ValueError if it contradicts itself."""
        tensors = {}
        for part, tensor in self.parts.items():
            if tensor is None:
                continue
            if tensor.device.type != "cpu":
                raise Unsupported(f"on {tensor.device}")
            values = tensor.detach().contiguous()
            kind = self.block_type or _TYPES.get(values.dtype)
            if kind is None:
                raise Unsupported(f"{part} is {str(values.dtype).removeprefix('torch.')}")
            shape = self.shape or tuple(values.shape)
            tensors[f"{NAME}.{part}"] = GivenTensor(kind, shape, values.data_ptr(), values.nbytes, values)
        return open_tensors(
            tensors,
            config=None if self.config is None else {"quantization_config": self.config},
            metadata=None if self.metadata is None else {f"{NAME}.weight": self.metadata},
            avx2=self.avx2,
        )
