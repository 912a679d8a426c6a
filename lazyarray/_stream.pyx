# Design. Recording a draw from a stream, quickly: what NumPy has accepted once is a Recipe, and drawing from it again makes
# the nodes and nothing else. The state's Storage gets the view of the draw's bytes that holds the state after it; the sample
# is a view as well. Neither is recorded for a gradient: a sample has none, and a tape must not grow through the state.
# Numbers are data: each draw has constants of its own, so that equal ones are not structure either.
# Guarded by the runtime's lock: from reading a state to replacing it. Nothing waits while holding it.

from libc.math cimport signbit

from lazyarray import _handle, _ir
from lazyarray._bind cimport runtime_lock
from lazyarray._handle cimport Handle, node_of, wrap
from lazyarray._ir cimport Node, Op, Recorder, Type, constant, make, recorder, type_of
from lazyarray.ops import draw as ops

cdef enum:
    LIMIT = 10_000          # recipes, and accepted parameters, that are remembered


cdef Op VIEW = _ir.registry["view"]
cdef Op DRAW = ops._draw_bytes


cdef class Recipe:
    """How a method draws: structure."""

    cdef object method
    cdef tuple attrs, after, strides        # attributes of the draw, of the view of the state, of that of the sample
    cdef Type whole, state, sample
    cdef Py_ssize_t state_at
    cdef bint checked, is_scalar

    def __init__(self, method, is_scalar, byte):
        self.method = method
        self.attrs = (("method", method),)
        self.after = ((1,), True)
        self.strides = (method.strides, False)
        self.whole = type_of((method.total,), byte)
        self.state = type_of((method.state_size,), byte)
        self.sample = type_of(method.shape, method.dtype)
        self.state_at = method.state_at
        self.checked = method.checked
        self.is_scalar = is_scalar

    def draw(self, Handle state, numbers):
        """Record a draw with these numbers, pairs of value and dtype; the sample."""
        cdef list inputs = [None]
        for value, dtype in numbers:
            inputs.append(constant(value, dtype))
        return wrap(self.advance(state, inputs), self.is_scalar)

    def record(self, Handle state, list inputs):
        """Record a draw on Nodes; the sample."""
        return wrap(self.advance(state, [None, *inputs]), self.is_scalar)

    cdef Node advance(self, Handle state, list inputs):
        # The draw is the state's next. Where parameters are still to be looked at, the sample is what has done that.
        cdef Recorder rec = recorder()
        cdef bint recording = rec.recording
        cdef Node drawn
        rec.recording = False
        try:
            with runtime_lock():        # a compiled function takes the state and leaves another under it
                inputs[0] = node_of(state)
                drawn = make(DRAW, tuple(inputs), self.attrs, self.whole, 0)
                _handle.replace(state, make(VIEW, (drawn,), self.after, self.state, self.state_at))
                inputs[0] = None
            if self.checked:
                return ops._drawn(drawn, method=self.method)
            return make(VIEW, (drawn,), self.strides, self.sample, 0)
        finally:
            rec.recording = recording


cdef bint is_plain(tuple params) except -1:
    cdef type kind
    for each in params:
        kind = type(each)
        if kind is not float and kind is not int:
            return False
        if kind is float and each == 0 and signbit(each):
            return False        # as a key it would equal 0.0
    return True


cdef class Known:
    """What NumPy has accepted: recipes by name, size and options, numbers by name, parameters and options."""

    cdef dict recipes, numbers

    def __init__(self):
        self.recipes = {}
        self.numbers = {}

    def draw(self, Handle state, str name, tuple params, size, tuple options):
        """Record a draw of which all is known; else None."""
        if not is_plain(params) or not is_size(size):
            return None
        numbers = self.numbers.get((name, params, options))
        if numbers is None:
            return None
        recipe = self.recipes.get((name, size, options))
        if recipe is None:
            return None
        return (<Recipe>recipe).draw(state, numbers)

    def accepted(self, str name, tuple params, tuple options):
        """What a C function is called with for these parameters; None where they are not known."""
        return self.numbers.get((name, params, options)) if is_plain(params) else None

    def accept(self, str name, tuple params, tuple options, list numbers):
        """Remember what a C function is called with for these parameters, if they are plain numbers."""
        if len(self.numbers) >= LIMIT:
            self.numbers.clear()
        if is_plain(params):
            self.numbers[(name, params, options)] = numbers

    def recipe(self, str name, size, tuple options):
        """The Recipe for a draw of that size, or None."""
        return self.recipes.get((name, size, options)) if is_size(size) else None

    def keep(self, str name, size, tuple options, Recipe recipe):
        """Remember a Recipe, if the size is made of plain numbers."""
        if len(self.recipes) >= LIMIT:
            self.recipes.clear()
        if is_size(size):
            self.recipes[(name, size, options)] = recipe


cdef bint is_size(size) except -1:
    cdef type kind = type(size)
    if kind is tuple:
        for each in size:
            if type(each) is not int:
                return False
        return True
    return kind is int or size is None
