"""Ops on windows over images: what they go over, and what a GPU launches for pooling."""

from __future__ import annotations

from typing import Any

from lazyarray._ir import c_strides
from lazyarray.codegen.emit_cuda_images import Images, pooling
from lazyarray.codegen.emit_cuda_source import Bound, Machine
from lazyarray.works import Whole

POOLING = ("max_pool2d", "max_pool2d_grad", "avg_pool2d", "avg_pool2d_grad")
# Which operands of a convolution and its gradients are the images, the kernel and the windows.
CONVOLUTIONS = {
    "correlate2d": (0, 1, 2),
    "conv2d_data_grad": (2, 1, 0),
    "conv2d_weight_grad": (0, 2, 1),
}


def contiguous(work: Whole) -> bool:
    """Whether all operands lie in C order."""
    return all(s == c_strides(shape, d.itemsize) for shape, s, d in work.layouts)


def convolved(work: Whole) -> tuple[Images, int]:
    """What a convolution goes over, and how many channels its result has."""
    image, kernel, windows = (work.layouts[i][0] for i in CONVOLUTIONS[work.label])
    given = [work.attributes[name] for name in ("stride", "pad", "dilation", "groups")]
    return over(image, windows, kernel[:2], *given), kernel[3]


def over(image: Any, windows: Any, *given: Any) -> Images:
    """The windows over a batch of images, by the shapes of both."""
    return Images(tuple(image), (windows[1], windows[2]), *given)


def pooled(work: Whole, machine: Machine) -> Bound | None:
    """The launch of a pooling op; None where there is none for its operands."""
    if work.label not in POOLING or not contiguous(work):
        return None
    shapes = [shape for shape, _, _ in work.layouts]
    back = work.label.endswith("_grad")
    image, windows = (shapes[-1], shapes[-2]) if back else (shapes[0], shapes[-1])
    options = work.attributes
    own = over(image, windows, options["window"], options["stride"], options["pad"])
    kind = work.layouts[-1][2].name
    return pooling(work.label, kind, own, options.get("count_include_pad", False), machine)
