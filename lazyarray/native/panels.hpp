// Programs with reductions in the middle, panel by panel.
//
// A panel is what one outer index covers: (red, inner) elements, few enough for a cache. A batch of panels goes through
// the whole program: loops over all its elements, reductions of its panels (the tree of reduce.hpp), loops over their
// results (its lines), and lines spread over the panel again. Between two steps that are not loops over elements, loops
// run in pieces of a few thousand elements; what only one such run of loops knows takes a piece's memory. A compiled loop
// over lines (codegen/emit_lines.py) takes the place of spreads, loops over elements and reductions behind them.
// While the loops over a batch's elements keep the core busy, what the next batch reads comes from memory, a few cache lines
// before each piece: the hardware's prefetching sleeps meanwhile, as those loops read the caches only.
// Elements may also be reduced across panels, each of a panel with those at its place in the others, while they are in
// cache: a unit is a block of that tree then, and `finish` joins the blocks.
#pragma once
#include "driver.hpp"
#include "folds.hpp"

namespace la {

enum StepKind { kElements, kLines, kFold, kSpread, kSwept, kAcross };

struct PanelStep {
    StepSpec step;
    StepKind kind = kElements;
    Fold fold;
    std::vector<Fold> folds;  // of a loop over lines: how its last outputs are reduced
    int target = 0;           // of a reduction across panels: its place among their results
};

// Each of some values n times: args {values, to}, dimensions {values, n}.
template <class T> struct SpreadLoop {
    LA_INLINE void run(char** args, const Py_ssize_t* dimensions, const Py_ssize_t*, void*) {
        const T* from = (const T*)args[0];
        T* to = (T*)args[1];
        Py_ssize_t n = dimensions[1];
        for (Py_ssize_t i = 0; i < dimensions[0]; i++, to += n) {
            T x = from[i];
            for (Py_ssize_t k = 0; k < n; k++) to[k] = x;
        }
    }
};
inline LoopFn find_spread(Py_ssize_t itemsize) {
    switch (itemsize) {
    case 1: return pick_loop<SpreadLoop<uint8_t>>();
    case 2: return pick_loop<SpreadLoop<uint16_t>>();
    case 4: return pick_loop<SpreadLoop<uint32_t>>();
    case 8: return pick_loop<SpreadLoop<uint64_t>>();
    default: return pick_loop<SpreadLoop<Bytes16>>();
    }
}

class Panels : protected Elementwise {
public:
    Panels(const std::vector<Py_ssize_t>& shape, Py_ssize_t outer, Py_ssize_t red, Py_ssize_t inner,
           const std::vector<OperandSpec>& inputs, const std::vector<OperandSpec>& outputs,
           const std::vector<Py_ssize_t>& registers, const std::vector<PanelStep>& steps)
        : outer_(outer), red_(red), inner_(inner), panel_(red * inner) {
        int arg = 0;
        std::vector<StepSpec> plain;
        for (const PanelStep& each : steps) {
            plain.push_back(each.step);
            kinds_.push_back(each.kind);
            folds_.push_back(each.fold);
            swept_.push_back(each.folds);
        }
        for (const OperandSpec& spec : inputs) in_.push_back(operand(shape, spec, spec.index ? -1 : arg++));
        for (const OperandSpec& spec : outputs) out_.push_back(operand(shape, spec, arg++));
        number_values(inputs, outputs, plain);
        find_conflicts();
        args_ = arg;
        lay_out_batch(registers);
        lay_out_across(steps);
    }
    Py_ssize_t units() const { return across_.empty() ? outer_ : block_count(); }
    Py_ssize_t shared_bytes() const { return shared_; }
    Py_ssize_t grain_units() const {
        if (!across_.empty()) return 1;
        return (std::max<Py_ssize_t>(kGrainElements / panel_, 1) + batch_ - 1) / batch_ * batch_;
    }

    int run(char** args, Py_ssize_t begin, Py_ssize_t end) const {
        if (begin >= end) return 0;
        if (!across_.empty()) {
            begin *= kBlock;
            end = std::min(end * kBlock, outer_);
        }
        char* memory = scratch(scratch_bytes_);
        if (!memory) return kNoMemory;
        Frame f;
        start(f, memory, args, (end - begin) * panel_);
        for (size_t i = 0; i < in_.size(); i++)
            if (repeats_[i])
                gather(in_[i].axes, in_[i].itemsize, args[in_[i].arg], begin * panel_,
                       std::min(batch_, end - begin) * panel_, memory + in_[i].offset);
        if (!across_.empty()) {
            for (Py_ssize_t o = begin; o < end; o += kBlock) whole_block(f, o, std::min(kBlock, end - o));
            return 0;
        }
        for (Py_ssize_t o = begin; o < end; o += batch_) batch(f, o, std::min(batch_, end - o), end - o);
        return 0;
    }

    int finish(char** args) const;

private:
    struct Across {
        Fold fold;
        int target;
        Py_ssize_t lanes;           // in a unit's memory
        Py_ssize_t partial, stack;  // in the shared scratch
    };

    // What is read by a batch's next panels, from memory that lies as they go.
    struct Ahead {
        struct Span {
            const char *at, *end;
        };
        Span spans[kOperands];
        int count = 0;

        void add(const char* at, Py_ssize_t bytes) {
            if (bytes > 0) spans[count++] = {at, at + bytes};
        }
        void fetch(Py_ssize_t bytes) {
            if (!count) return;
            Span& span = spans[count - 1];
            const char *at = span.at, *until = std::min(span.end, at + bytes);
            for (; at < until; at += kCacheLine) __builtin_prefetch(at, 0, 3);
            span.at = at;
            if (at >= span.end) count--;
        }
    };
    static constexpr Py_ssize_t kCacheLine = 64;
    static constexpr Py_ssize_t kBetween = 512;  // elements between two such fetches

    Ahead ahead_of(const Frame& f, Py_ssize_t o, Py_ssize_t panels) const;
    Py_ssize_t block_count() const { return (outer_ + kBlock - 1) / kBlock; }
    void lay_out_batch(const std::vector<Py_ssize_t>& registers);
    void lay_out_across(const std::vector<PanelStep>& steps);
    void whole_block(Frame& f, Py_ssize_t first, Py_ssize_t rows) const;
    void across(Frame& f, size_t s, Py_ssize_t o, Py_ssize_t panels) const;
    // Panels [o, o + panels), of `left` that the run still has to do.
    void batch(Frame& f, Py_ssize_t o, Py_ssize_t panels, Py_ssize_t left) const;
    void loops(Frame& f, Ahead& ahead, size_t first, size_t last, Py_ssize_t count) const;
    void fold(Frame& f, size_t s, Py_ssize_t panels) const;
    void spread(Frame& f, size_t s, Py_ssize_t panels) const;
    void sweep(Frame& f, size_t s, Py_ssize_t panels) const;
    char*& at(Frame& f, size_t s, int which) const { return f.at[arguments_[steps_[s].first + which].value]; }

    Py_ssize_t outer_, red_, inner_, panel_;
    Py_ssize_t batch_ = 1, piece_ = 0;
    Py_ssize_t ahead_bytes_ = 0;  // of an element, read from memory that lies as panels go
    Py_ssize_t fold_offset_ = 0;
    std::vector<StepKind> kinds_;
    std::vector<Fold> folds_;
    std::vector<std::vector<Fold>> swept_;
    std::vector<Py_ssize_t> line_steps_;  // by argument of a loop over lines: bytes from line to line
    Py_ssize_t blocks_ = 1;               // of a line
    std::vector<char> repeats_;  // by input: the same for every panel, and fetched once per run
    std::vector<char> local_;  // by value: takes a piece's memory, in its register or filled once per run
    std::vector<Across> across_;
    std::vector<int> across_of_;  // by step
    int args_ = 0;                // operands without the results of reductions across panels
    Py_ssize_t shared_ = 0;
};

inline void Panels::lay_out_batch(const std::vector<Py_ssize_t>& registers) {
    size_t values = value_register_.size(), steps = steps_.size();
    std::vector<int> run(steps);  // the run of element loops that a step is in
    for (size_t s = 1; s < steps; s++)
        run[s] = run[s - 1] + !(kinds_[s] == kElements && kinds_[s - 1] == kElements);
    std::vector<char> line(values, 0), apart(values, 0);
    std::vector<int> seen(values, -1);
    for (size_t i = 0; i < in_.size(); i++) line[in_[i].value] = in_[i].line;
    for (size_t s = 0; s < steps; s++)
        for (int a = 0; a < steps_[s].count; a++) {
            int v = arguments_[steps_[s].first + a].value;
            if (writer_[v] == (int)s)
                line[v] = kinds_[s] == kLines || kinds_[s] == kFold ||
                          (kinds_[s] == kSwept && a >= steps_[s].count - (int)swept_[s].size());
            if (kinds_[s] != kElements || (seen[v] >= 0 && seen[v] != run[s])) apart[v] = 1;
            seen[v] = run[s];
        }
    for (const Operand& op : out_) apart[op.value] = 1;
    for (const Operand& op : in_)
        if (op.kind != kScalar) apart[op.value] = 1;
    // Values of one register overwrite each other in the order of their steps, piece by piece: all or none are apart.
    std::vector<char> register_apart(registers.size(), 0), register_line(registers.size(), 0);
    std::vector<bool> rewritten(registers.size(), false);
    for (size_t v = 0; v < values; v++) {
        register_apart[value_register_[v]] |= apart[v];
        register_line[value_register_[v]] |= line[v];
        if (writer_[v] >= 0) rewritten[value_register_[v]] = true;
    }
    Py_ssize_t width = 0, lines = inner_;  // bytes of an element that a batch keeps
    for (size_t r = 0; r < registers.size(); r++)
        if (!register_line[r]) width += registers[r];
    for (const Operand& op : out_)
        if (!op.line) width += op.itemsize;
    // A batch that fits the first level of cache, or one panel.
    width = std::max<Py_ssize_t>(width, 1);
    batch_ = std::clamp<Py_ssize_t>(65536 / (width * panel_), 1, std::max<Py_ssize_t>(outer_, 1));
    piece_ = std::min(std::clamp<Py_ssize_t>(32768 / width, 512, 4096) & ~(Py_ssize_t)63, batch_ * panel_);
    Py_ssize_t at = state_bytes_ = padded((Py_ssize_t)(values * sizeof(char*) + in_.size() + out_.size()));
    auto reserve = [&](Py_ssize_t bytes) {
        Py_ssize_t here = at;
        at += padded(bytes);
        return here;
    };
    auto elements = [&](bool is_line, bool is_apart) {
        return is_line ? batch_ * lines : is_apart ? batch_ * panel_ : piece_;
    };
    std::vector<Py_ssize_t> offset(registers.size());
    for (size_t r = 0; r < registers.size(); r++)
        offset[r] = reserve(elements(register_line[r], register_apart[r]) * registers[r]);
    for (size_t v = 0; v < values; v++) {
        value_offset_.push_back(offset[value_register_[v]]);
        local_.push_back(!register_apart[value_register_[v]]);
    }
    for (Operand& op : in_) {
        if (op.kind == kScalar) {
            op.fill = elements(op.line, apart[op.value]);
            local_[op.value] = !apart[op.value];
            if (rewritten[value_register_[op.value]]) value_offset_[op.value] = reserve(op.fill * op.itemsize);
        }
        op.offset = value_offset_[op.value];
        // A batch of several panels is fetched; one panel may be read where it lies.
        repeats_.push_back(batch_ > 1 && op.kind == kStrided && !op.line && op.axes[0].stride == 0 &&
                           panel_ % period(op.axes) == 0 && !rewritten[value_register_[op.value]]);
    }
    for (const Operand& op : in_)
        if (op.kind == kContiguous && !op.line) ahead_bytes_ += op.itemsize;
    for (Operand& op : out_) op.offset = value_offset_[op.value];
    for (Step& step : steps_)
        for (int a = step.first; a < step.first + step.count; a++)
            arguments_[a].step = registers[value_register_[arguments_[a].value]];
    Py_ssize_t most = 0;
    for (size_t s = 0; s < steps; s++)
        if (kinds_[s] == kFold) most = std::max(most, folds_[s].size + 8);
    // A loop over lines reads a scalar as one element, and what is repeated as a batch's elements.
    blocks_ = (red_ + kBlock - 1) / kBlock;
    line_steps_.assign(arguments_.size(), 0);
    std::vector<bool> scalar(values, false);
    for (const Operand& op : in_) scalar[op.value] = op.kind == kScalar;
    for (size_t s = 0; s < steps; s++) {
        if (kinds_[s] != kSwept) continue;
        for (int a = 0; a < steps_[s].count; a++) {
            int place = steps_[s].first + a, v = arguments_[place].value;
            if (!scalar[v]) line_steps_[place] = arguments_[place].step * (line[v] ? 1 : panel_);
        }
        for (const Fold& fold : swept_[s]) most = std::max(most, (blocks_ + 1) * (fold.size + 8) * (Py_ssize_t)swept_[s].size());
    }
    Py_ssize_t results = batch_ * inner_;
    Py_ssize_t depth = 2;
    for (Py_ssize_t blocks = red_ / kBlock; blocks; blocks /= 2) depth++;
    fold_offset_ = reserve(most * (inner_ == 1 ? results : results + (kLanes + depth) * inner_) + 64 * kOperands);
    scratch_bytes_ = at;
}

// Behind all else in a unit's memory: the lanes of what is reduced across panels.
inline void Panels::lay_out_across(const std::vector<PanelStep>& steps) {
    Py_ssize_t depth = 3;
    for (Py_ssize_t blocks = block_count(); blocks; blocks /= 2) depth++;
    across_of_.assign(steps.size(), -1);
    for (size_t s = 0; s < steps.size(); s++) {
        if (kinds_[s] != kAcross) continue;
        Py_ssize_t row = panel_ * folds_[s].size;
        Across each{folds_[s], steps[s].target, scratch_bytes_, shared_, shared_ + padded(block_count() * row)};
        scratch_bytes_ += padded(kLanes * row);
        shared_ = each.stack + padded(depth * row);
        across_of_[s] = (int)across_.size();
        across_.push_back(each);
    }
}

inline Panels::Ahead Panels::ahead_of(const Frame& f, Py_ssize_t o, Py_ssize_t panels) const {
    Ahead ahead;
    for (const Operand& op : in_)
        if (op.kind == kContiguous && !op.line)
            ahead.add(f.args[op.arg] + o * panel_ * op.itemsize, panels * panel_ * op.itemsize);
    return ahead;
}

inline void Panels::loops(Frame& f, Ahead& ahead, size_t first, size_t last, Py_ssize_t count) const {
    Py_ssize_t piece = ahead.count ? std::min(piece_, kBetween) : piece_;
    for (Py_ssize_t lo = 0; lo < count; lo += piece) {
        Py_ssize_t n = std::min(piece, count - lo);
        ahead.fetch(n * ahead_bytes_);
        for (size_t s = first; s < last; s++) {
            const Step& step = steps_[s];
            char* args[kOperands];
            Py_ssize_t strides[kOperands];
            for (int a = 0; a < step.count; a++) {
                const Argument& argument = arguments_[step.first + a];
                strides[a] = argument.step;
                args[a] = f.at[argument.value];
                if (!local_[argument.value]) args[a] += lo * argument.step;
            }
            step.fn(args, &n, strides, step.data);
        }
    }
}

inline void Panels::fold(Frame& f, size_t s, Py_ssize_t panels) const {
    const Fold& fold = folds_[s];
    const char* x = at(f, s, 0);
    char *out = at(f, s, 1), *memory = f.memory + fold_offset_;
    Py_ssize_t results = panels * inner_;
    char* to = fold.convert ? memory : out;
    if (inner_ == 1) {
        char* args[] = {const_cast<char*>(x), to};
        Py_ssize_t dimensions[] = {panels, red_};
        fold.lines(args, dimensions, nullptr, nullptr);
    } else {
        Py_ssize_t line = inner_ * fold.size;
        char* lanes = memory + padded(batch_ * inner_ * fold.size);
        for (Py_ssize_t p = 0; p < panels; p++, x += panel_ * fold.size) {
            if (fold.positions()) {
                char* args[] = {lanes, to + p * inner_ * 8, const_cast<char*>(x)};
                Py_ssize_t dimensions[] = {red_, inner_}, row = 0;
                fold.search(args, dimensions, &row, nullptr);
                continue;
            }
            FoldCounter counter{fold, lanes + kLanes * line, inner_};
            for (Py_ssize_t b = 0; b < red_; b += kBlock) {
                Py_ssize_t rows = std::min(kBlock, red_ - b);
                for (Py_ssize_t r = 0; r < rows; r += kLanes)
                    take_rows_in(fold, lanes, x + (b + r) * line, r, std::min(kLanes, rows - r), inner_);
                fold_lanes_in(fold, lanes, rows, inner_);
                std::memcpy(counter.push(), lanes, (size_t)line);
                counter.joined();
            }
            std::memcpy(to + p * line, counter.total(), (size_t)line);
        }
    }
    if (fold.convert) convert_results(fold, memory, out, results);
}

// A loop over the batch's lines, then the totals of their blocks.
inline void Panels::sweep(Frame& f, size_t s, Py_ssize_t panels) const {
    const Step& step = steps_[s];
    char* args[kOperands];
    Py_ssize_t strides[kOperands], dimensions[] = {panels, red_};
    int stored = step.count - (int)swept_[s].size();
    char* memory = f.memory + fold_offset_;
    for (int a = 0; a < step.count; a++) {
        args[a] = f.at[arguments_[step.first + a].value];
        strides[a] = line_steps_[step.first + a];
        if (a < stored) continue;
        const Fold& fold = swept_[s][a - stored];
        strides[a] = blocks_ * (fold.positions() ? 8 : fold.size);
        if (blocks_ == 1 && !fold.convert) continue;  // positions are found in lines of one block
        args[a] = memory;
        memory += padded(panels * blocks_ * fold.size);
    }
    step.fn(args, dimensions, strides, step.data);
    for (int a = stored; a < step.count; a++) {
        const Fold& fold = swept_[s][a - stored];
        char* out = at(f, s, a);
        if (args[a] == out) continue;
        char* both[] = {args[a], fold.convert ? args[a] : out};
        Py_ssize_t totals[] = {panels, blocks_};
        if (blocks_ > 1) fold.totals(both, totals, nullptr, nullptr);
        if (fold.convert) convert_results(fold, args[a], out, panels);
    }
}

inline void Panels::spread(Frame& f, size_t s, Py_ssize_t panels) const {
    const char* from = at(f, s, 0);
    char* to = at(f, s, 1);
    Py_ssize_t size = arguments_[steps_[s].first].step;
    if (inner_ == 1) {
        char* args[] = {const_cast<char*>(from), to};
        Py_ssize_t dimensions[] = {panels, red_};
        return find_spread(size)(args, dimensions, nullptr, nullptr);
    }
    for (Py_ssize_t p = 0; p < panels; p++)
        for (Py_ssize_t r = 0; r < red_; r++, to += inner_ * size)
            std::memcpy(to, from + p * inner_ * size, (size_t)(inner_ * size));
}

// Some panels into the lanes of their elements: panel `o` belongs to lane o % kLanes.
inline void Panels::across(Frame& f, size_t s, Py_ssize_t o, Py_ssize_t panels) const {
    const Across& each = across_[across_of_[s]];
    const char* x = at(f, s, 0);
    Py_ssize_t row = o % kBlock;
    for (Py_ssize_t k = 0; k < panels;) {
        Py_ssize_t n = std::min(kLanes - (row + k) % kLanes, panels - k);
        take_rows_in(each.fold, f.memory + each.lanes, x + k * panel_ * each.fold.size, row + k, n, panel_);
        k += n;
    }
}

// Panels [first, first + rows), a block of the tree across them.
inline void Panels::whole_block(Frame& f, Py_ssize_t first, Py_ssize_t rows) const {
    if (batch_ == 1) {
        // Lane by lane: the accumulators of one stay in the L1 cache while its panels go by.
        for (Py_ssize_t lane = 0; lane < std::min(kLanes, rows); lane++)
            for (Py_ssize_t r = lane; r < rows; r += kLanes) batch(f, first + r, 1, 1);
    } else {
        for (Py_ssize_t r = 0; r < rows; r += batch_) batch(f, first + r, std::min(batch_, rows - r), rows - r);
    }
    char* shared = f.args[args_ + (int)across_.size()];
    for (const Across& each : across_) {
        Py_ssize_t row = panel_ * each.fold.size;
        fold_lanes_in(each.fold, f.memory + each.lanes, rows, panel_);
        std::memcpy(shared + each.partial + first / kBlock * row, f.memory + each.lanes, (size_t)row);
    }
}

inline int Panels::finish(char** args) const {
    char* shared = args[args_ + (int)across_.size()];
    for (const Across& each : across_) {
        Py_ssize_t row = panel_ * each.fold.size;
        FoldCounter counter{each.fold, shared + each.stack, panel_};
        for (Py_ssize_t b = 0; b < block_count(); b++) {
            std::memcpy(counter.push(), shared + each.partial + b * row, (size_t)row);
            counter.joined();
        }
        convert_results(each.fold, counter.total(), args[args_ + each.target], panel_);
    }
    return 0;
}

inline void Panels::batch(Frame& f, Py_ssize_t o, Py_ssize_t panels, Py_ssize_t left) const {
    Py_ssize_t count = panels * panel_, results = panels * inner_;
    Ahead ahead = ahead_of(f, o + panels, std::min(panels, left - panels));
    for (size_t i = 0; i < in_.size(); i++)
        f.at[in_[i].value] = repeats_[i] ? f.memory + in_[i].offset
                             : in_[i].line ? place_input(f, i, o * inner_, results, -1)
                                         : place_input(f, i, o * panel_, count, -1);
    for (size_t k = 0; k < out_.size(); k++)
        if (out_[k].line) place_output(f, k, o * inner_, results, -1);
        else place_output(f, k, o * panel_, count, -1);
    for (size_t s = 0; s < steps_.size();) {
        size_t next = s + 1;
        if (kinds_[s] == kFold) {
            fold(f, s, panels);
        } else if (kinds_[s] == kSpread) {
            spread(f, s, panels);
        } else if (kinds_[s] == kSwept) {
            sweep(f, s, panels);
        } else if (kinds_[s] == kAcross) {
            across(f, s, o, panels);
        } else if (kinds_[s] == kLines) {
            const Step& step = steps_[s];
            char* args[kOperands];
            Py_ssize_t strides[kOperands];
            for (int a = 0; a < step.count; a++) {
                args[a] = f.at[arguments_[step.first + a].value];
                strides[a] = arguments_[step.first + a].step;
            }
            step.fn(args, &results, strides, step.data);
        } else {
            while (next < steps_.size() && kinds_[next] == kElements) next++;
            loops(f, ahead, s, next, count);
        }
        s = next;
    }
    for (size_t k = 0; k < out_.size(); k++) {
        const Operand& op = out_[k];
        if (f.out_direct[k]) continue;
        if (op.line) scatter(op.axes, op.itemsize, f.args[op.arg], o * inner_, results, f.at[op.value]);
        else scatter(op.axes, op.itemsize, f.args[op.arg], o * panel_, count, f.at[op.value]);
    }
}

inline int run_panels(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    return static_cast<const Panels*>(params)->run(args, begin, end);
}

inline int finish_panels(const void* params, char** args) { return static_cast<const Panels*>(params)->finish(args); }

inline Made make_panels(const std::vector<Py_ssize_t>& shape, Py_ssize_t outer, Py_ssize_t red, Py_ssize_t inner,
                        const std::vector<OperandSpec>& inputs, const std::vector<OperandSpec>& outputs,
                        const std::vector<Py_ssize_t>& registers, const std::vector<PanelStep>& steps) {
    auto* kernel = new Panels(shape, outer, red, inner, inputs, outputs, registers, steps);
    Made made;
    made.run = run_panels;
    made.params = kernel;
    made.drop = drop_params<Panels>;
    made.extent = kernel->units();
    made.grain = kernel->grain_units();
    made.scratch_bytes = kernel->shared_bytes();
    if (made.scratch_bytes) made.finish = finish_panels;
    return made;
}

}  // namespace la
