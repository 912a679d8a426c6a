"""Convolutions by cuDNN's Python frontend, where that is installed: nvidia-cudnn-frontend.

A graph of one node is built once for each convolution that is met, and issued to the stream with a
workspace of the pool's, so that it can be captured. Only plans are taken that give the same bits
each time, multiply float32 in float32, and add products as they are: none that transforms images
(Winograd's, Fourier's), whose errors are bounded by norms alone.

cuDNN wants kernels as (outputs, kh, kw, channels): they are turned, by one copy. What it refuses is
computed by products; see convolutions.py.
"""

from __future__ import annotations

import os
import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from lazyarray.codegen.emit_cuda_images import Images
from lazyarray.errors import FallbackWarning

MODULE = "cudnn"
NAMES = {"float16": "HALF", "bfloat16": "BFLOAT16", "float32": "FLOAT"}
# Of cudnn.numerical_note, what plans must not have. TENSOR_CORE of float32 is TensorFloat-32.
NEVER = (
    "NONDETERMINISTIC", "REDUCED_PRECISION_REDUCTION", "FFT", "WINOGRAD", "WINOGRAD_TILE_4x4",
    "WINOGRAD_TILE_6x6", "WINOGRAD_TILE_13x13",
)  # fmt: skip
NEVER_IN_SINGLE = ("TENSOR_CORE", "DOWN_CONVERT_INPUTS")
ALIGNED = 16  # bytes that addresses are multiples of


@cache
def frontend() -> Any:
    """The module; None where it is not installed, or cannot be imported."""
    if find_spec(MODULE) is None:
        return None
    try:
        return import_module(MODULE)
    except Exception as error:
        refused("its module", error)
        return None


def refused(what: str, error: Exception) -> None:
    """Say that products take cuDNN's place, where that is to be told."""
    if os.environ.get("LAZYARRAY_FALLBACK", "") == "warn":
        said = str(error).strip().splitlines()
        why = said[0] if said else type(error).__name__
        text = f"convolution: cuDNN refuses {what} ({why}); products of matrices compute it"
        warnings.warn(text, FallbackWarning, stacklevel=2)


class Cudnn:
    """cuDNN for a GPU's stream, and what has been built for it. The GPU's lock guards its calls."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.module = frontend()
        self.handle: Any = None
        self.built: dict[Any, Graph | None] = {}
        if self.module is None:
            return
        try:
            self.handle = self.module.create_handle()
            self.module.set_stream(handle=self.handle, stream=owner.stream.ptr)
        except Exception as error:
            refused("this GPU", error)
            self.module = None

    def graph(self, name: str, images: Images, outputs: int, kind: str) -> Graph | None:
        """What computes a convolution of some dtype; None where cuDNN does not."""
        if self.module is None or kind not in NAMES:
            return None
        key = name, images, outputs, kind
        with self.owner.lock:
            if key not in self.built:
                try:
                    self.built[key] = Graph(self, name, images, outputs, kind)
                except Exception as error:
                    self.built[key] = None
                    what = f"{name} of {images.shape} by windows of {images.window} in {kind}"
                    refused(what, error)
            return self.built[key]

    def forget(self, graph: Graph, error: Exception) -> None:
        """Use a graph no more."""
        with self.owner.lock:
            for key, found in self.built.items():
                if found is graph:
                    self.built[key] = None
        refused("to run what it has planned", error)


def dense(batch: int, channels: int, extents: tuple[int, int]) -> tuple[list[int], list[int]]:
    """The extents of a tensor as cuDNN names them, and its strides with channels last."""
    rows, columns = extents
    strides = [rows * columns * channels, 1, columns * channels, channels]
    return [batch, channels, rows, columns], strides


class Graph:
    """A graph of one convolution, and the plan for it."""

    def __init__(self, library: Cudnn, name: str, images: Images, outputs: int, kind: str) -> None:
        self.library = library
        module = library.module
        own, single = getattr(module.data_type, NAMES[kind]), module.data_type.FLOAT
        batch, height, width, channels = images.shape
        each = channels // images.groups
        tensors = {
            "images": dense(batch, channels, (height, width)),
            "kernel": dense(outputs, each, images.window),
            "windows": dense(batch, outputs, images.extents),
        }
        graph = module.pygraph(
            io_data_type=own,
            intermediate_data_type=single,
            compute_data_type=single,
            handle=library.handle,
        )

        def tensor(what: str) -> Any:
            dims, strides = tensors[what]
            return graph.tensor(name=what, dim=dims, stride=strides, data_type=own)

        given = {
            "pre_padding": list(images.pad),
            "post_padding": list(images.pad),
            "stride": list(images.stride),
            "dilation": list(images.dilation),
            "compute_data_type": single,
        }
        if name == "correlate2d":
            inputs, made = (tensor("images"), tensor("kernel")), "windows"
            out = graph.conv_fprop(image=inputs[0], weight=inputs[1], **given)
        elif name == "conv2d_data_grad":
            inputs, made = (tensor("windows"), tensor("kernel")), "images"
            out = graph.conv_dgrad(loss=inputs[0], filter=inputs[1], **given)
        else:
            inputs, made = (tensor("images"), tensor("windows")), "kernel"
            out = graph.conv_wgrad(image=inputs[0], loss=inputs[1], **given)
        dims, strides = tensors[made]
        out.set_output(True).set_data_type(own).set_dim(dims).set_stride(strides)
        never = (*NEVER, *(NEVER_IN_SINGLE if kind == "float32" else ()))
        notes = [getattr(module.numerical_note, note) for note in never]
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([module.heur_mode.A, module.heur_mode.FALLBACK])
        graph.deselect_numeric_notes(notes)
        graph.check_support()
        graph.build_plans()
        self.graph = graph
        self.tensors = (*inputs, out)
        self.nbytes = int(graph.get_workspace_size())

    def execute(self, places: tuple[int, int, int], workspace: int) -> None:
        """Issue it on operands at these addresses, the kernel turned."""
        owner, handle = self.library.owner, self.library.handle
        with owner.lock:
            pack = dict(zip(self.tensors, places, strict=True))
            self.graph.execute(pack, workspace, handle=handle)
