// t2 = exp((x0 - max(x0))); t2 / sum(t2)
struct la_max_subtract_exp_e289675bd21f_parameters { char* at[2]; la::int64_t n[9]; };
extern "C" __global__ void __launch_bounds__(256)
la_max_subtract_exp_e289675bd21f(const __grid_constant__ la_max_subtract_exp_e289675bd21f_parameters p) {
    using namespace la;
    typedef int32_t Index;
    constexpr int U = 16, G = 32;
    const int lane = threadIdx.x % G;
    const int64_t units = p.n[0];
    for (int64_t unit = (int64_t)blockIdx.x * (256 / G); unit < units; unit += (int64_t)gridDim.x * (256 / G)) {
        const bool live = unit + threadIdx.x / G < units;
        const Index row = live ? (Index)(unit + threadIdx.x / G) : 0;
        const Index begin = 0, end = (Index)p.n[1];
        char* a0 = p.at[0];
        {
            a0 += (int64_t)(row) * p.n[3];
        }
        char* a1 = p.at[1];
        {
            a1 += (int64_t)(row) * p.n[5];
        }
        float x0[U];
        float h3[U];
        float f0{};
        {
            const Index from = begin, n = end - begin;
            #pragma unroll
            for (int u = 0; u < U; u++) {
                const Index j = from + lane + G * u;
                x0[u] = float{};
                if (live && j < from + n) {
                    x0[u] = ((float*)a0)[j];
                }
            }
            #pragma unroll
            for (int u = 0; u < U; u++) {
                const Index j = from + lane + G * u;
                if (live && j < from + n) {
                    f0 = u == 0 ? x0[u] : Extreme<true>::join(f0, x0[u]);
                }
            }
        }
        const int used0 = p.n[1] < G ? (int)p.n[1] : G;
        const float t0 = from_first(fold_lanes<Extreme<true>, G>(f0, lane, used0), G);
        const float w1 = (float)t0;
        float f1{};
        {
            const Index from = begin, n = end - begin;
            #pragma unroll
            for (int u = 0; u < U; u++) {
                const Index j = from + lane + G * u;
                if (live && j < from + n) {
                    const float v2 = e_subtract_float32_float32_float32(x0[u], w1);
                    const float v3 = e_exp_float32_float32(v2);
                    h3[u] = v3;
                    f1 = u == 0 ? v3 : Add::join(f1, v3);
                }
            }
        }
        const int used1 = p.n[1] < G ? (int)p.n[1] : G;
        const float t1 = from_first(fold_lanes<Add, G>(f1, lane, used1), G);
        const float w4 = (float)t1;
        {
            const Index from = begin, n = end - begin;
            #pragma unroll
            for (int u = 0; u < U; u++) {
                const Index j = from + lane + G * u;
                if (live && j < from + n) {
                    const float v5 = e_divide_float32_float32_float32(h3[u], w4);
                    {
                        ((float*)a1)[j] = v5;
                    }
                }
            }
        }
    }
}
