/* STREAM's triad, a = b + s*c, for memory_triad.py: the reference that torch's kernel is held against.
   Once with ordinary stores, which first read the line that they write (write-allocate), and once
   with non-temporal stores, which do not. n is a multiple of 16; arrays are aligned to 64 bytes. */
#include <stddef.h>

void triad(float *restrict a, const float *restrict b, const float *restrict c, float s, ptrdiff_t n, int threads)
{
#pragma omp parallel for simd schedule(static) num_threads(threads)
    for (ptrdiff_t i = 0; i < n; i++)
        a[i] = b[i] + s * c[i];
}

#if defined(__x86_64__)
#include <immintrin.h>

int has_non_temporal(void) { return 1; }

void triad_non_temporal(float *restrict a, const float *restrict b, const float *restrict c, float s, ptrdiff_t n,
                        int threads)
{
    const __m128 scale = _mm_set1_ps(s);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (ptrdiff_t i = 0; i < n; i += 16)
        for (ptrdiff_t j = i; j < i + 16; j += 4)
            _mm_stream_ps(a + j, _mm_add_ps(_mm_load_ps(b + j), _mm_mul_ps(scale, _mm_load_ps(c + j))));
    _mm_sfence();
}
#else
int has_non_temporal(void) { return 0; }
#endif
