// A program that writes a part of a new buffer, and copies what lies around the part from an old one.
//
// The first output is the part: its runs along the last axis are contiguous and ascend in memory. Whoever computes a run
// copies the bytes between it and the run before, so that one piece of the work stays in one place.
#pragma once
#include "driver.hpp"

namespace la {

class Around : protected Elementwise {
public:
    // Operands: those of the program, then the old buffer and the new one, `nbytes` each.
    Around(const std::vector<Py_ssize_t>& shape, const std::vector<OperandSpec>& inputs,
           const std::vector<OperandSpec>& outputs, const std::vector<Py_ssize_t>& registers,
           const std::vector<StepSpec>& steps, Py_ssize_t nbytes)
        : Elementwise(shape, inputs, outputs, registers, steps), nbytes_(nbytes) {
        for (const OperandSpec& spec : inputs) args_ += !spec.index;
        args_ += (int)outputs.size();
    }
    using Elementwise::extent;
    using Elementwise::grain;

    int run_around(char** args, Py_ssize_t begin, Py_ssize_t end) const {
        if (int code = run(args, begin, end)) return code;
        const Operand& part = out_[0];
        const char* old = args[args_];
        char* base = args[args_ + 1];
        Py_ssize_t length = part.axes.back().extent;
        char* first = args[part.arg];
        Py_ssize_t k = (begin + length - 1) / length, last = (end + length - 1) / length;
        char* from = k ? first + row_offset(part, k - 1) + length * part.itemsize : base;
        for (; k < last; k++) {
            char* to = first + row_offset(part, k);
            std::memcpy(from, old + (from - base), (size_t)(to - from));
            from = to + length * part.itemsize;
        }
        if (end == extent) std::memcpy(from, old + (from - base), (size_t)(base + nbytes_ - from));
        return 0;
    }

private:
    Py_ssize_t nbytes_;
    int args_ = 0;
};

inline int run_around(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    return static_cast<const Around*>(params)->run_around(args, begin, end);
}

inline Made make_around(const std::vector<Py_ssize_t>& shape, const std::vector<OperandSpec>& inputs,
                        const std::vector<OperandSpec>& outputs, const std::vector<Py_ssize_t>& registers,
                        const std::vector<StepSpec>& steps, Py_ssize_t nbytes) {
    auto* kernel = new Around(shape, inputs, outputs, registers, steps, nbytes);
    Made made;
    made.run = run_around;
    made.params = kernel;
    made.drop = drop_params<Around>;
    made.extent = kernel->extent;
    made.grain = kernel->grain;
    return made;
}

}  // namespace la
