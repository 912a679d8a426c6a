// A program that updates a part of a buffer in place from views shifted against the part, several times a sweep.
//
// Stage k of `stages` reads what stage k - 1 has left of the buffer, the first one what was there. All stages write the
// same part, whose elements ascend in memory in C order, with rows that are contiguous; what lies between its rows is
// never written. A sweep goes through the buffer once. Window k holds what stage k reads: a copy of the bytes around
// where the stage stands, so a stage may run as soon as the one before it is far enough ahead, and the last one writes
// the buffer itself, behind the first one, which has copied what is still read.
//
// A unit is a range of the part's elements. What a unit reads beyond its own elements may have been overwritten by its
// neighbours: `save` copies those bytes, at every border between two units, before any unit runs. Earlier stages
// compute there what the later ones read: some elements are computed on both sides of a border, to the same bits.
#pragma once
#include "driver.hpp"

namespace la {

constexpr int kStages = 16;              // at most
constexpr Py_ssize_t kPiece = 4096;     // elements that a stage computes at a time, about: a few rows
constexpr Py_ssize_t kLongLine = 16384;  // elements: longer rows are cut
constexpr int kRoom = 4;                // pieces for which a window has room before what is still read is moved

class Rolling : protected Elementwise {
public:
    // Operands: for each stage the inputs that have strides and the outputs, of which the first is the part; then the
    // buffer, of `nbytes`; then, if there is more than one unit, `halo_bytes()` of working storage. `rolled` are the
    // inputs, counted as operands, that are views of the buffer with the part's shape and strides.
    Rolling(const std::vector<Py_ssize_t>& shape, const std::vector<OperandSpec>& inputs,
            const std::vector<OperandSpec>& outputs, const std::vector<Py_ssize_t>& registers,
            const std::vector<StepSpec>& steps, const std::vector<int>& rolled, int stages, Py_ssize_t nbytes,
            Py_ssize_t units)
        : Elementwise(shape, inputs, outputs, registers, steps), rolled_(rolled), stages_(stages), nbytes_(nbytes) {
        part_ = out_[0].axes;
        size_ = out_[0].itemsize;
        target_ = out_[0].arg;
        count_ = target_ + (int)outputs.size();
        length_ = part_.back().extent;
        rows_ = extent / length_;
        slack_ = nbytes - address(extent - 1) - size_;
        piece_ = length_ <= kLongLine ? length_ * std::max<Py_ssize_t>(kPiece / length_, 1) : kPiece;
        Py_ssize_t bytes = piece_ * size_, inner = 1;
        for (size_t d = part_.size(); d-- > 1;) {
            inner *= part_[d].extent;
            bytes += ((piece_ + inner - 1) / inner + 1) * (part_[d - 1].stride - part_[d].extent * part_[d].stride);
        }
        capacity_ = padded(slack_ + 2 * size_ + (1 + kRoom) * bytes + 192);
        per_unit_ = std::max<Py_ssize_t>((extent + units - 1) / units, 1);
        if (per_unit_ > length_) per_unit_ = (per_unit_ + length_ - 1) / length_ * length_;
        units_ = (extent + per_unit_ - 1) / per_unit_;
        border_ = padded(stages_ * (slack_ + 2 * size_));
    }
    Py_ssize_t units() const { return units_; }
    Py_ssize_t halo_bytes() const { return (units_ - 1) * border_; }

    // Units [begin, end).
    int run(char** args, Py_ssize_t begin, Py_ssize_t end) const;

    // The borders behind units [begin, end).
    int save(char** args, Py_ssize_t begin, Py_ssize_t end) const {
        Reach reach[kStages];
        if (!in_one_place(args, reach)) return 0;
        const char* part = args[target_];
        char* halo = args[stages_ * count_ + 1];
        Py_ssize_t none[kStages];
        for (Py_ssize_t u = begin; u < std::min(end, units_ - 1); u++) {
            Py_ssize_t border = (u + 1) * per_unit_;
            Py_ssize_t from = first_read(reach, stages_, border, none);
            Py_ssize_t to = std::max(address(border), last_read(reach, stages_, border));
            std::memcpy(halo + u * border_, part + from, (size_t)(to - from));
        }
        return 0;
    }

private:
    // How far a stage's reads lie before and behind what it writes, in bytes.
    struct Reach { Py_ssize_t low, high; };
    // What lies at addresses [origin, top), unless windows are rings: see Sweep. As `origin` is a multiple of 64, the
    // part's first element begins a cache line.
    struct Window {
        char* memory;
        Py_ssize_t origin, top;
        char* at(Py_ssize_t address) const { return memory + (address - origin); }
    };
    struct Sweep;

    bool in_one_place(char** args, Reach* reach) const {
        bool same = true;
        for (int k = 0; k < stages_; k++) {
            char** own = args + k * count_;
            same = same && own[target_] == args[target_];
            reach[k] = {0, 0};
            for (int i : rolled_) {
                reach[k].low = std::min<Py_ssize_t>(reach[k].low, own[i] - own[target_]);
                reach[k].high = std::max<Py_ssize_t>(reach[k].high, own[i] - own[target_]);
            }
        }
        return same;
    }

    // Where an element of the part lies, counted from its first.
    Py_ssize_t address(Py_ssize_t element) const {
        return row_offset(out_[0], element / length_) + element % length_ * size_;
    }
    // How many elements begin before an address.
    Py_ssize_t before(Py_ssize_t address) const {
        Py_ssize_t found = 0, inner = extent;
        for (size_t d = 0; d + 1 < part_.size(); d++) {
            if (address <= 0) return found;
            inner /= part_[d].extent;
            Py_ssize_t whole = address / part_[d].stride;
            if (whole >= part_[d].extent) return found + part_[d].extent * inner;
            found += whole * inner;
            address -= whole * part_[d].stride;
        }
        return address <= 0 ? found : found + std::min(length_, (address + size_ - 1) / size_);
    }

    // Where each stage begins for the last one to begin at `element`; the first address that is read.
    Py_ssize_t first_read(const Reach* reach, int stages, Py_ssize_t element, Py_ssize_t* begins) const {
        Py_ssize_t at = 0;
        for (int k = stages - 1; k >= 0; k--) {
            begins[k] = element;
            at = address(element) + reach[k].low;
            element = before(at - size_ + 1);
        }
        return at;
    }
    // Behind the last address that is read for the last stage to end before `element`.
    Py_ssize_t last_read(const Reach* reach, int stages, Py_ssize_t element) const {
        Py_ssize_t at = 0;
        for (int k = stages - 1; k >= 0; k--) {
            at = address(element - 1) + size_ + reach[k].high;
            element = before(at);
        }
        return at;
    }

    std::vector<int> rolled_;
    std::vector<Axis> part_;
    int stages_, target_ = 0, count_ = 0;
    Py_ssize_t nbytes_, size_ = 0, length_ = 1, rows_ = 1, slack_ = 0, piece_ = 1, capacity_ = 0;
    Py_ssize_t per_unit_ = 1, units_ = 1, border_ = 0;
};

// One sweep of some stages over a range of elements. Addresses are counted from the part's first element.
struct Rolling::Sweep {
    const Rolling& k;
    char** args;
    const Reach* reach;
    int stages;
    char* part;                     // the part's first element
    const char* halo;
    Py_ssize_t first, last;         // addresses: where the buffer begins and ends,
    Py_ssize_t low, high;           // and what this sweep alone writes;
    const char *below, *above;      // copies of what lies outside of that, as if each began at address 0
    char** pointers;
    Py_ssize_t piece, ring, origin = 0;  // elements computed at a time; see `as_ring`
    Py_ssize_t near = 0;            // how far those views reach ahead that do not skip the rest of the row
    bool straight = false;          // whether the others are read where they are
    Window windows[kStages];
    Frame frames[kStages];
    Py_ssize_t done[kStages];       // by stage: elements before this one are computed
    Py_ssize_t most = 0;            // address behind all that is ever read

    Sweep(const Rolling& kernel, char** operands, char** memory, const Reach* reaches, int count)
        : k(kernel), args(operands), reach(reaches), stages(count), part(operands[kernel.target_]),
          halo(kernel.units_ > 1 ? memory[1] : nullptr) {
        first = memory[0] - part;
        last = first + kernel.nbytes_;
        ring = as_ring();
        piece = ring && stages == 1 ? k.length_ : k.piece_;
    }

    int run(Py_ssize_t begin, Py_ssize_t end) {
        Py_ssize_t states = stages * k.state_bytes_, rolls = stages * k.capacity_;
        Py_ssize_t table = padded(stages * k.count_ * (Py_ssize_t)sizeof(char*));
        bool shared = same_numbers();
        char* memory = scratch(states + rolls + table + (shared ? 1 : stages) * k.scratch_bytes_);
        if (!memory) return kNoMemory;
        place(begin, end, memory + states);
        pointers = (char**)(memory + states + rolls);
        char* registers = memory + states + rolls + table;
        for (int s = 0; s < stages; s++) {
            char** own = pointers + s * k.count_;
            std::memcpy(own, args + s * k.count_, (size_t)k.count_ * sizeof(char*));
            if (ring) point(s, done[s] / k.length_);
            else point(s);
            k.attach(frames[s], memory + s * k.state_bytes_, registers + (shared ? 0 : s * k.scratch_bytes_), own);
            if (s == 0 || !shared) k.fill(frames[s], k.piece_);
        }
        advance(stages - 1, end);
        return 0;
    }

    // Whether one register may hold a scalar for all stages.
    bool same_numbers() const {
        for (const Operand& op : k.in_)
            for (int s = 1; op.kind == kScalar && s < stages; s++)
                if (std::memcmp(args[op.arg], args[s * k.count_ + op.arg], (size_t)op.itemsize)) return false;
        return true;
    }

    // Where views are shifted by whole rows and a little, windows are rings of rows, the first of which begins at
    // `origin`, and nothing in them has to move. How many bytes a ring has, or 0.
    Py_ssize_t as_ring() {
        if (k.part_.size() != 2 || k.length_ < kLongRow || k.piece_ % k.length_) return 0;
        Py_ssize_t stride = k.part_[0].stride, before = 0, behind = 0;
        if (stride % k.size_ || (uintptr_t)part & k.out_[0].unaligned) return 0;
        for (int s = 0; s < stages; s++)
            for (int i : k.rolled_) {
                Py_ssize_t shift = args[s * k.count_ + i] - part;
                Py_ssize_t rows = (shift + (shift < 0 ? -stride : stride) / 2) / stride;
                before = std::min(before, shift - rows * stride);
                behind = std::max(behind, shift - rows * stride);
                if (shift < k.length_ * k.size_) near = std::max(near, shift);
            }
        if (behind - before + k.length_ * k.size_ > stride) return 0;
        origin = before;
        Py_ssize_t rows = (stages == 1 ? 1 : k.piece_ / k.length_) + (k.slack_ + 2 * k.size_ + stride - 1) / stride + 2;
        return rows * stride + 64 <= k.capacity_ ? rows * stride : 0;
    }

    // Windows at the beginning of a range of elements.
    void place(Py_ssize_t begin, Py_ssize_t end, char* memory) {
        Py_ssize_t none[kStages];
        k.first_read(reach, stages, begin, done);
        low = begin ? k.address(begin) : first;
        high = end < k.extent ? k.address(end) : last;
        if (begin) below = halo + (begin / k.per_unit_ - 1) * k.border_ - k.first_read(reach, stages, begin, none);
        if (end < k.extent) above = halo + (end / k.per_unit_ - 1) * k.border_ - k.first_read(reach, stages, end, none);
        for (int s = 0; s < stages; s++) {
            Py_ssize_t at = k.address(done[s]) + reach[s].low;
            windows[s] = {memory + s * k.capacity_, (at - k.size_) & ~(Py_ssize_t)63, at};
            most = std::max(most, k.address(k.extent - 1) + k.size_ + reach[s].high);
        }
        if (!ring) return;
        Py_ssize_t stride = k.part_[0].stride, from = windows[0].origin - origin;
        origin += (from < 0 ? from - stride + 1 : from) / stride * stride;
        for (int s = 0; s < stages; s++) windows[s].memory += origin & 63;
    }

    // Let the operands of a stage be where its windows are now.
    void point(int s) {
        char **own = pointers + s * k.count_, **given = args + s * k.count_;
        for (int i : k.rolled_) own[i] = windows[s].at(given[i] - part);
        if (s + 1 < stages) own[k.target_] = windows[s + 1].at(0);
    }

    // The same for one row, where windows are rings.
    void point(int s, Py_ssize_t row) {
        char **own = pointers + s * k.count_, **given = args + s * k.count_;
        Py_ssize_t stride = k.part_[0].stride, at = (row * stride - origin) % ring;
        for (int i : k.rolled_) {
            Py_ssize_t here = at + (given[i] - part);
            here += here < 0 ? ring : here >= ring ? -ring : 0;
            bool ahead = straight && given[i] - part >= k.length_ * k.size_;
            own[i] = ahead ? given[i] : windows[s].memory + here - row * stride;
        }
        if (s + 1 < stages) own[k.target_] = windows[s + 1].memory + at - row * stride;
    }

    void compute(int s, Py_ssize_t to) {
        if (!ring) {
            point(s);
            return k.flat(frames[s], done[s], to);
        }
        for (Py_ssize_t at = done[s], next; at < to; at = next) {
            next = std::min(to, (at / k.length_ + 1) * k.length_);
            point(s, at / k.length_);
            k.flat(frames[s], at, next);
        }
    }

    // Copy bytes of the buffer, or of what has its addresses, to a window.
    void put(Window& w, const char* from, Py_ssize_t at, Py_ssize_t end) {
        if (!ring) {
            std::memcpy(w.at(at), from + at, (size_t)(end - at));
            return;
        }
        while (at < end) {
            Py_ssize_t here = (at - origin) % ring, n = std::min(end - at, ring - here);
            std::memcpy(w.memory + here, from + at, (size_t)n);
            at += n;
        }
    }

    void advance(int s, Py_ssize_t element) {
        while (done[s] < element) {
            Py_ssize_t to = std::min(element, done[s] + piece);
            Py_ssize_t end = k.address(to - 1) + k.size_ + reach[s].high;
            if (s) {
                advance(s - 1, k.before(end));
                keep_between(s, end);
            } else {
                // What lies ahead of all that is written is read where it is.
                straight = ring && stages == 1 && end <= high;
                load(straight ? k.address(to - 1) + k.size_ + near : end);
            }
            if (s + 1 < stages) keep_between(s + 1, to < k.extent ? k.address(to) : most);
            compute(s, to);
            done[s] = to;
        }
    }

    // A window with room up to an address: what is still read moves to its front where there is none.
    Window& with_room(int s, Py_ssize_t end) {
        Window& w = windows[s];
        if (!ring && end - w.origin > k.capacity_) {
            Py_ssize_t origin = (k.address(done[s]) + reach[s].low - k.size_) & ~(Py_ssize_t)63;
            if (w.top > origin) std::memmove(w.memory, w.at(origin), (size_t)(w.top - origin));
            w.origin = origin;
            w.top = std::max(w.top, origin);
        }
        return w;
    }

    // Copy what the first stage reads.
    void load(Py_ssize_t end) {
        if (end <= windows[0].top) return;
        Window& w = with_room(0, end);
        auto copy = [&](const char* from, Py_ssize_t stop) {
            if (stop <= w.top) return;
            put(w, from, w.top, stop);
            w.top = stop;
        };
        copy(below, std::min(end, low));
        copy(part, std::min(end, high));
        copy(above, end);
    }

    // Copy what lies between the part's rows.
    void keep_between(int s, Py_ssize_t end) {
        if (end <= windows[s].top) return;
        Window& w = with_room(s, end);
        Py_ssize_t at = w.top, begun = k.before(at), row = begun ? (begun - 1) / k.length_ + 1 : 0;
        Py_ssize_t bytes = k.length_ * k.size_;
        if (row) at = std::max(at, row_offset(k.out_[0], row - 1) + bytes);
        for (; at < end; row++) {
            Py_ssize_t start = row < k.rows_ ? row_offset(k.out_[0], row) : last, stop = std::min(start, end);
            if (stop > at) put(w, part, at, stop);
            at = start + bytes;
        }
        w.top = end;
    }
};

inline int Rolling::run(char** args, Py_ssize_t begin, Py_ssize_t end) const {
    if (begin >= end) return 0;
    Reach reach[kStages];
    if (in_one_place(args, reach))
        return Sweep(*this, args, args + stages_ * count_, reach, stages_)
            .run(begin * per_unit_, std::min(extent, end * per_unit_));
    // Stages that write different parts: one after the other.
    for (int k = 0; begin == 0 && k < stages_; k++)
        if (int code = Sweep(*this, args + k * count_, args + stages_ * count_, reach + k, 1).run(0, extent))
            return code;
    return 0;
}

inline int run_rolling(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    return static_cast<const Rolling*>(params)->run(args, begin, end);
}
inline int save_borders(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    return static_cast<const Rolling*>(params)->save(args, begin, end);
}

inline Made make_rolling(const std::vector<Py_ssize_t>& shape, const std::vector<OperandSpec>& inputs,
                         const std::vector<OperandSpec>& outputs, const std::vector<Py_ssize_t>& registers,
                         const std::vector<StepSpec>& steps, const std::vector<int>& rolled, int stages,
                         Py_ssize_t nbytes, Py_ssize_t units) {
    auto* kernel = new Rolling(shape, inputs, outputs, registers, steps, rolled, stages, nbytes, units);
    Made made;
    made.run = run_rolling;
    made.params = kernel;
    made.drop = drop_params<Rolling>;
    made.extent = kernel->units();
    made.grain = 1;
    made.scratch_bytes = kernel->halo_bytes();
    return made;
}

// What has to run before the units of a kernel made above, with the same operands; `params` stay the other one's.
inline Made make_borders(const void* params) {
    Made made;
    made.run = save_borders;
    made.params = const_cast<void*>(params);
    made.extent = static_cast<const Rolling*>(params)->units() - 1;
    made.grain = 1;
    made.scratch_bytes = static_cast<const Rolling*>(params)->halo_bytes();
    return made;
}

}  // namespace la
