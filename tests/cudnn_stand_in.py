"""A module in the place of cuDNN's Python frontend, on memory of the CPU: its names, its rules.

Tensors are (batch, channels, rows, columns) with strides of their own, kernels (outputs, channels
of a group, rows, columns). What it computes is defined here by loops over a window's places.
"""

import ctypes
import enum
import itertools

import ml_dtypes
import numpy as np

data_type = enum.Enum("data_type", "HALF BFLOAT16 FLOAT DOUBLE")
heur_mode = enum.Enum("heur_mode", "A B FALLBACK")
numerical_note = enum.Enum(
    "numerical_note",
    "TENSOR_CORE DOWN_CONVERT_INPUTS REDUCED_PRECISION_REDUCTION FFT NONDETERMINISTIC WINOGRAD "
    "WINOGRAD_TILE_4x4 WINOGRAD_TILE_6x6 WINOGRAD_TILE_13x13 STRICT_NAN_PROP",
)
DTYPES = {
    data_type.HALF: np.dtype("f2"),
    data_type.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
    data_type.FLOAT: np.dtype("f4"),
}
WORKSPACE = 1000  # bytes, that each plan asks for


class cudnnGraphNotSupportedError(RuntimeError):
    """As the frontend's."""


class Tensor:
    """Of a graph."""

    def __init__(self, name, dim, stride, kind):
        self.name, self.dim, self.stride, self.kind = name, dim, stride, kind
        self.output = False

    def set_output(self, value):
        self.output = value
        return self

    def set_data_type(self, value):
        self.kind = value
        return self

    def set_dim(self, value):
        self.dim = value
        return self

    def set_stride(self, value):
        self.stride = value
        return self

    def at(self, address):
        """The memory at an address."""
        assert address % 16 == 0
        dtype = DTYPES[self.kind]
        count = sum((n - 1) * s for n, s in zip(self.dim, self.stride, strict=True)) + 1
        room = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
        strides = [s * dtype.itemsize for s in self.stride]
        return np.ndarray(self.dim, dtype, room, 0, strides)


def each_place(image, windows, kernel, options):
    """What all windows hold at each place: (group's channels, place, a part of the image)."""
    _, _, height, width = windows.shape
    (sh, sw), (dh, dw) = options["stride"], options["dilation"]
    outputs, each, kh, kw = kernel
    groups = image.shape[1] // each
    share = outputs // groups
    for g, a, b in itertools.product(range(groups), range(kh), range(kw)):
        rows = slice(a * dh, a * dh + (height - 1) * sh + 1, sh)
        columns = slice(b * dw, b * dw + (width - 1) * sw + 1, sw)
        part = image[:, g * each : (g + 1) * each, rows, columns]
        yield slice(g * share, (g + 1) * share), a, b, part


class Module:
    """The module; `issued` is how work goes to the stream."""

    data_type, heur_mode, numerical_note = data_type, heur_mode, numerical_note
    cudnnGraphNotSupportedError = cudnnGraphNotSupportedError

    def __init__(self, issued=lambda work: work()):
        self.issued = issued
        self.graphs = []
        self.refuses = self.breaks = self.absent = False
        self.stream = None

    def create_handle(self):
        if self.absent:
            raise RuntimeError("Unable to find symbol cudnnCreate")
        return object()

    def set_stream(self, handle, stream):
        self.stream = stream

    def pygraph(self, io_data_type, intermediate_data_type, compute_data_type, handle):
        assert intermediate_data_type is compute_data_type is data_type.FLOAT
        found = Graph(self, handle)
        self.graphs.append(found)
        return found


class Graph:
    """A graph of one node: it is built in the frontend's order, and then runs."""

    def __init__(self, module, handle):
        self.module, self.handle, self.done, self.notes = module, handle, [], set()

    def tensor(self, name, dim, stride, data_type):
        return Tensor(name, dim, stride, data_type)

    def node(self, name, inputs, options):
        assert options.pop("compute_data_type") is data_type.FLOAT
        assert options["pre_padding"] == options["post_padding"]
        self.name, self.inputs, self.options = name, inputs, options
        self.out = Tensor(name, None, None, None)
        return self.out

    def conv_fprop(self, image, weight, **options):
        return self.node("fprop", (image, weight), options)

    def conv_dgrad(self, loss, filter, **options):
        return self.node("dgrad", (loss, filter), options)

    def conv_wgrad(self, image, loss, **options):
        return self.node("wgrad", (image, loss), options)

    def step(self, name, after):
        assert self.done == after
        self.done.append(name)

    def validate(self):
        assert self.out.output and self.out.dim
        self.step("validate", [])

    def build_operation_graph(self):
        self.step("build", ["validate"])

    def create_execution_plans(self, modes):
        assert modes == [heur_mode.A, heur_mode.FALLBACK]
        self.step("plans", ["validate", "build"])

    def deselect_numeric_notes(self, notes):
        assert self.done[-1] == "plans"  # before there are plans it would be forgotten
        self.notes |= {note.name for note in notes}

    def check_support(self):
        if self.module.refuses:
            raise cudnnGraphNotSupportedError("No valid engine configs\nfor this graph")

    def build_plans(self):
        self.step("ready", ["validate", "build", "plans"])

    def get_workspace_size(self):
        return WORKSPACE

    def execute(self, pack, workspace, handle):
        assert self.done[-1] == "ready" and handle is self.handle
        if self.module.breaks:
            raise RuntimeError("CUDNN_STATUS_EXECUTION_FAILED")
        places = [pack[each] for each in (*self.inputs, self.out)]

        def work():
            ctypes.memset(workspace, 0xFF, WORKSPACE)
            self.run(*places)

        self.module.issued(work)

    def run(self, a, b, out):
        first, second = (each.at(at) for each, at in zip(self.inputs, (a, b), strict=True))
        out = self.out.at(out)
        top, left = self.options["pre_padding"]
        images, windows = {
            "fprop": (first, out), "dgrad": (out, first), "wgrad": (first, second)
        }[self.name]  # fmt: skip
        kernel = {"fprop": second, "dgrad": second, "wgrad": out}[self.name]
        wide = np.pad(images.astype("f4"), ((0, 0), (0, 0), (top, top), (left, left)))
        if self.name == "dgrad":
            wide[...] = 0
        result = np.zeros((windows if self.name == "fprop" else kernel).shape, "f4")
        for own, i, j, part in each_place(wide, windows, kernel.shape, self.options):
            if self.name == "fprop":
                result[:, own] += np.einsum("ncyx,oc->noyx", part, kernel[own, :, i, j])
            elif self.name == "dgrad":
                part += np.einsum("noyx,oc->ncyx", windows[:, own], kernel[own, :, i, j])
            else:
                result[own, :, i, j] = np.einsum("ncyx,noyx->oc", part, windows[:, own])
        if self.name == "dgrad":
            result = wide[:, :, top : wide.shape[2] - top, left : wide.shape[3] - left]
        out[...] = result
