// Functions of one element in generated CUDA C++, for loops that have no program in the scalar dialect: NumPy's of integers,
// of complex numbers, and those that CUDA's own library computes. codegen/emit_cuda_scalars.py says which have the CPU's bits.
#pragma once
#include "cuda_numbers.hpp"

namespace la {

// ---- integers

template <class T> LA_DEVICE T whole_floor_divide(T a, T b) {
    if (b == 0) return 0;
    if constexpr (is_signed_type<T>) {
        if (b == -1) return (T)(0 - (typename Unsigned<T>::type)a);  // the smallest number wraps
        T q = (T)(a / b);
        return (T)(a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q);
    } else {
        return (T)(a / b);
    }
}
template <class T> LA_DEVICE T whole_fmod(T a, T b) {
    if (b == 0) return 0;
    if constexpr (is_signed_type<T>)
        if (b == -1) return 0;
    return (T)(a % b);
}
template <class T> LA_DEVICE T whole_remainder(T a, T b) {
    T r = whole_fmod(a, b);
    if constexpr (is_signed_type<T>)
        if (r != 0 && (r < 0) != (b < 0)) return (T)(r + b);
    return r;
}
template <class T> LA_DEVICE T whole_power(T a, T b) {
    if constexpr (is_signed_type<T>)
        if (b < 0) return 0;
    uint64_t base = (uint64_t)a, result = 1, n = (uint64_t)b;
    for (; n; n >>= 1) {
        if (n & 1) result *= base;
        base *= base;
    }
    return (T)result;
}
template <class T> LA_DEVICE uint64_t magnitude(T a) {
    if constexpr (is_signed_type<T>)
        if (a < 0) return 0 - (uint64_t)(int64_t)a;
    return (uint64_t)a;
}
template <class T> LA_DEVICE T whole_gcd(T a, T b) {
    uint64_t x = magnitude(a), y = magnitude(b);
    while (y) {
        uint64_t r = x % y;
        x = y;
        y = r;
    }
    return (T)x;
}
template <class T> LA_DEVICE T whole_lcm(T a, T b) {
    uint64_t g = magnitude(whole_gcd(a, b));
    return g ? (T)(magnitude(a) / g * magnitude(b)) : (T)0;
}
template <class T> LA_DEVICE T whole_reciprocal(T a) {
    // Of 0, what x86-64 has for an infinite number.
    if (a == 0) return is_signed_type<T> && sizeof(T) > 2 ? (T)((uint64_t)1 << (8 * sizeof(T) - 1)) : (T)0;
    return a == 1 || (is_signed_type<T> && a == (T)-1) ? a : (T)0;
}
template <class T> LA_DEVICE uint8_t whole_count(T a) { return (uint8_t)__popcll(magnitude(a)); }
template <class T> LA_DEVICE T same(T a) { return a; }
template <class T> LA_DEVICE bool never(T) { return false; }
template <class T> LA_DEVICE bool always(T) { return true; }

// int64 and uint64
template <class A, class B> LA_DEVICE int order(A a, B b) {
    if constexpr (is_signed_type<A>) {
        if (a < 0) return -1;
    } else if (b < 0) {
        return 1;
    }
    return (uint64_t)a < (uint64_t)b ? -1 : (uint64_t)a > (uint64_t)b;
}

// ---- real numbers, as NumPy's npy_divmod has them

template <class T> LA_DEVICE T real_divmod(T a, T b, T& rest) {
    rest = fmod(a, b);
    if (b == 0) return a / b;
    T quotient = (a - rest) / b;
    if (rest != 0) {
        if ((b < 0) != (rest < 0)) {
            rest += b;
            quotient -= (T)1;
        }
    } else {
        rest = copysign((T)0, b);
    }
    if (quotient == 0) return copysign((T)0, a / b);
    T whole = floor(quotient);
    return quotient - whole > (T)0.5 ? whole + (T)1 : whole;
}
template <class T> LA_DEVICE T real_floor_divide(T a, T b) {
    T rest;
    return real_divmod(a, b, rest);
}
template <class T> LA_DEVICE T real_remainder(T a, T b) {
    T rest;
    real_divmod(a, b, rest);
    return rest;
}
template <class T> LA_DEVICE T heaviside(T x, T h) { return x != x ? x : x == 0 ? h : x < 0 ? (T)0 : (T)1; }
LA_DEVICE float next(float x, float y) { return nextafterf(x, y); }
LA_DEVICE double next(double x, double y) { return nextafter(x, y); }
template <class T> LA_DEVICE T spacing(T x) {
    if (x - x != 0) return not_a_number(x);  // infinite or NaN
    return next(x, x < 0 ? (T)-1 / (T)0 : (T)1 / (T)0) - x;
}
template <class T> LA_DEVICE T scaled_by(T x, int64_t n) {
    return ldexp(x, (int)(n > 100000 ? 100000 : n < -100000 ? -100000 : n));
}
// The two results of frexp; of what is not finite, itself and 0.
template <class T> LA_DEVICE T mantissa_of(T x) {
    int e;
    return x - x != 0 ? x : frexp(x, &e);
}
template <class T> LA_DEVICE int32_t exponent_of(T x) {
    int e = 0;
    if (x - x == 0) frexp(x, &e);
    return e;
}
template <class T> LA_DEVICE T log_of_sum(T x, T y) {
    if (x == y) return x + (T)0.693147180559945309417232121458176568;
    T d = x - y;
    return d > 0 ? x + log1p(exp(-d)) : d <= 0 ? y + log1p(exp(d)) : d;
}
template <class T> LA_DEVICE T log2_of_sum(T x, T y) {
    constexpr T log2e = (T)1.442695040888963407359924681001892137;
    if (x == y) return x + (T)1;
    T d = x - y;
    return d > 0 ? x + log2e * log1p(exp2(-d)) : d <= 0 ? y + log2e * log1p(exp2(d)) : d;
}
template <class T> LA_DEVICE T log_gamma(T x) { return x - x != 0 && x < 0 ? x : lgamma(x); }  // -infinity as SciPy
template <class T> LA_DEVICE T logit(T x) {  // as SciPy: without cancellation near 1/2
    if (x < (T)0.3 || x > (T)0.65) return log(x / ((T)1 - x));
    T s = (T)2 * (x - (T)0.5);
    return log1p(s) - log1p(-s);
}

// ---- complex numbers: the steps of NumPy's loops

template <class R> LA_DEVICE Complex<R> add(Complex<R> a, Complex<R> b) { return {a.re + b.re, a.im + b.im}; }
template <class R> LA_DEVICE Complex<R> subtract(Complex<R> a, Complex<R> b) { return {a.re - b.re, a.im - b.im}; }
// Fused, as NumPy's vector loops are where the processor has such an instruction.
LA_DEVICE float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
LA_DEVICE double fused(double a, double b, double c) { return __fma_rn(a, b, c); }
template <class R> LA_DEVICE Complex<R> multiply(Complex<R> a, Complex<R> b) {
    return {fused(a.re, b.re, -(a.im * b.im)), fused(a.re, b.im, a.im * b.re)};
}
template <class R> LA_DEVICE Complex<R> divide(Complex<R> a, Complex<R> b) {  // Smith 1962
    R re = fabs(b.re), im = fabs(b.im);
    if (re >= im) {
        if (re == 0 && im == 0) return {a.re / re, a.im / re};
        R ratio = b.im / b.re, scale = (R)1 / (b.re + b.im * ratio);
        return {(a.re + a.im * ratio) * scale, (a.im - a.re * ratio) * scale};
    }
    R ratio = b.re / b.im, scale = (R)1 / (b.im + b.re * ratio);
    return {(a.re * ratio + a.im) * scale, (a.im * ratio - a.re) * scale};
}
template <class R> LA_DEVICE Complex<R> reciprocal(Complex<R> a) {
    if (fabs(a.im) <= fabs(a.re)) {
        R ratio = a.im / a.re, d = a.re + a.im * ratio;
        return {(R)1 / d, -ratio / d};
    }
    R ratio = a.re / a.im, d = a.re * ratio + a.im;
    return {ratio / d, (R)-1 / d};
}
template <class R> LA_DEVICE Complex<R> negative(Complex<R> a) { return {-a.re, -a.im}; }
template <class R> LA_DEVICE Complex<R> conjugate(Complex<R> a) { return {a.re, -a.im}; }
template <class R> LA_DEVICE Complex<R> square(Complex<R> a) { return multiply(a, a); }
template <class R> LA_DEVICE Complex<R> rint(Complex<R> a) { return {::rint(a.re), ::rint(a.im)}; }
template <class R> LA_DEVICE R absolute(Complex<R> a) { return hypot(a.re, a.im); }
template <class R> LA_DEVICE Complex<R> sign(Complex<R> a) {
    R m = absolute(a);
    if (m != m) return {not_a_number(m), not_a_number(m)};
    if (m - m != 0) {  // infinite
        bool re = fabs(a.re) == m, im = fabs(a.im) == m;
        if (re && im) return {not_a_number(m), not_a_number(m)};
        return re ? Complex<R>{copysign((R)1, a.re), 0} : Complex<R>{0, copysign((R)1, a.im)};
    }
    if (m == 0) return {0, 0};
    return {a.re / m, a.im / m};
}
template <class R> LA_DEVICE bool isnan(Complex<R> a) { return a.re != a.re || a.im != a.im; }
template <class R> LA_DEVICE bool isfinite(Complex<R> a) { return a.re - a.re == 0 && a.im - a.im == 0; }
template <class R> LA_DEVICE bool isinf(Complex<R> a) {
    return (a.re == a.re && a.re - a.re != 0) || (a.im == a.im && a.im - a.im != 0);
}
template <class R> LA_DEVICE bool truth(Complex<R> a) { return a.re != 0 || a.im != 0; }
template <class R> LA_DEVICE bool equal(Complex<R> a, Complex<R> b) { return a.re == b.re && a.im == b.im; }
template <class R> LA_DEVICE bool less(Complex<R> a, Complex<R> b) {
    return (a.re < b.re && a.im == a.im && b.im == b.im) || (a.re == b.re && a.im < b.im);
}
template <class R> LA_DEVICE bool less_equal(Complex<R> a, Complex<R> b) {
    return (a.re < b.re && a.im == a.im && b.im == b.im) || (a.re == b.re && a.im <= b.im);
}
template <class R> LA_DEVICE Complex<R> maximum(Complex<R> a, Complex<R> b) { return isnan(a) || less_equal(b, a) ? a : b; }
template <class R> LA_DEVICE Complex<R> minimum(Complex<R> a, Complex<R> b) { return isnan(a) || less_equal(a, b) ? a : b; }
template <class R> LA_DEVICE Complex<R> fmax(Complex<R> a, Complex<R> b) { return isnan(b) || less_equal(b, a) ? a : b; }
template <class R> LA_DEVICE Complex<R> fmin(Complex<R> a, Complex<R> b) { return isnan(b) || less_equal(a, b) ? a : b; }

// Functions of complex numbers, by the usual formulas: the error is small beside the result's magnitude, not in each part.
template <class R> LA_DEVICE Complex<R> complex_exp(Complex<R> a) {
    const R m = exp(a.re);
    if (m == 0 || a.im == 0) return {m, m == 0 ? (R)0 : a.im};
    return {m * cos(a.im), m * sin(a.im)};
}
template <class R> LA_DEVICE Complex<R> complex_expm1(Complex<R> a) {
    const R half = sin(a.im / 2);
    return {expm1(a.re) * cos(a.im) - 2 * half * half, exp(a.re) * sin(a.im)};
}
template <class R> LA_DEVICE Complex<R> complex_log(Complex<R> a) {
    const R x = fabs(a.re), y = fabs(a.im), high = x < y ? y : x, low = x < y ? x : y;
    R m;
    // Near the unit circle the logarithm of a rounded magnitude would be all error.
    if (high > (R)0.5 && high < (R)2) m = log1p((high - 1) * (high + 1) + low * low) / 2;
    else m = log(hypot(a.re, a.im));
    return {m, atan2(a.im, a.re)};
}
template <class R> LA_DEVICE Complex<R> complex_log1p(Complex<R> a) {
    return {log(hypot(a.re + 1, a.im)), atan2(a.im, a.re + 1)};
}
template <class R> LA_DEVICE Complex<R> times(Complex<R> a, R b) { return {a.re * b, a.im * b}; }
template <class R> LA_DEVICE Complex<R> complex_log2(Complex<R> a) {
    return times(complex_log(a), (R)1.442695040888963407359924681001892137);
}
template <class R> LA_DEVICE Complex<R> complex_log10(Complex<R> a) {
    return times(complex_log(a), (R)0.434294481903251827651128918916605082);
}
template <class R> LA_DEVICE Complex<R> complex_exp2(Complex<R> a) {
    return complex_exp(times(a, (R)0.693147180559945309417232121458176568));
}
template <class R> LA_DEVICE Complex<R> complex_sqrt(Complex<R> a) {
    if (a.re == 0 && a.im == 0) return {0, a.im};
    if (a.im != a.im || a.re != a.re || a.im - a.im != 0 || a.re - a.re != 0) {  // as C99, annex G
        if (a.im == a.im && a.im - a.im != 0) return {fabs(a.im), a.im};
        if (a.re != a.re) return {a.re, not_a_number(a.re)};
        if (a.re - a.re == 0) return {not_a_number(a.re), not_a_number(a.re)};
        return a.re < 0 ? Complex<R>{fabs(a.im - a.im), copysign(a.re, a.im)} : Complex<R>{a.re, copysign(a.im - a.im, a.im)};
    }
    const R t = sqrt((fabs(a.re) / 2 + hypot(a.re / 2, a.im / 2)));
    return a.re >= 0 ? Complex<R>{t, a.im / (2 * t)} : Complex<R>{fabs(a.im) / (2 * t), copysign(t, a.im)};
}
template <class R> LA_DEVICE Complex<R> complex_sinh(Complex<R> a) { return {sinh(a.re) * cos(a.im), cosh(a.re) * sin(a.im)}; }
template <class R> LA_DEVICE Complex<R> complex_cosh(Complex<R> a) { return {cosh(a.re) * cos(a.im), sinh(a.re) * sin(a.im)}; }
template <class R> LA_DEVICE Complex<R> complex_sin(Complex<R> a) { return {sin(a.re) * cosh(a.im), cos(a.re) * sinh(a.im)}; }
template <class R> LA_DEVICE Complex<R> complex_cos(Complex<R> a) { return {cos(a.re) * cosh(a.im), -(sin(a.re) * sinh(a.im))}; }
template <class R> LA_DEVICE Complex<R> complex_tanh(Complex<R> a) {  // Kahan 1987, "Branch cuts"
    if (fabs(a.re) > (R)20) {
        const R e = exp(-fabs(a.re)), small = e * e;
        return {copysign((R)1, a.re), small == 0 ? (R)0 : 4 * sin(a.im) * cos(a.im) * small};
    }
    const R t = tan(a.im), beta = 1 + t * t, s = sinh(a.re), rho = sqrt(1 + s * s), d = 1 + beta * s * s;
    return {beta * rho * s / d, t / d};
}
template <class R> LA_DEVICE Complex<R> complex_tan(Complex<R> a) {
    const Complex<R> w = complex_tanh(Complex<R>{-a.im, a.re});
    return {w.im, -w.re};
}
template <class R> LA_DEVICE Complex<R> plain_multiply(Complex<R> a, Complex<R> b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <class R> LA_DEVICE Complex<R> complex_power(Complex<R> a, Complex<R> b) {
    if (b.re == 0 && b.im == 0) return {1, 0};
    if (a.re == 0 && a.im == 0) {
        if (b.re > 0 && b.im == 0) return {0, 0};
        return {not_a_number(a.re), not_a_number(a.re)};
    }
    if (b.im == 0 && fabs(b.re) < 100 && b.re == (R)(int)b.re) {
        Complex<R> result{1, 0};
        for (int n = (int)fabs(b.re); n; n >>= 1) {
            if (n & 1) result = plain_multiply(result, a);
            a = plain_multiply(a, a);
        }
        return b.re < 0 ? divide(Complex<R>{1, 0}, result) : result;
    }
    return complex_exp(plain_multiply(b, complex_log(a)));
}

}  // namespace la
