// Reductions of what a program computes, for columns of results side by side: a compiled loop walks the tree of
// reduce.hpp with its partial results in registers, see codegen/emit_columns.py.
//
// The elements are (lead..., repeats, columns, rows), and rows are reduced. An operand that differs between elements is
// the same in all repeats: it is turned so that its columns are contiguous, a band of columns that a cache holds at a
// time, and serves them all. Others are read where they lie. A unit is one repeat of one band.
#pragma once
#include "driver.hpp"
#include "folds.hpp"

namespace la {

enum Reach { kEverywhere, kNowhere, kByRow, kByColumn };  // where an operand differs; numbers as in codegen/sweep.py

struct ColumnSpec {
    int arg;
    Reach reach;
    Py_ssize_t itemsize;
    std::vector<Py_ssize_t> strides;  // lead..., repeats, columns, rows
};

constexpr Py_ssize_t kBandBytes = 1 << 19;   // of turned operands: they share the L2 cache with accumulators
constexpr Py_ssize_t kBandColumns = 64;      // at least
constexpr Py_ssize_t kTotalsBytes = 1 << 16;
constexpr Py_ssize_t kTurned = 48;           // repeats for which operands are turned, at least

class Columns {
public:
    // The operands of `closing`, lines, then totals, then outputs: an argument's number, or -1 - root.
    Columns(const std::vector<Py_ssize_t>& lead, Py_ssize_t repeats, Py_ssize_t columns, Py_ssize_t rows,
            const std::vector<ColumnSpec>& operands, LoopFn loop, const std::vector<Fold>& folds,
            const std::vector<int>& sources, const Elementwise* closing)
        : lead_(lead), repeats_(repeats), columns_(columns), rows_(rows), operands_(operands), loop_(loop),
          folds_(folds), sources_(sources), closing_(closing) {
        Py_ssize_t wide = 0, widest = 1;  // bytes of a turned column; of an accumulator or a result
        for (const ColumnSpec& op : operands)
            if (turned(op)) wide += op.reach == kEverywhere ? op.itemsize * rows : op.itemsize;
        for (const Fold& fold : folds) widest = std::max({widest, fold.size, fold.result_size});
        bands_ = 1;
        if (wide * columns > kBandBytes) {
            Py_ssize_t most = std::max(kBandColumns, kBandBytes / wide);
            bands_ = std::max<Py_ssize_t>(columns / most, 1);
        }
        band_ = ((columns + bands_ - 1) / bands_ + 15) / 16 * 16;
        bands_ = std::max<Py_ssize_t>(columns / band_, 1);  // the last one takes what is left, up to twice as much
        Py_ssize_t last = columns - (bands_ - 1) * band_;
        Py_ssize_t depth = 1;
        if (rows > kBlock)
            for (Py_ssize_t blocks = (rows + kBlock - 1) / kBlock; blocks; blocks /= 2) depth++;
        together_ = std::clamp<Py_ssize_t>(kTotalsBytes / (depth * last * widest), 1, repeats);
        Py_ssize_t at = 0;
        auto take = [&](Py_ssize_t bytes) {
            Py_ssize_t here = at;
            at += padded(bytes);
            return here;
        };
        for (const ColumnSpec& op : operands)
            tiles_.push_back(turned(op) ? take((op.reach == kEverywhere ? rows : 1) * last * op.itemsize) : -1);
        for (const Fold& fold : folds) {
            stacks_.push_back(take(depth * together_ * last * fold.size));
            totals_.push_back(fold.convert ? take(together_ * last * fold.result_size) : -1);
        }
        closing_at_ = at;
        memory_ = at + closing->memory_bytes();
        turns_ = wide > 0;
    }
    ~Columns() { delete closing_; }
    Py_ssize_t units() const {
        Py_ssize_t n = bands_ * repeats_;
        for (Py_ssize_t extent : lead_) n *= extent;
        return n;
    }
    Py_ssize_t grain_units() const {
        Py_ssize_t enough = std::max<Py_ssize_t>(kGrainElements / std::max<Py_ssize_t>(rows_ * band_, 1), 1);
        return turns_ ? std::max(enough, std::min(kTurned, repeats_)) : enough;
    }

    int run(char** args, Py_ssize_t begin, Py_ssize_t end) const {
        char* memory = scratch(memory_);
        if (!memory) return kNoMemory;
        std::vector<const char*> held(operands_.size(), nullptr);  // what the tiles were made of
        for (Py_ssize_t u = begin; u < end;) {
            Py_ssize_t repeat = u % repeats_, band = u / repeats_ % bands_, lead = u / repeats_ / bands_;
            Py_ssize_t n = std::min(end - u, repeats_ - repeat);
            some(memory, args, held, lead, band, repeat, n);
            u += n;
        }
        return 0;
    }

private:
    static bool turned(const ColumnSpec& op) {
        return (op.reach == kEverywhere || op.reach == kByColumn) && column_stride(op) != op.itemsize;
    }
    static Py_ssize_t row_stride(const ColumnSpec& op) { return op.strides.back(); }
    static Py_ssize_t column_stride(const ColumnSpec& op) { return op.strides[op.strides.size() - 2]; }
    static Py_ssize_t repeat_stride(const ColumnSpec& op) { return op.strides[op.strides.size() - 3]; }

    void turn(const ColumnSpec& op, const char* from, char* tile, Py_ssize_t width) const {
        Py_ssize_t rows = op.reach == kEverywhere ? rows_ : 1;
        if (row_stride(op) == op.itemsize && rows > 1) {
            move_tile<true>(op.itemsize, const_cast<char*>(from), column_stride(op), tile, width, rows, width);
            return;
        }
        for (Py_ssize_t r = 0; r < rows; r++)
            move_run(op.itemsize, tile + r * width * op.itemsize, op.itemsize, from + r * row_stride(op),
                     column_stride(op), width);
    }

    // Repeats [repeat, repeat + n) of one band.
    void some(char* memory, char** args, std::vector<const char*>& held, Py_ssize_t lead, Py_ssize_t band,
              Py_ssize_t repeat, Py_ssize_t n) const {
        Py_ssize_t first = band * band_, width = band == bands_ - 1 ? columns_ - first : band_;
        size_t count = operands_.size(), roots = folds_.size();
        std::vector<char*> bases(count), at(count + roots);
        std::vector<Py_ssize_t> steps(2 * (count + roots));
        for (size_t i = 0; i < count; i++) {
            const ColumnSpec& op = operands_[i];
            const char* from = args[op.arg] + first * column_stride(op);
            Py_ssize_t index = lead;
            for (size_t d = lead_.size(); d-- > 0; index /= lead_[d]) from += index % lead_[d] * op.strides[d];
            steps[2 * i] = row_stride(op);
            steps[2 * i + 1] = repeat_stride(op);
            if (tiles_[i] >= 0) {
                char* tile = memory + tiles_[i];
                if (held[i] != from) turn(op, from, tile, width);
                held[i] = from;
                from = tile;
                steps[2 * i] = width * op.itemsize;
            }
            bases[i] = const_cast<char*>(from) + repeat * repeat_stride(op);
        }
        for (size_t k = 0; k < roots; k++) steps[2 * (count + k) + 1] = width * folds_[k].size;
        for (Py_ssize_t done = 0; done < n; done += together_) {
            Py_ssize_t now = std::min(together_, n - done), results = now * width;
            std::vector<FoldCounter> counters;
            counters.reserve(roots);
            for (size_t k = 0; k < roots; k++) counters.push_back({folds_[k], memory + stacks_[k], results});
            for (Py_ssize_t b = 0; b < rows_; b += kBlock) {
                for (size_t i = 0; i < count; i++)
                    at[i] = bases[i] + done * repeat_stride(operands_[i]) + b * steps[2 * i];
                for (size_t k = 0; k < roots; k++) at[count + k] = counters[k].push();
                Py_ssize_t dimensions[] = {width, std::min(kBlock, rows_ - b), now};
                loop_(at.data(), dimensions, steps.data(), nullptr);
                for (FoldCounter& counter : counters) counter.joined();
            }
            std::vector<char*> totals(roots);
            for (size_t k = 0; k < roots; k++) {
                totals[k] = counters[k].total();
                if (totals_[k] < 0) continue;
                convert_results(folds_[k], totals[k], memory + totals_[k], results);
                totals[k] = memory + totals_[k];
            }
            Py_ssize_t result = ((lead * repeats_ + repeat + done) * columns_) + first;
            if (width == columns_) {
                close(memory, args, totals, result, 0, results);
                continue;
            }
            for (Py_ssize_t r = 0; r < now; r++) close(memory, args, totals, result + r * columns_, r * width, width);
        }
    }

    // Results [first, first + n), whose totals begin with number `from`.
    void close(char* memory, char** args, const std::vector<char*>& totals, Py_ssize_t first, Py_ssize_t from,
               Py_ssize_t n) const {
        char* own[128];
        for (size_t k = 0; k < sources_.size(); k++) {
            int source = sources_[k];
            own[k] = source >= 0 ? args[source] : totals[-1 - source] + (from - first) * folds_[-1 - source].result_size;
        }
        closing_->run_in(memory + closing_at_, own, first, first + n);
    }

    std::vector<Py_ssize_t> lead_;
    Py_ssize_t repeats_, columns_, rows_, bands_, band_, together_;
    std::vector<ColumnSpec> operands_;
    LoopFn loop_;
    std::vector<Fold> folds_;
    std::vector<int> sources_;
    const Elementwise* closing_;
    std::vector<Py_ssize_t> tiles_, stacks_, totals_;
    Py_ssize_t closing_at_ = 0, memory_ = 0;
    bool turns_ = false;
};

inline int run_columns(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    return static_cast<const Columns*>(params)->run(args, begin, end);
}

inline Made make_columns(const std::vector<Py_ssize_t>& lead, Py_ssize_t repeats, Py_ssize_t columns, Py_ssize_t rows,
                         const std::vector<ColumnSpec>& operands, LoopFn loop, const std::vector<Fold>& folds,
                         const std::vector<int>& sources, const std::vector<Py_ssize_t>& registers,
                         const std::vector<OperandSpec>& closing_inputs,
                         const std::vector<OperandSpec>& closing_outputs, const std::vector<StepSpec>& closing_steps) {
    std::vector<Py_ssize_t> results{repeats * columns};
    for (Py_ssize_t extent : lead) results[0] *= extent;
    auto* closing = new Elementwise(results, closing_inputs, closing_outputs, registers, closing_steps);
    auto* kernel = new Columns(lead, repeats, columns, rows, operands, loop, folds, sources, closing);
    Made made;
    made.run = run_columns;
    made.params = kernel;
    made.drop = drop_params<Columns>;
    made.extent = kernel->units();
    made.grain = kernel->grain_units();
    return made;
}

}  // namespace la
