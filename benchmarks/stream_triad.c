/* STREAM's triad, a = b + s*c, for memory_triad.py: the reference that our loops are held against. Once with
   ordinary stores, which first read the line that they write (write-allocate), and once with non-temporal
   stores, which do not. Each thread keeps its part over all sweeps. n is a multiple of 16; arrays are
   aligned to 64 bytes. */
#include <stddef.h>

void triad(float *restrict a, const float *restrict b, const float *restrict c, float s, ptrdiff_t n, int sweeps,
           int threads)
{
#pragma omp parallel num_threads(threads)
    for (int sweep = 0; sweep < sweeps; sweep++) {
#pragma omp for simd schedule(static) nowait
        for (ptrdiff_t i = 0; i < n; i++)
            a[i] = b[i] + s * c[i];
        __asm__ volatile("" ::: "memory");
    }
}

#if defined(__x86_64__)
#include <immintrin.h>

int has_non_temporal(void) { return 1; }

#if defined(__AVX__)
#define WIDTH 8
#define STORE(i) _mm256_stream_ps(a + i, _mm256_add_ps(_mm256_load_ps(b + i), _mm256_mul_ps(scale, _mm256_load_ps(c + i))))
#define SCALE __m256 scale = _mm256_set1_ps(s)
#else
#define WIDTH 4
#define STORE(i) _mm_stream_ps(a + i, _mm_add_ps(_mm_load_ps(b + i), _mm_mul_ps(scale, _mm_load_ps(c + i))))
#define SCALE __m128 scale = _mm_set1_ps(s)
#endif

void triad_non_temporal(float *restrict a, const float *restrict b, const float *restrict c, float s, ptrdiff_t n,
                        int sweeps, int threads)
{
    const SCALE;
#pragma omp parallel num_threads(threads)
    for (int sweep = 0; sweep < sweeps; sweep++) {
#pragma omp for schedule(static) nowait
        for (ptrdiff_t i = 0; i < n; i += 16)
            for (ptrdiff_t j = i; j < i + 16; j += WIDTH)
                STORE(j);
        _mm_sfence();
    }
}
#else
int has_non_temporal(void) { return 0; }
#endif
