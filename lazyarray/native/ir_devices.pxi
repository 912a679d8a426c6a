# Where values lie, part of _ir.pyx: a node is computed where its inputs are.

cdef bint several_devices = False   # whether any but the CPU has been used
cdef Op TRANSFER = None             # ops/device.py
cdef Op BOUNDS = None               # ops/indexing.py: what may fail, and may be made anew all the same
cdef object describe_device = None  # number -> text, given by device.py

cdef int first_device = 0            # of threads that have recorded nothing yet

cdef enum:
    MADE_ANEW = 16                  # nodes that are recorded again where their value is wanted


def use_devices(describe):
    """From now on nodes may lie elsewhere than on the CPU; `describe(number)` names a device."""
    global several_devices, describe_device
    several_devices = True
    describe_device = describe


def set_transfer(Op op):
    """Set the op that carries values from device to device."""
    global TRANSFER
    TRANSFER = op


def set_bounds(Op op):
    """Set the op that looks whether indices are in bounds."""
    global BOUNDS
    BOUNDS = op


def set_device(int device):
    """Make what is made of nothing on this device: on this thread, and on those to come."""
    global first_device
    first_device = device
    recorder().device = device


cdef Type on_device(Type kind, int device):
    global next_type
    cdef tuple key
    cdef Type found
    if kind.device == device:
        return kind
    if device == 0:
        return type_of(kind.shape, kind.dtype)
    key = (kind.shape, kind.dtype, device)
    found = types.get(key)
    if found is not None:
        return found
    found = Type.__new__(Type)
    found.id = next_type
    next_type += 1
    found.shape, found.dtype, found.number, found.ndim = kind.shape, kind.dtype, kind.number, kind.ndim
    found.size, found.itemsize, found.nbytes = kind.size, kind.itemsize, kind.nbytes
    found.device = device
    types[key] = found
    return found


cdef Node transfer_node(Node node, int device):
    cdef Type kind
    if node.type.device == device:
        return node
    kind = on_device(node.type, device)
    return make_signed(TRANSFER, (node,), None, kind, 0, signature(TRANSFER, None, kind))


def settle_down(Node node, int device):
    """A leaf of foreign data as somebody's array, on a device: it does not follow others any more."""
    node.loose = False
    return node if device == 0 else transfer_node(node, device)


def transfer(Node node, int device):
    """The same value on another device; itself where it lies there."""
    return transfer_node(node, device)


cdef tuple placed(Op op, tuple inputs, Type kind, Recorder rec):
    # The inputs on one device, and the type of the result there. What is made of nothing goes to the thread's device.
    # Also whether the result is loose: made of foreign data on the way to what somebody wants of it.
    cdef int device = -1, at
    cdef bint mixed = False, loose = False, fixed = False, stays
    cdef Node node
    for each in inputs:
        node = <Node>each
        if node.state == CONST:
            continue
        at = node.type.device
        if node.loose:
            loose = True
        else:
            fixed = True
        if device < 0:
            device = at
        elif at != device:
            mixed = True
    if device < 0:
        device = rec.device
    if mixed:
        # What is written to somebody's array stays there.
        stays = op.kind == UPDATE and not follows(<Node>inputs[0])
        device = (<Node>inputs[0]).type.device if stays else common_device(inputs)
        inputs = tuple([brought(op.name, <Node>each, device, inputs) for each in inputs])
    return inputs, on_device(kind, device), loose and not fixed and device == 0


cdef int common_device(tuple inputs):
    # Where operands of different devices meet: at the first array, else away from the CPU.
    cdef int device = 0
    for each in inputs:
        if (<Node>each).state != CONST and not follows(<Node>each):
            return (<Node>each).type.device
    for each in inputs:
        device = max(device, (<Node>each).type.device)
    return device


cdef bint follows(Node node):
    # Whether an operand goes where the others lie: a number, foreign data, or what is made of numbers alone.
    cdef int left = MADE_ANEW
    return node.loose or (node.type.ndim == 0 and node.type.device == 0) or made_of_numbers(node, &left)


cdef bint made_of_numbers(Node node, int* left):
    left[0] -= 1
    if left[0] < 0 or node.state != PENDING or node.variable is not None or node.op is TRANSFER:
        return False
    if node.op.fallible and node.op is not BOUNDS:
        return False
    for each in node.inputs:
        if (<Node>each).state != CONST and not made_of_numbers(<Node>each, left):
            return False
    return True


cdef Node brought(str op, Node node, int device, tuple inputs):
    # An operand from another device.
    cdef int left = MADE_ANEW
    if node.state == CONST or node.type.device == device:
        return node
    if made_of_numbers(node, &left):
        return made_on(node, device)
    if follows(node):
        return transfer_node(node, device)
    if len(inputs) == 1:
        fail(DeviceError, op, f"a value on {describe_device(node.type.device)} (recorded at {node.where}) is written to an"
             f" array on {describe_device(device)}", "Bring it there with x.to(device).")
    found = ", ".join([
        f"{(<Node>each).type!r} on {describe_device((<Node>each).type.device)} (recorded at {(<Node>each).where})"
        for each in inputs if (<Node>each).state != CONST
    ])
    fail(DeviceError, op, f"operands lie on different devices: {found}", "Bring them to one with x.to(device).")


cdef Node at_home(Node value, int device, str op):
    # What is written to a Storage, on the device where that lies.
    if value.type.device == device:
        return value
    return transfer_node(value, device) if value.state == CONST else brought(op, value, device, (value,))


def settled(Node value, int device, str op):
    """A value on a device: what is made of numbers alone is made there."""
    return at_home(value, device, op)


cdef Node made_on(Node node, int device):
    # The same value, made of numbers alone, on another device.
    cdef list inputs = [
        each if (<Node>each).state == CONST else made_on(<Node>each, device) for each in node.inputs
    ]
    cdef Recorder rec = recorder()
    cdef int before = rec.device
    cdef Node made
    rec.device = device
    try:
        made = make(node.op, tuple(inputs), node.attrs, on_device(node.type, 0), node.offset)
    finally:
        rec.device = before
    made.code, made.lasti = node.code, node.lasti
    return made
