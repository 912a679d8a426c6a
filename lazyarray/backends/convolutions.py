"""Convolutions on a GPU: by cuDNN where it is installed, else as products of matrices.

Windows are rows then, and the channels of the result columns. The rows are made by one kernel,
padding included, and the product is the library's. The gradient by the weights is a product with
the same rows; that by the images is a product whose result has a row for each window, and a kernel
that sums for each pixel what its windows hold of it, in order. So nothing is added in an order that
changes. A window of one pixel is a row already, and needs no cuDNN.

Rows take memory: so many images pass at a time that these stay below `ROWS` bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

from lazyarray._ir import c_strides
from lazyarray.codegen import emit_cuda_images as kernels
from lazyarray.codegen.cuda import reduction
from lazyarray.codegen.emit_cuda_images import Images
from lazyarray.codegen.emit_cuda_moves import copy
from lazyarray.codegen.emit_cuda_source import Bound
from lazyarray.dtypes import BFLOAT16
from lazyarray.works import Layout, Whole

from . import cudnn, products
from .images import CONVOLUTIONS, contiguous, convolved
from .library import FUNCTIONS, in_single
from .tasks import BITS, Issue, array_at

ROWS = 256 << 20  # bytes
LINE = 256  # bytes: parts of the workspace begin at multiples


class Product:
    """A product of two operands as they lie, each matrix of a group by itself."""

    def __init__(self, a: Layout, b: Layout, out: Layout) -> None:
        self.layouts = (a, b, out)
        self.dtype = out[2]
        known = products.library() is not None
        self.chosen = products.decide(a, b, out) if known else None
        if self.chosen is not None and any(self.chosen.copied):
            self.chosen = None

    def prepare(self, owner: Any) -> None:
        """Open the library now: while a graph is captured it cannot be."""
        if self.chosen is not None:
            owner.blas()

    def issue(self, owner: Any, *places: int) -> None:
        """Issue it on operands and a result at these addresses."""
        if self.chosen is not None:
            owner.blas().multiply(self.chosen, self.dtype, *places)
            return
        multiply = FUNCTIONS["gemm"]
        if self.dtype == BFLOAT16:
            multiply = in_single(multiply, [True] * 3)
        arrays = [
            array_at(owner.xp, owner.index, place, shape, strides, BITS if half else dtype)
            for place, (shape, strides, dtype) in zip(places, self.layouts, strict=True)
            for half in (dtype == BFLOAT16,)
        ]
        with owner.allocations():
            multiply(owner.xp, *arrays[:2], out=arrays[2])


def matrices(shape: tuple[int, int, int], steps: tuple[int, int, int], dtype: Any) -> Layout:
    """The layout of a matrix for each group, by steps in elements; one group alone is a matrix."""
    strides = tuple(step * dtype.itemsize for step in steps)
    return (shape, strides, dtype) if shape[0] > 1 else (shape[1:], strides[1:], dtype)


@dataclass(frozen=True, slots=True)
class Matrices:
    """The operands of a convolution of some images as matrices, one for each group."""

    images: Images
    outputs: int
    dtype: Any

    @property
    def each(self) -> int:
        """How many channels of the result a group has."""
        return self.outputs // self.images.groups

    @property
    def pointwise(self) -> bool:
        """Whether each pixel is a row."""
        own = self.images
        plain = own.window == own.stride == (1, 1) and own.pad == (0, 0)
        return plain and own.extents == own.shape[1:3]

    def rows(self) -> Layout:
        """(groups, windows, row)."""
        own = self.images
        shape = own.groups, own.count, own.row
        if self.pointwise:
            return matrices(shape, (own.row, own.shape[3], 1), self.dtype)
        return matrices(shape, (own.count * own.row, own.row, 1), self.dtype)

    def kernel(self) -> Layout:
        """(groups, row, channel of the result)."""
        shape = self.images.groups, self.images.row, self.each
        return matrices(shape, (self.each, self.outputs, 1), self.dtype)

    def windows(self) -> Layout:
        """(groups, windows, channel of the result)."""
        shape = self.images.groups, self.images.count, self.each
        return matrices(shape, (self.each, self.outputs, 1), self.dtype)


def turned(layout: Layout) -> Layout:
    """The transposes of matrices."""
    shape, strides, dtype = layout
    return (*shape[:-2], shape[-1], shape[-2]), (*strides[:-2], strides[-1], strides[-2]), dtype


def packed(layout: Layout) -> Layout:
    """An array of that shape in C order."""
    return layout[0], c_strides(layout[0], layout[2].itemsize), layout[2]


def spread(layout: Layout, machine: Any) -> Bound | None:
    """What copies matrices that lie one after the other to where they belong; None: they do."""
    shape, strides, dtype = layout
    whole = packed(layout)[1]
    return None if whole == strides else copy(shape, dtype.itemsize, whole, strides, machine)


class Part:
    """What is issued for some of the images. Operands in the op's order, then rows and a room."""

    def __init__(self, name: str, own: Matrices, machine: Any) -> None:
        kind, rows = own.dtype.name, own.rows()
        self.name = name
        self.gather: Bound | None = None
        self.put: Bound | None = None
        back = name == "conv2d_data_grad"
        if back and (not own.pointwise or own.images.groups > 1):
            rows = packed(rows)
            self.gather = kernels.rows_to_images(kind, own.images, machine)
        elif not own.pointwise:
            self.gather = kernels.windows_to_rows(kind, own.images, machine)
        self.held = 0 if self.gather is None else prod(rows[0]) * own.dtype.itemsize
        if name == "correlate2d":
            out = own.windows()
            self.product = Product(rows, own.kernel(), packed(out))
            self.put = spread(out, machine)
        elif back:
            self.product = Product(own.windows(), turned(own.kernel()), rows)
        else:
            out = own.kernel()
            self.product = Product(turned(rows), own.windows(), packed(out))
        self.room = prod(self.product.layouts[2][0]) * own.dtype.itemsize

    def issue(self, owner: Any, places: tuple[int, int, int], rows: int, room: int) -> None:
        """Issue it; the gradient by the weights goes to the room."""
        a, b, out = places
        if self.name == "conv2d_data_grad":
            self.product.issue(owner, a, b, out if self.gather is None else rows)
            if self.gather is not None:
                owner.launch(self.gather, [rows, out])
            return
        if self.gather is not None:
            owner.launch(self.gather, [a, rows])
        rows = a if self.gather is None else rows
        if self.name == "conv2d_weight_grad":
            self.product.issue(owner, rows, b, room)
            return
        self.product.issue(owner, rows, b, out if self.put is None else room)
        if self.put is not None:
            owner.launch(self.put, [room, out])


class Convolution(Issue):
    """A convolution or one of its gradients by products."""

    def __init__(self, owner: Any, work: Whole, detour: Callable[[], Issue]) -> None:
        super().__init__(owner)
        self.detour = detour
        self.label = work.label
        images, outputs = convolved(work)
        shape, _, self.dtype = work.layouts[-1]
        self.nbytes = prod(shape) * self.dtype.itemsize
        self.empty = 0 in (images.count, images.row, outputs, *shape)
        self.parts: list[tuple[Part, int]] = []  # and from which image on
        if self.empty:
            return
        known: dict[int, Part] = {}
        batch = images.shape[0]
        rows = images.count // batch * images.row * images.groups * self.size
        plain = Matrices(images, outputs, self.dtype).pointwise and images.groups == 1
        at_once = batch if plain else max(ROWS // rows, 1)
        for first in range(0, batch, at_once):
            count = min(at_once, batch - first)
            if count not in known:
                some = Images(
                    (count, *images.shape[1:]), images.extents, images.window, images.stride,
                    images.pad, images.dilation, images.groups,
                )  # fmt: skip
                known[count] = Part(self.label, Matrices(some, outputs, self.dtype), owner.machine)
            self.parts.append((known[count], first))
        # Bytes of an image, and of what a window has for each.
        self.steps = {
            CONVOLUTIONS[self.label][0]: prod(images.shape[1:]) * self.size,
            CONVOLUTIONS[self.label][2]: prod(images.extents) * outputs * self.size,
        }
        self.held = -(-max(part.held for part in known.values()) // LINE) * LINE
        self.summed: Bound | None = None
        self.put: Bound | None = None
        whole = Matrices(images, outputs, self.dtype)
        parts = len(self.parts)
        self.rooms = 1
        if self.label == "conv2d_weight_grad":
            self.rooms = parts
            self.put = spread(whole.kernel(), owner.machine)
            if parts > 1:
                kind, count = self.dtype.name, prod(shape)
                self.summed = reduction("sum", kind, kind, 1, parts, count, owner.machine)
        self.room = max(part.room for part in known.values())
        with owner.device:
            for bound in self.bounds():
                owner.kernel(bound.source)
            for part in known.values():
                part.product.prepare(owner)

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return int(self.dtype.itemsize)

    def bounds(self) -> list[Bound]:
        """All that may be launched."""
        own = [b for part, _ in self.parts for b in (part.gather, part.put)]
        return [b for b in (*own, self.summed, self.put) if b is not None]

    def issue(self, args: list[Any]) -> None:
        """Issue the parts in order."""
        owner = self.owner
        places = self.addresses(args)
        if any(place % self.size for place in places):
            self.detour().issue(args)
            return
        if self.empty:
            owner.xp.cuda.runtime.memsetAsync(places[-1], 0, self.nbytes, owner.stream.ptr)
            return
        weights = self.label == "conv2d_weight_grad"
        direct = weights and self.put is None and self.summed is None
        sums = self.nbytes if self.summed is not None else 0
        memory = workspace(owner, self.held + self.rooms * self.room + sums)
        rows = int(memory.ptr)
        room = rows + self.held
        for number, (part, first) in enumerate(self.parts):
            a, b, out = (place + self.steps.get(i, 0) * first for i, place in enumerate(places))
            place = places[-1] if direct else room + number * self.room if weights else room
            part.issue(owner, (a, b, out), rows, place)
        if not weights or direct:
            return
        if self.summed is not None:
            to = places[-1] if self.put is None else room + self.rooms * self.room
            owner.launch(self.summed, [room, to])
            room = to
        if self.put is not None:
            owner.launch(self.put, [room, places[-1]])


class Planned(Issue):
    """A convolution or one of its gradients by cuDNN; by products where that fails."""

    def __init__(
        self, owner: Any, work: Whole, graph: cudnn.Graph, products: Callable[[], Issue]
    ) -> None:
        super().__init__(owner)
        self.graph = graph
        self.products = products
        self.failed = False
        self.label = work.label
        images, outputs = convolved(work)
        row, size = images.row, work.layouts[-1][2].itemsize
        ours, theirs = (outputs * size, size), (size, row * size)
        back = self.label == "conv2d_weight_grad"
        sides = (theirs, ours) if back else (ours, theirs)
        turn = copy((row, outputs), size, *sides, owner.machine)
        assert turn is not None
        self.turned = turn
        self.held = -(-row * outputs * size // LINE) * LINE
        owner.kernel(turn.source)

    def issue(self, args: list[Any]) -> None:
        """Turn the kernel, and issue the plan."""
        owner = self.owner
        a, b, out = self.addresses(args)
        if self.failed or any(place % cudnn.ALIGNED for place in (a, b, out)):
            self.products().issue(args)
            return
        memory = workspace(owner, self.held + self.graph.nbytes)
        kernel = int(memory.ptr)
        back = self.label == "conv2d_weight_grad"
        if not back:
            owner.launch(self.turned, [b, kernel])
        places = (a, b, kernel) if back else (a, kernel, out)
        try:
            self.graph.execute(places, kernel + self.held)
        except Exception as error:
            owner.lost(error)
            self.failed = True
            self.graph.library.forget(self.graph, error)
            self.products().issue(args)
            return
        if back:
            owner.launch(self.turned, [kernel, out])


def workspace(owner: Any, nbytes: int) -> Any:
    """Memory for what is issued next; one for all captured graphs, which keep it."""
    if owner.capturing is None:
        return owner.allocate(nbytes)
    found = owner.workspace
    if found is None or found[1] < nbytes:
        found = owner.workspace = owner.malloc(nbytes), nbytes
    else:
        owner.capturing.append(found[0])
    return found[0]


def convolution(owner: Any, work: Whole, detour: Callable[[], Issue]) -> Issue | None:
    """What issues a convolution; None where it is the library's or the CPU's to do."""
    kind = work.layouts[-1][2].name
    if work.label not in CONVOLUTIONS or not contiguous(work) or kind not in kernels.FLOATS:
        return None
    by_products = cache(lambda: Convolution(owner, work, detour))
    images, outputs = convolved(work)
    if not images.narrow:
        return None
    if 0 in (images.count, images.row, outputs, *images.shape):
        return by_products()
    if Matrices(images, outputs, work.layouts[-1][2]).pointwise and images.groups == 1:
        return by_products()
    with owner.lock, owner.device:
        if owner.cudnn is None:
            owner.cudnn = cudnn.Cudnn(owner)
        graph = owner.cudnn.graph(work.label, images, outputs, kind)
        return by_products() if graph is None else Planned(owner, work, graph, by_products)
