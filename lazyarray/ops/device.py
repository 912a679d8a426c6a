"""The op that carries values from one device to another."""

from __future__ import annotations

from typing import Any

from lazyarray import _ir
from lazyarray._ir import Node, Op

from .define import NATIVE, Differentiable


class Transfer(Differentiable, Op):
    """A copy on another device. Its result's type says which; there is no kernel."""

    factory = function = accepts = None
    inplace = False

    def __call__(self, a: Node, device: int) -> Node:
        """Record the transfer of `a` to device number `device`; `a` itself where it lies there."""
        return _ir.transfer(a, device)


transfer = Transfer("transfer", NATIVE, dear=True)
_ir.set_transfer(transfer)


@transfer.vjp
def _(g: Node, y: Node, a: Node) -> Any:
    return transfer(g, a.device)
