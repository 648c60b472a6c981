# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""What became of each linear, module of experts and block of a model."""

from __future__ import annotations

from dataclasses import dataclass, field

from zenwoq._cpu import cpu_info


@dataclass(frozen=True)
class LayerReport:
    """What became of one linear, or of one module with the experts of a mixture of experts.

    Attributes:
        name: its name in the model; several names are joined by ", ".
        shape: ``(out_features, in_features)``, or None if it is not known, or of experts.
        quantization: what the weights were, for example ``"torchao int4 intx, group 128"``.
        bytes_before: the size of the weights; of experts with their biases.
        bytes_after: the size of the packed weights; `bytes_before` if they were not replaced.
        replaced: whether zenwoq runs it now.
        result: what the weights are now, as in ``"int4 sym per-group 128, scale bf16"``; or why they were not replaced.
        stacked: whether it is a module of experts, all together.
    """

    name: str
    shape: tuple[int, int] | None
    quantization: str
    bytes_before: int
    bytes_after: int
    replaced: bool
    result: str
    stacked: bool = False


@dataclass(frozen=True)
class BlockReport:
    """What became of linears that belong together.

    Attributes:
        name: the block's name in the model.
        kind: ``"gated MLP"``, ``"MLP"``, ``"attention"``, ``"set of projections"`` (of one input) or ``"other block"``.
        fused: whether they are computed together now.
        result: what is one call now, as in ``"silu(gate_proj) * up_proj in one call"``; or why nothing is.
    """

    name: str
    kind: str
    fused: bool
    result: str


@dataclass
class Report:
    """What :func:`zenwoq.torch.optimize` did; ``print(report)`` is a table.

    Attributes:
        layers: one entry per linear, in the model's order, and one per module of experts, in the model's order: behind
            the linears, of :func:`zenwoq.torch.from_checkpoint` before them.
        blocks: one entry per block of linears that belong together, in the model's order; none with ``fuse=False``. The
            linears in it have their entries in `layers` all the same.
        seconds: the time of reading and packing; of optimize, of fusing, too.
    """

    layers: list[LayerReport] = field(default_factory=list)
    blocks: list[BlockReport] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def replaced(self) -> list[LayerReport]:
        """The linears and modules of experts that zenwoq runs now."""
        return [layer for layer in self.layers if layer.replaced]

    @property
    def left(self) -> list[LayerReport]:
        """The linears and modules of experts that stayed as they were."""
        return [layer for layer in self.layers if not layer.replaced]

    @property
    def fused(self) -> list[BlockReport]:
        """The blocks that are computed in fewer calls now."""
        return [block for block in self.blocks if block.fused]

    @property
    def apart(self) -> list[BlockReport]:
        """The blocks whose linears are called one by one."""
        return [block for block in self.blocks if not block.fused]

    @property
    def bytes_before(self) -> int:
        """The bytes of the weights of all linears and experts."""
        return sum(layer.bytes_before for layer in self.layers)

    @property
    def bytes_after(self) -> int:
        """The bytes of the weights of all linears and experts, packed if they were replaced."""
        return sum(layer.bytes_after for layer in self.layers)

    def summary(self) -> str:
        """One line: how many linears and modules of experts run on zenwoq, the tier, their bytes, how long it took."""
        kinds = ("linears", "modules of experts")
        what = " and ".join(kinds[stacked] for stacked in sorted({layer.stacked for layer in self.layers})) or kinds[0]
        return (
            f"{len(self.replaced)} of {len(self.layers)} {what} run on zenwoq (tier {cpu_info().tier}), "
            f"{_size(self.bytes_before)} before, {_size(self.bytes_after)} now, packed in {self.seconds:.2f} s"
        )

    def __str__(self) -> str:
        rows = [("layer", "shape", "was", "before", "after", "", "now / why not")]
        for layer in self.layers:
            shape = "" if layer.shape is None else f"{layer.shape[0]} x {layer.shape[1]}"
            sizes = (_size(layer.bytes_before), _size(layer.bytes_after))
            rows.append(
                (layer.name, shape, layer.quantization, *sizes, "yes" if layer.replaced else "no", layer.result)
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, self.summary(), *self._blocks_in_short()])

    def _blocks_in_short(self) -> list[str]:
        """A line of what was fused, and one for each reason why blocks were not."""
        lines = [f"fused: {_counted(self.fused)}"] if self.fused else []
        for reason in dict.fromkeys(block.result for block in self.apart):
            lines.append(f"not fused: {_counted([b for b in self.apart if b.result == reason])}: {reason}")
        return lines


def _counted(blocks: list[BlockReport]) -> str:
    """``"30 gated MLPs, 1 attention"``."""
    counts = [(sum(block.kind == kind for block in blocks), kind) for kind in dict.fromkeys(b.kind for b in blocks)]
    return ", ".join(f"{count} {kind if count == 1 else _plural(kind)}" for count, kind in counts)


def _plural(kind: str) -> str:
    return "sets of projections" if kind == "set of projections" else f"{kind}s"


def listed(names: list[str], most: int) -> str:
    """Names for a message: at most so many, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.2f} GiB"
