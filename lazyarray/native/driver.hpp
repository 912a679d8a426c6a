// The block driver: runs a program of loops over an iteration space, block by block.
//
// A loop only ever sees contiguous forward blocks of aligned elements: an operand that is contiguous over the block is
// passed where it lies, a broadcast scalar fills a register once per run, anything else is gathered into a register.
// Values are numbered in the order in which inputs and steps write registers, so a register may be used again. The
// last writer of an output writes into the output's memory if that is contiguous; otherwise it is scattered after the
// block's last step. Where an output may be an input's memory (same strides) and is written before that input's last
// read, a run that meets equal pointers copies the input into its register first.
#pragma once
#include "strided.hpp"

namespace la {

constexpr int kOperands = 32;  // of one loop

struct OperandSpec {
    int reg;
    bool index;  // the flat C-order index, no memory
    std::vector<Py_ssize_t> strides;
    Py_ssize_t itemsize;
    std::vector<Py_ssize_t> shape;  // of its own, of as many elements; empty: the kernel's
    bool line = false;              // one element for each result of a reduction, see panels.hpp
};
struct StepSpec {
    LoopFn fn;
    void* data;
    std::vector<int> in, out;
    bool scalars = false;  // the loop is told of broadcast scalars by a step of 0
};

constexpr Py_ssize_t kLongRow = 256;  // elements

class Elementwise {
public:
    Elementwise(const std::vector<Py_ssize_t>& shape, const std::vector<OperandSpec>& inputs,
                const std::vector<OperandSpec>& outputs, const std::vector<Py_ssize_t>& registers,
                const std::vector<StepSpec>& steps);
    int run(char** args, Py_ssize_t begin, Py_ssize_t end) const;
    // The same with `memory_bytes()` of working storage from the caller.
    void run_in(char* memory, char** args, Py_ssize_t begin, Py_ssize_t end) const;
    Py_ssize_t memory_bytes() const { return scratch_bytes_; }
    size_t outputs() const { return out_.size(); }
    Py_ssize_t extent = 1, grain = 1;

protected:
    Elementwise() = default;
    enum Kind { kContiguous, kScalar, kIndex, kStrided };
    struct Operand {
        Kind kind;
        int value, arg;
        Py_ssize_t itemsize, offset;  // offset: its register's place in scratch
        uintptr_t unaligned;          // pointer bits that must be zero
        std::vector<Axis> axes;
        bool transposed = false;      // its columns are contiguous: moved in tiles
        Py_ssize_t tile_offset = 0;
        bool direct_writer = false;   // outputs: the value's last writer may write into the operand
        bool line = false;
        Py_ssize_t fill = 0;          // how many elements of a scalar a run needs
    };
    struct Argument { int value; Py_ssize_t step; bool scalar = false; };
    struct Step { LoopFn fn; void* data; int first, count; };
    struct Conflict { int output, input; };
    struct Frame;  // one run's state

    Operand operand(const std::vector<Py_ssize_t>& shape, const OperandSpec& spec, int arg) const;
    void number_values(const std::vector<OperandSpec>& inputs, const std::vector<OperandSpec>& outputs,
                       const std::vector<StepSpec>& steps);
    void find_conflicts();
    void choose_tile();
    void lay_out(const std::vector<Py_ssize_t>& registers, Py_ssize_t least = 256);
    // One run's state: where operands lie; scalars in their registers, for at most so many elements at once; both.
    void attach(Frame& f, char* state, char* memory, char** args) const;
    void fill(Frame& f, Py_ssize_t most) const;
    void start(Frame& f, char* memory, char** args, Py_ssize_t most) const;
    void block(Frame& f, Py_ssize_t lo, Py_ssize_t count, Py_ssize_t row) const;
    void compute(Frame& f, Py_ssize_t count) const;
    void flat(Frame& f, Py_ssize_t lo, Py_ssize_t hi) const;
    bool goes_by_lines() const;
    bool lines(Frame& f, Py_ssize_t lo, Py_ssize_t hi) const;
    void tile(Frame& f, Py_ssize_t lo, Py_ssize_t rows) const;
    bool copies() const { return steps_.empty() && in_.size() == 1 && out_.size() == 1 && in_[0].kind != kIndex; }
    char* place_input(Frame& f, size_t i, Py_ssize_t lo, Py_ssize_t count, Py_ssize_t row) const;
    void place_output(Frame& f, size_t o, Py_ssize_t lo, Py_ssize_t count, Py_ssize_t row) const;
    static char* inside_run(const Operand& op, char* base, Py_ssize_t lo, Py_ssize_t count);
    static Py_ssize_t row_offset(const Operand& op, Py_ssize_t row);

    std::vector<Operand> in_, out_;
    std::vector<Step> steps_;
    std::vector<Argument> arguments_;
    std::vector<int> value_register_, writer_, last_read_;
    std::vector<Py_ssize_t> value_offset_;
    std::vector<Conflict> conflicts_;
    Py_ssize_t block_ = 256, cut_ = 0;
    bool lines_ = false;  // all that is not contiguous throughout consists of rows of `cut_` elements
    Py_ssize_t rows_ = 0, columns_ = 0, tile_rows_ = 0;  // of the transposed operands; 0: none
    Py_ssize_t state_bytes_ = 0, scratch_bytes_ = 0;
};

struct Elementwise::Frame {
    char** args;
    char* memory;
    char** at;         // where each value of the current block lies
    uint8_t *in_direct, *out_direct;
};

inline Elementwise::Operand Elementwise::operand(const std::vector<Py_ssize_t>& shape, const OperandSpec& spec,
                                                 int arg) const {
    Operand op{};
    op.arg = arg;
    op.itemsize = spec.itemsize;
    op.line = spec.line;
    Py_ssize_t w = spec.itemsize;
    op.unaligned = w == 2 || w == 4 || w == 8 ? (uintptr_t)w - 1 : w == 16 ? 7 : 0;
    if (spec.index) {
        op.kind = kIndex;
        return op;
    }
    op.axes = merged(spec.shape.empty() ? shape : spec.shape, spec.strides.data());
    bool single = op.axes.size() == 1;
    if (single && (op.axes[0].extent == 1 || op.axes[0].stride == w)) op.kind = kContiguous;
    else if (single && op.axes[0].stride == 0) op.kind = kScalar;
    else op.kind = kStrided;
    return op;
}

inline void Elementwise::number_values(const std::vector<OperandSpec>& inputs, const std::vector<OperandSpec>& outputs,
                                       const std::vector<StepSpec>& steps) {
    std::vector<int> current;
    auto cell = [&](int reg) -> int& {
        if ((size_t)reg >= current.size()) current.resize((size_t)reg + 1, -1);
        return current[(size_t)reg];
    };
    auto value = [&](int reg, int writer) {
        value_register_.push_back(reg);
        writer_.push_back(writer);
        last_read_.push_back(-2);
        return cell(reg) = (int)value_register_.size() - 1;
    };
    for (size_t i = 0; i < inputs.size(); i++) in_[i].value = value(inputs[i].reg, -1);
    for (size_t s = 0; s < steps.size(); s++) {
        Step step{steps[s].fn, steps[s].data, (int)arguments_.size(), 0};
        for (int reg : steps[s].in) {
            int v = cell(reg);
            last_read_[v] = (int)s;
            bool scalar = steps[s].scalars && writer_[v] < 0 && in_[v].kind == kScalar;
            arguments_.push_back({v, 0, scalar});
        }
        for (int reg : steps[s].out) arguments_.push_back({value(reg, (int)s), 0});
        step.count = (int)arguments_.size() - step.first;
        steps_.push_back(step);
    }
    std::vector<bool> taken(value_register_.size(), false);
    for (size_t o = 0; o < outputs.size(); o++) {
        int v = out_[o].value = cell(outputs[o].reg);
        out_[o].direct_writer = writer_[v] >= 0 && !taken[v];
        taken[v] = true;
        if (!out_[o].direct_writer) last_read_[v] = std::max(last_read_[v], (int)(steps.size() + o));
    }
}

inline void Elementwise::find_conflicts() {
    for (size_t o = 0; o < out_.size(); o++) {
        // An output that is scattered although its writer could write directly is written later: no less safe.
        int written = out_[o].direct_writer ? writer_[out_[o].value] : (int)(steps_.size() + o);
        for (size_t i = 0; i < in_.size(); i++)
            if (in_[i].kind != kIndex && last_read_[in_[i].value] > written) conflicts_.push_back({(int)o, (int)i});
    }
}

// Operands whose last two axes are a matrix with contiguous columns are moved in tiles of a few rows; all that take
// part must agree on the matrix.
inline void Elementwise::choose_tile() {
    auto consider = [&](Operand& op) {
        if (op.kind != kStrided || op.axes.size() < 2) return;
        Axis row = op.axes[op.axes.size() - 2], column = op.axes.back();
        Py_ssize_t w = op.itemsize;
        if (row.stride != w || std::abs(column.stride) < 2 * w || row.extent < 4 || column.extent < 16) return;
        if (w != 1 && w != 2 && w != 4 && w != 8 && w != 16) return;
        if (!columns_) {
            rows_ = row.extent;
            columns_ = column.extent;
        }
        if (rows_ != row.extent || columns_ != column.extent) return;
        op.transposed = true;
        // Two cache lines of each column, at most 32 rows.
        tile_rows_ = std::max(tile_rows_, std::min({rows_, std::max<Py_ssize_t>(8, 128 / w), (Py_ssize_t)32}));
    };
    for (Operand& op : in_) consider(op);
    for (Operand& op : out_) consider(op);
}

inline void Elementwise::lay_out(const std::vector<Py_ssize_t>& registers, Py_ssize_t least) {
    Py_ssize_t width = 0;  // bytes per element that a block keeps in cache
    for (Py_ssize_t w : registers) width += w;
    for (const Operand& op : in_) width += op.transposed ? op.itemsize * tile_rows_ : op.itemsize;
    for (const Operand& op : out_) width += op.transposed ? op.itemsize * tile_rows_ : op.itemsize;
    // Half of a small L2 cache.
    block_ = std::clamp<Py_ssize_t>(262144 / std::max<Py_ssize_t>(width, 1), least, 8192) & ~(Py_ssize_t)63;

    state_bytes_ = padded((Py_ssize_t)(value_register_.size() * sizeof(char*) + in_.size() + out_.size()));
    Py_ssize_t at = state_bytes_;
    auto reserve = [&](Py_ssize_t bytes) {
        Py_ssize_t here = at;
        at += padded(bytes);
        return here;
    };
    std::vector<Py_ssize_t> register_offset(registers.size());
    std::vector<bool> rewritten(registers.size(), false);
    for (size_t r = 0; r < registers.size(); r++) register_offset[r] = reserve(block_ * registers[r]);
    for (size_t v = 0; v < value_register_.size(); v++) {
        value_offset_.push_back(register_offset[value_register_[v]]);
        if (writer_[v] >= 0) rewritten[value_register_[v]] = true;
    }
    for (Operand& op : in_) {
        op.offset = value_offset_[op.value];
        op.fill = block_;
        // A scalar is filled once per run, so its register must survive the block.
        if (op.kind == kScalar && rewritten[value_register_[op.value]])
            op.offset = value_offset_[op.value] = reserve(block_ * op.itemsize);
        if (op.transposed) op.tile_offset = reserve(tile_rows_ * block_ * op.itemsize);
        Py_ssize_t row = op.kind == kStrided && op.axes.back().stride == op.itemsize ? op.axes.back().extent : 0;
        // Rows are cut where they end, so that a block of them is passed where it lies; to gather shorter ones is cheaper
        // than the calls of loops.
        if (row >= kLongRow) cut_ = cut_ ? std::min(cut_, row) : row;
    }
    for (Operand& op : out_) {
        op.offset = value_offset_[op.value];
        if (op.transposed) op.tile_offset = reserve(tile_rows_ * block_ * op.itemsize);
    }
    for (Step& step : steps_)
        for (int a = step.first; a < step.first + step.count; a++)
            arguments_[a].step = arguments_[a].scalar ? 0 : registers[value_register_[arguments_[a].value]];
    scratch_bytes_ = at;
    lines_ = !steps_.empty() && goes_by_lines();
    grain = columns_ && columns_ <= 65536 ? columns_ * tile_rows_ : block_;
}

inline Elementwise::Elementwise(const std::vector<Py_ssize_t>& shape, const std::vector<OperandSpec>& inputs,
                                const std::vector<OperandSpec>& outputs, const std::vector<Py_ssize_t>& registers,
                                const std::vector<StepSpec>& steps) {
    for (Py_ssize_t n : shape) extent *= n;
    int arg = 0;
    for (const OperandSpec& spec : inputs) in_.push_back(operand(shape, spec, spec.index ? -1 : arg++));
    for (const OperandSpec& spec : outputs) out_.push_back(operand(shape, spec, arg++));
    number_values(inputs, outputs, steps);
    find_conflicts();
    choose_tile();
    lay_out(registers);
}

// The operand's own memory if elements [lo, lo + count) are contiguous there, else nullptr.
inline char* Elementwise::inside_run(const Operand& op, char* base, Py_ssize_t lo, Py_ssize_t count) {
    const Axis inner = op.axes.back();
    if (inner.stride != op.itemsize) return nullptr;
    Py_ssize_t row = lo / inner.extent, first = lo % inner.extent;
    if (first + count > inner.extent) return nullptr;
    char* found = base + first * inner.stride + row_offset(op, row);
    return (uintptr_t)found & op.unaligned ? nullptr : found;
}

inline char* Elementwise::place_input(Frame& f, size_t i, Py_ssize_t lo, Py_ssize_t count, Py_ssize_t row) const {
    const Operand& op = in_[i];
    char* reg = f.memory + op.offset;
    switch (op.kind) {
    case kScalar: return reg;
    case kContiguous: {
        char* at = f.args[op.arg] + lo * op.itemsize;
        if (f.in_direct[i]) return at;
        std::memcpy(reg, at, (size_t)(count * op.itemsize));
        return reg;
    }
    case kIndex:
        for (Py_ssize_t k = 0; k < count; k++) ((int64_t*)reg)[k] = lo + k;
        return reg;
    case kStrided: break;
    }
    if (row >= 0 && op.transposed) return f.memory + op.tile_offset + row * block_ * op.itemsize;
    if (f.in_direct[i])
        if (char* at = inside_run(op, f.args[op.arg], lo, count)) return at;
    gather(op.axes, op.itemsize, f.args[op.arg], lo, count, reg);
    return reg;
}

inline void Elementwise::place_output(Frame& f, size_t o, Py_ssize_t lo, Py_ssize_t count, Py_ssize_t row) const {
    const Operand& op = out_[o];
    f.out_direct[o] = 0;
    if (!op.direct_writer) return;
    char* at = nullptr;
    if (op.kind == kContiguous) {
        at = f.args[op.arg] + lo * op.itemsize;
        if ((uintptr_t)at & op.unaligned) at = nullptr;
    } else if (row >= 0 && op.transposed) {
        at = f.memory + op.tile_offset + row * block_ * op.itemsize;
    } else {
        at = inside_run(op, f.args[op.arg], lo, count);
    }
    f.out_direct[o] = at != nullptr;
    f.at[op.value] = at ? at : f.memory + op.offset;
}

inline void Elementwise::compute(Frame& f, Py_ssize_t count) const {
    for (const Step& step : steps_) {
        char* args[kOperands];
        Py_ssize_t strides[kOperands];
        for (int a = 0; a < step.count; a++) {
            args[a] = f.at[arguments_[step.first + a].value];
            strides[a] = arguments_[step.first + a].step;
        }
        step.fn(args, &count, strides, step.data);
    }
}

// One block, [lo, lo + count); `row` is its row in the current tile, or -1.
inline void Elementwise::block(Frame& f, Py_ssize_t lo, Py_ssize_t count, Py_ssize_t row) const {
    for (size_t i = 0; i < in_.size(); i++) f.at[in_[i].value] = place_input(f, i, lo, count, row);
    for (size_t o = 0; o < out_.size(); o++) place_output(f, o, lo, count, row);
    compute(f, count);
    for (size_t o = 0; o < out_.size(); o++) {
        const Operand& op = out_[o];
        if (f.out_direct[o]) continue;
        if (row >= 0 && op.transposed)
            std::memcpy(f.memory + op.tile_offset + row * block_ * op.itemsize, f.at[op.value],
                        (size_t)(count * op.itemsize));
        else
            scatter(op.axes, op.itemsize, f.args[op.arg], lo, count, f.at[op.value]);
    }
}

inline bool Elementwise::goes_by_lines() const {
    auto fits = [&](const Operand& op) {
        if (op.kind == kScalar || op.kind == kContiguous) return true;
        if (op.kind != kStrided || op.axes.back().extent != cut_ || op.axes.back().stride != op.itemsize) return false;
        for (const Axis& axis : op.axes)
            if ((uintptr_t)axis.stride & op.unaligned) return false;
        return true;
    };
    auto written = [&](const Operand& op) { return op.direct_writer && op.kind != kScalar && fits(op); };
    return cut_ && cut_ <= block_ && std::all_of(in_.begin(), in_.end(), fits) &&
           std::all_of(out_.begin(), out_.end(), written);
}

// Row by row, each operand where it lies: what `block` finds out for any block is known. False where one is misaligned.
inline bool Elementwise::lines(Frame& f, Py_ssize_t lo, Py_ssize_t hi) const {
    for (size_t i = 0; i < in_.size(); i++)
        if (!f.in_direct[i]) return false;
    for (const Operand& op : out_)
        if ((uintptr_t)f.args[op.arg] & op.unaligned) return false;
    auto place = [&](const Operand& op, Py_ssize_t row, Py_ssize_t first) {
        if (op.kind == kScalar) return;
        Py_ssize_t offset = op.kind == kContiguous ? row * cut_ * op.itemsize : row_offset(op, row);
        f.at[op.value] = f.args[op.arg] + offset + first * op.itemsize;
    };
    for (Py_ssize_t row = lo / cut_, first = lo % cut_; lo < hi; row++, first = 0) {
        Py_ssize_t count = std::min(cut_ - first, hi - lo);
        for (const Operand& op : in_) place(op, row, first);
        for (const Operand& op : out_) place(op, row, first);
        compute(f, count);
        lo += count;
    }
    return true;
}

inline void Elementwise::flat(Frame& f, Py_ssize_t lo, Py_ssize_t hi) const {
    if (lines_ && lines(f, lo, hi)) return;
    bool copy = copies(), counts = steps_.empty() && in_.size() == 1 && out_.size() == 1 && !copy;
    while (lo < hi) {
        Py_ssize_t next = std::min(lo + block_, hi);
        if (cut_) next = std::min(next, (lo / cut_ + 1) * cut_);
        Py_ssize_t n = next - lo;
        const Operand &in = in_[0], &out = out_[0];
        if (copy && out.kind == kContiguous)
            gather(in.axes, in.itemsize, f.args[in.arg], lo, n, f.args[out.arg] + lo * out.itemsize);
        else if (copy && in.kind == kContiguous)
            scatter(out.axes, out.itemsize, f.args[out.arg], lo, n, f.args[in.arg] + lo * in.itemsize);
        else if (counts && out.kind == kContiguous && !((uintptr_t)f.args[out.arg] & out.unaligned))
            for (Py_ssize_t k = 0; k < n; k++) ((int64_t*)f.args[out.arg])[lo + k] = lo + k;
        else
            block(f, lo, n, -1);
        lo = next;
    }
}

inline Py_ssize_t Elementwise::row_offset(const Operand& op, Py_ssize_t row) {
    Py_ssize_t offset = 0;
    for (int d = (int)op.axes.size() - 2; d > 0; d--) {
        offset += row % op.axes[d].extent * op.axes[d].stride;
        row /= op.axes[d].extent;
    }
    return op.axes.size() > 1 ? offset + row * op.axes[0].stride : offset;
}

// Whole rows [lo / columns, + rows) of one matrix.
inline void Elementwise::tile(Frame& f, Py_ssize_t lo, Py_ssize_t rows) const {
    Py_ssize_t row = lo / columns_;
    const Operand &from = in_[0], &to = out_[0];
    if (copies() && from.transposed && to.kind == kContiguous)
        return move_tile<true>(from.itemsize, f.args[from.arg] + row_offset(from, row), from.axes.back().stride,
                               f.args[to.arg] + lo * to.itemsize, columns_, rows, columns_);
    if (copies() && to.transposed && from.kind == kContiguous)
        return move_tile<false>(to.itemsize, f.args[to.arg] + row_offset(to, row), to.axes.back().stride,
                                f.args[from.arg] + lo * from.itemsize, columns_, rows, columns_);
    for (Py_ssize_t j = 0; j < columns_; j += block_) {
        Py_ssize_t n = std::min(block_, columns_ - j);
        for (const Operand& op : in_)
            if (op.transposed)
                move_tile<true>(op.itemsize, f.args[op.arg] + row_offset(op, row) + j * op.axes.back().stride,
                                op.axes.back().stride, f.memory + op.tile_offset, block_, rows, n);
        for (Py_ssize_t i = 0; i < rows; i++) block(f, lo + i * columns_ + j, n, i);
        for (const Operand& op : out_)
            if (op.transposed)
                move_tile<false>(op.itemsize, f.args[op.arg] + row_offset(op, row) + j * op.axes.back().stride,
                                 op.axes.back().stride, f.memory + op.tile_offset, block_, rows, n);
    }
}

inline void Elementwise::attach(Frame& f, char* state, char* memory, char** args) const {
    f.args = args;
    f.memory = memory;
    f.at = (char**)state;
    f.in_direct = (uint8_t*)(f.at + value_register_.size());
    f.out_direct = f.in_direct + in_.size();
    for (size_t v = 0; v < value_offset_.size(); v++) f.at[v] = f.memory + value_offset_[v];
    for (size_t i = 0; i < in_.size(); i++)
        f.in_direct[i] = in_[i].kind == kIndex || ((uintptr_t)args[in_[i].arg] & in_[i].unaligned) == 0;
    for (const Conflict& c : conflicts_)
        if (args[out_[c.output].arg] == args[in_[c.input].arg]) f.in_direct[c.input] = 0;
}

inline void Elementwise::fill(Frame& f, Py_ssize_t most) const {
    for (const Operand& op : in_)
        if (op.kind == kScalar)
            move_run(op.itemsize, f.memory + op.offset, op.itemsize, f.args[op.arg], 0, std::min(op.fill, most));
}

inline void Elementwise::start(Frame& f, char* memory, char** args, Py_ssize_t most) const {
    attach(f, memory, memory, args);
    fill(f, most);
}

inline int Elementwise::run(char** args, Py_ssize_t begin, Py_ssize_t end) const {
    if (begin >= end) return 0;
    char* memory = scratch(scratch_bytes_);
    if (!memory) return kNoMemory;
    run_in(memory, args, begin, end);
    return 0;
}

inline void Elementwise::run_in(char* memory, char** args, Py_ssize_t begin, Py_ssize_t end) const {
    Frame f;
    start(f, memory, args, end - begin);
    if (!columns_) return flat(f, begin, end);
    for (Py_ssize_t lo = begin; lo < end;) {
        Py_ssize_t in_row = lo % columns_;
        if (in_row || end - lo < columns_) {
            Py_ssize_t next = std::min(end, lo - in_row + columns_);
            flat(f, lo, next);
            lo = next;
            continue;
        }
        Py_ssize_t rows = std::min({tile_rows_, rows_ - lo / columns_ % rows_, (end - lo) / columns_});
        tile(f, lo, rows);
        lo += rows * columns_;
    }
}

inline int run_elementwise(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    return static_cast<const Elementwise*>(params)->run(args, begin, end);
}

inline Made make_elementwise(const std::vector<Py_ssize_t>& shape, const std::vector<OperandSpec>& inputs,
                             const std::vector<OperandSpec>& outputs, const std::vector<Py_ssize_t>& registers,
                             const std::vector<StepSpec>& steps) {
    auto* kernel = new Elementwise(shape, inputs, outputs, registers, steps);
    Made made;
    made.run = run_elementwise;
    made.params = kernel;
    made.drop = drop_params<Elementwise>;
    made.extent = kernel->extent;
    made.grain = kernel->grain;
    return made;
}

}  // namespace la
