// Conversions between all pairs of element types, with the values of numpy's astype.
#pragma once
#include <cfenv>

#include "simd.hpp"

namespace la {

template <class To, class From> struct Cast {
    LA_INLINE void run(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void*) {
        Py_ssize_t n = dimensions[0];
        const char* in = args[0];
        char* out = args[1];
        uint16_t overflow = 0;
        auto element = [&](const char* x, char* y) __attribute__((always_inline)) {
            From from;
            __builtin_memcpy(&from, x, sizeof from);
            To to = convert<To>(from);
            if constexpr (std::is_same_v<To, Half> && !is_half<From> && !is_bool<From>) {
                if constexpr (std::is_floating_point_v<From>)
                    overflow |= (uint16_t)(((to.bits & 0x7fff) == 0x7c00) & __builtin_isfinite(from));
                else if constexpr (std::is_integral_v<From>)
                    overflow |= (uint16_t)((to.bits & 0x7fff) == 0x7c00);
            }
            __builtin_memcpy(y, &to, sizeof to);
        };
        if (steps[0] == (Py_ssize_t)sizeof(From) && steps[1] == (Py_ssize_t)sizeof(To)) {
            for (Py_ssize_t i = 0; i < n; i++) element(in + i * (Py_ssize_t)sizeof(From), out + i * (Py_ssize_t)sizeof(To));
        } else {
            for (Py_ssize_t i = 0; i < n; i++) element(in + i * steps[0], out + i * steps[1]);
        }
        // The software rounding sets no flags; numpy warns about overflow in such a cast.
        if (overflow) std::feraiseexcept(FE_OVERFLOW);
    }
};

// Integers of one width have one loop where the sign does not matter, which keeps the build short.
constexpr bool is_integer(int type) { return type >= kI8 && type <= kU64; }
constexpr int unsigned_of(int type) { return type <= kI64 ? type + (kU8 - kI8) : type; }

inline LoopFn find_cast(int from, int to) {
    if (is_integer(from) && is_integer(to)) {
        if (type_size(to) <= type_size(from)) from = unsigned_of(from);
        to = unsigned_of(to);
    }
    return with_type(from, [to](auto f) {
        return with_type(to, [](auto t) -> LoopFn {
            using To = decltype(t);
            using From = decltype(f);
            constexpr bool integers = std::is_integral_v<To> && std::is_integral_v<From>;
            if constexpr (integers && (std::is_signed_v<To> || (std::is_signed_v<From> && sizeof(To) <= sizeof(From))))
                return nullptr;
            else if constexpr (is_complex<To>::value || is_complex<From>::value) return plain_loop<Cast<To, From>>();
            else return pick_loop<Cast<To, From>>();
        });
    });
}

}  // namespace la
