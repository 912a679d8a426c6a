// Reductions of what a program computes, in one pass over the elements: no value that only they read is stored.
//
// The elements are computed in the order in which reduce.hpp's tree takes them, a block, a stripe of rows or a row of a
// tile at a time; every element once, so the program may have outputs. A second program makes of the totals what is
// stored: per unit, or in `finish` where a reduction is split into chunks.
#pragma once
#include "columns.hpp"

namespace la {

struct StreamFold {
    Fold fold;
    int reg;  // what it reduces
};

// A compiled loop for what is computed and reduced, where columns are contiguous: it joins some rows of a lane to what
// the lane holds, see codegen/emit_columns.py.
struct Strips {
    LoopFn loop = nullptr;
    std::vector<Py_ssize_t> lead;      // extents before the reduced axis
    std::vector<ColumnSpec> operands;  // strides: lead..., rows, columns
};
constexpr Py_ssize_t kStrip = 8;  // rows that go by a lane's accumulators at once: so many streams from memory

class Stream : protected Elementwise {
public:
    // `closing` runs over (outer * inner) results; its operands are lines, then totals, then outputs.
    Stream(const std::vector<Py_ssize_t>& shape, Py_ssize_t outer, Py_ssize_t red, Py_ssize_t inner,
          const std::vector<OperandSpec>& inputs, const std::vector<OperandSpec>& outputs,
          const std::vector<Py_ssize_t>& registers, const std::vector<StepSpec>& steps,
          const std::vector<StreamFold>& folds, const Elementwise* closing, int lines, const Strips& strips)
        : closing_(closing), lines_(lines), strips_(strips) {
        for (Py_ssize_t n : shape) extent *= n;
        int arg = 0;
        for (const OperandSpec& spec : inputs) in_.push_back(operand(shape, spec, spec.index ? -1 : arg++));
        for (const OperandSpec& spec : outputs) out_.push_back(operand(shape, spec, arg++));
        args_ = arg;
        number_values(inputs, outputs, steps);
        std::vector<int> last(registers.size(), -1);
        for (size_t v = 0; v < value_register_.size(); v++) last[value_register_[v]] = (int)v;
        for (const StreamFold& each : folds) {
            roots_.push_back({each.fold, last[each.reg]});
            positions_ |= each.fold.positions();
            last_read_[roots_.back().value] = (int)steps.size() + (int)outputs.size();
        }
        find_conflicts();
        // A block of the tree is computed at once.
        lay_out(registers, kBlock);
        cut(outer, red, inner);
    }
    ~Stream() { delete closing_; }
    Py_ssize_t units() const { return p_.results ? p_.outer * p_.chunks * p_.tiles : 0; }
    Py_ssize_t grain_units() const {
        return std::max<Py_ssize_t>(kGrainElements / std::max<Py_ssize_t>(p_.chunk_rows * p_.width, 1), 1);
    }
    Py_ssize_t shared_bytes() const { return shared_; }
    bool split() const { return p_.chunks > 1; }

    int run(char** args, Py_ssize_t begin, Py_ssize_t end) const {
        if (begin >= end) return 0;
        char* memory = scratch(memory_);
        if (!memory) return kNoMemory;
        Frame f;
        start(f, memory, args, block_);
        for (Py_ssize_t u = begin; u < end; u++) unit(f, args, Unit(p_, u));
        return 0;
    }

    int finish(char** args) const {
        char* shared = args[n_args()];
        char* memory = scratch(closing_->memory_bytes());
        if (!memory) return kNoMemory;
        Py_ssize_t n = p_.results;
        for (const Root& root : roots_) {
            const Fold& fold = root.fold;
            char *partial = shared + root.partial, *total = shared + root.total;
            if (fold.positions()) {
                int64_t* index = (int64_t*)(partial + padded(p_.chunks * n * fold.size));
                for (Py_ssize_t c = 1; c < p_.chunks; c++) {
                    char* both[] = {partial, (char*)index, partial + c * n * fold.size, (char*)(index + c * n)};
                    fold.join(both, &n, nullptr, nullptr);
                }
                std::memcpy(total, index, (size_t)n * 8);
                continue;
            }
            FoldCounter counter{fold, shared + root.stack, n};
            for (Py_ssize_t c = 0; c < p_.chunks; c++) {
                std::memcpy(counter.push(), partial + c * n * fold.size, (size_t)(n * fold.size));
                counter.joined();
            }
            convert_results(fold, counter.total(), total, n);
        }
        close(args, shared, memory, 0, n);
        return 0;
    }

private:
    struct Root {
        Fold fold;
        int value;
        Py_ssize_t lanes = 0, stack_here = 0, total_here = 0;   // in a unit's memory
        Py_ssize_t partial = 0, stack = 0, total = 0;           // in the shared scratch
    };

    int n_args() const { return args_ + lines_ + (int)closing_->outputs(); }

    void cut(Py_ssize_t outer, Py_ssize_t red, Py_ssize_t inner) {
        Py_ssize_t widest = 1;
        for (const Root& root : roots_) widest = std::max({widest, root.fold.size, root.fold.result_size});
        p_.outer = outer;
        p_.red = red;
        p_.inner = inner;
        p_.results = outer * inner;
        set_tiles(p_, std::min(kTileBytes / widest, kBlock));
        if (outer * p_.tiles * p_.chunks < kFewUnits) set_tiles(p_, kNarrowTile / widest);
        Py_ssize_t depth = 3, at = scratch_bytes_, shared = 0;
        for (Py_ssize_t blocks = red / kBlock + p_.chunks; blocks; blocks /= 2) depth++;
        auto take = [](Py_ssize_t& from, Py_ssize_t bytes) {
            Py_ssize_t here = from;
            from += padded(bytes);
            return here;
        };
        for (Root& root : roots_) {
            Py_ssize_t line = p_.width * root.fold.size;
            root.lanes = take(at, kLanes * line);
            root.stack_here = take(at, depth * line + p_.width * 8);
            root.total_here = take(at, p_.width * root.fold.result_size);
            if (p_.chunks > 1) {
                Py_ssize_t partials = p_.chunks * p_.results;
                root.partial = take(shared, padded(partials * root.fold.size) + (root.fold.positions() ? partials * 8 : 0));
                root.stack = take(shared, depth * p_.results * root.fold.size);
                root.total = take(shared, p_.results * root.fold.result_size);
            }
        }
        closing_at_ = at;
        memory_ = at + closing_->memory_bytes();
        shared_ = shared;
    }

    // Totals of results [first, first + n) begin at memory + root.total (of the unit, or shared).
    void close(char** args, char* totals, char* memory, Py_ssize_t first, Py_ssize_t n) const {
        char* own[128];
        int k = 0;
        for (int i = 0; i < lines_; i++) own[k++] = args[args_ + i];
        for (const Root& root : roots_)
            own[k++] = totals + (p_.chunks > 1 ? root.total : root.total_here) - first * root.fold.result_size;
        for (size_t o = 0; o < closing_->outputs(); o++) own[k++] = args[args_ + lines_ + (int)o];
        closing_->run_in(memory, own, first, first + n);
    }

    void unit(Frame& f, char** args, const Unit& unit) const {
        Py_ssize_t origin = (unit.o * p_.red + unit.row) * p_.inner + unit.column;
        std::vector<FoldCounter> counters;
        counters.reserve(roots_.size());
        for (const Root& root : roots_) counters.push_back({root.fold, f.memory + root.stack_here, unit.width});
        for (Py_ssize_t b = 0; b < unit.rows; b += kBlock) {
            Py_ssize_t rows = std::min(kBlock, unit.rows - b), lo = origin + b * p_.inner;
            if (p_.inner == 1) {
                block(f, lo, rows, -1);
                for (size_t i = 0; i < roots_.size(); i++) column(f, roots_[i], counters[i], b, rows);
                continue;
            }
            if (strips_.loop) {
                strips(f, args, unit, b, rows);
                join_lanes(f, counters, rows, unit.width);
                continue;
            }
            bool flat = unit.width == p_.inner;
            Py_ssize_t most = flat ? std::max<Py_ssize_t>(block_ / unit.width, 1) : 1;
            if (flat || positions_) {
                // In the order of rows, some at a time.
                for (Py_ssize_t r = 0; r < rows; r += most) take(f, lo, b, r, std::min(most, rows - r), unit.width);
            } else {
                // Lane by lane: a lane's accumulators stay in the L1 cache while its rows go by.
                for (Py_ssize_t lane = 0; lane < std::min(kLanes, rows); lane++)
                    for (Py_ssize_t r = lane; r < rows; r += kLanes) take(f, lo, b, r, 1, unit.width);
            }
            join_lanes(f, counters, rows, unit.width);
        }
        for (size_t i = 0; i < roots_.size(); i++) end(f, args, roots_[i], counters[i], unit);
        if (p_.chunks == 1) close(args, f.memory, f.memory + closing_at_, unit.result(p_), unit.width);
    }

    void join_lanes(Frame& f, std::vector<FoldCounter>& counters, Py_ssize_t rows, Py_ssize_t width) const {
        for (size_t i = 0; i < roots_.size(); i++) {
            const Fold& fold = roots_[i].fold;
            if (fold.positions()) continue;
            char* lanes = f.memory + roots_[i].lanes;
            fold_lanes_in(fold, lanes, rows, width);
            std::memcpy(counters[i].push(), lanes, (size_t)(width * fold.size));
            counters[i].joined();
        }
    }

    // The lanes of rows [b, b + rows) of a unit, which are a block.
    void strips(Frame& f, char** args, const Unit& unit, Py_ssize_t b, Py_ssize_t rows) const {
        size_t count = strips_.operands.size(), depth = strips_.lead.size();
        char *base[kOperands], *at[kOperands];
        Py_ssize_t steps[kOperands], row_steps[kOperands];
        for (size_t i = 0; i < count; i++) {
            const ColumnSpec& op = strips_.operands[i];
            row_steps[i] = op.strides[depth];
            steps[i] = kLanes * row_steps[i];
            base[i] = args[op.arg] + (unit.row + b) * row_steps[i] + unit.column * op.strides[depth + 1];
            Py_ssize_t index = unit.o;
            for (size_t d = depth; d-- > 0; index /= strips_.lead[d]) base[i] += index % strips_.lead[d] * op.strides[d];
        }
        for (Py_ssize_t first = 0; first < rows; first += kStrip * kLanes)
            for (Py_ssize_t lane = 0; lane < kLanes && first + lane < rows; lane++) {
                Py_ssize_t row = first + lane, last = std::min(rows, first + kStrip * kLanes);
                Py_ssize_t dimensions[] = {unit.width, (last - row + kLanes - 1) / kLanes, first == 0};
                for (size_t i = 0; i < count; i++) at[i] = base[i] + row * row_steps[i];
                for (size_t k = 0; k < roots_.size(); k++)
                    at[count + k] = f.memory + roots_[k].lanes + lane * unit.width * roots_[k].fold.size;
                strips_.loop(at, dimensions, steps, nullptr);
            }
    }

    // One block of a reduction of contiguous elements.
    void column(Frame& f, const Root& root, FoldCounter& counter, Py_ssize_t first, Py_ssize_t rows) const {
        const Fold& fold = root.fold;
        if (fold.positions()) {
            char* args[] = {f.memory + root.lanes, f.memory + root.stack_here, f.at[root.value]};
            Py_ssize_t dimensions[] = {rows, 1};
            fold.search(args, dimensions, &first, nullptr);
            return;
        }
        char* args[] = {f.at[root.value], counter.push()};
        Py_ssize_t dimensions[] = {1, rows};
        fold.lines(args, dimensions, nullptr, nullptr);
        counter.joined();
    }

    // Rows [r, r + n) of the block of rows that begins with row `b` and element `lo`.
    void take(Frame& f, Py_ssize_t lo, Py_ssize_t b, Py_ssize_t r, Py_ssize_t n, Py_ssize_t width) const {
        block(f, lo + r * p_.inner, n * width, -1);
        for (const Root& root : roots_) {
            const Fold& fold = root.fold;
            const char* x = f.at[root.value];
            if (fold.positions()) {
                char* args[] = {f.memory + root.lanes, f.memory + root.stack_here, f.at[root.value]};
                Py_ssize_t dimensions[] = {n, width}, first = b + r;
                fold.search(args, dimensions, &first, nullptr);
                continue;
            }
            for (Py_ssize_t k = 0; k < n;) {
                Py_ssize_t m = std::min(kLanes - (r + k) % kLanes, n - k);
                take_rows_in(fold, f.memory + root.lanes, x + k * width * fold.size, r + k, m, width);
                k += m;
            }
        }
    }

    void end(Frame& f, char** args, const Root& root, FoldCounter& counter, const Unit& unit) const {
        const Fold& fold = root.fold;
        char* shared = p_.chunks > 1 ? args[n_args()] : nullptr;
        Py_ssize_t place = unit.chunk * p_.results + unit.result(p_);
        if (fold.positions()) {
            const char *value = f.memory + root.lanes, *index = f.memory + root.stack_here;
            if (!shared) {
                std::memcpy(f.memory + root.total_here, index, (size_t)unit.width * 8);
                return;
            }
            std::memcpy(shared + root.partial + place * fold.size, value, (size_t)(unit.width * fold.size));
            int64_t* to = (int64_t*)(shared + root.partial + padded(p_.chunks * p_.results * fold.size)) + place;
            for (Py_ssize_t k = 0; k < unit.width; k++) to[k] = ((const int64_t*)index)[k] + unit.row;
        } else if (!shared) {
            convert_results(fold, counter.total(), f.memory + root.total_here, unit.width);
        } else {
            std::memcpy(shared + root.partial + place * fold.size, counter.total(), (size_t)(unit.width * fold.size));
        }
    }

    std::vector<Root> roots_;
    const Elementwise* closing_;
    int args_ = 0, lines_;  // operands of the program and of `closing`, without totals and outputs
    Strips strips_;
    bool positions_ = false;
    ReduceParams p_{};
    Py_ssize_t closing_at_ = 0, memory_ = 0, shared_ = 0;
};

inline int run_stream(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    return static_cast<const Stream*>(params)->run(args, begin, end);
}
inline int finish_stream(const void* params, char** args) { return static_cast<const Stream*>(params)->finish(args); }

inline Made make_stream(const std::vector<Py_ssize_t>& shape, Py_ssize_t outer, Py_ssize_t red, Py_ssize_t inner,
                       const std::vector<OperandSpec>& inputs, const std::vector<OperandSpec>& outputs,
                       const std::vector<Py_ssize_t>& registers, const std::vector<StepSpec>& steps,
                       const std::vector<StreamFold>& folds, const std::vector<OperandSpec>& closing_inputs,
                       const std::vector<OperandSpec>& closing_outputs, const std::vector<StepSpec>& closing_steps,
                       int lines, const Strips& strips) {
    std::vector<Py_ssize_t> results{outer * inner};
    auto* closing = new Elementwise(results, closing_inputs, closing_outputs, registers, closing_steps);
    auto* kernel = new Stream(shape, outer, red, inner, inputs, outputs, registers, steps, folds, closing, lines,
                              strips);
    Made made;
    made.run = run_stream;
    made.params = kernel;
    made.drop = drop_params<Stream>;
    made.extent = kernel->units();
    made.grain = kernel->grain_units();
    made.scratch_bytes = kernel->shared_bytes();
    if (kernel->split()) made.finish = finish_stream;
    return made;
}

}  // namespace la
