"""What C files are made of beside their layers: products of a row, tanh and exp, symbols.

STEM is the prefix of all names.  tanh and exp are the approximations of ``kernels/cpu/activations.py``: of additions,
multiplications and one division, so that every compiler and processor has the same bits of them, and loops over units
become loops over vectors, which calls of a library's tanhf are not.
"""

PARTS = """\
/* a, or what is nearest to it and no larger than the number with these bits: without a branch, for vectors' sake. */
static inline float STEM_within(float a, uint32_t limit) {
    union { float number; uint32_t bits; } b;
    uint32_t size;
    b.number = a;
    size = b.bits & 0x7fffffffu;
    size = size < limit ? size : limit;
    b.bits = (b.bits & 0x80000000u) | size;
    return b.number;
}

/* value, or NaN where a is NaN. */
static inline float STEM_or_nan(float value, float a) {
    union { float number; uint32_t bits; } v, from;
    v.number = value;
    from.number = a;
    v.bits |= (from.bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : 0u;
    return v.number;
}

/* 2^n in power and exp(r) - 1, where a = n ln 2 + r: n is left in the lowest bits by a number that has no fraction. */
static inline float STEM_parts(float a, float *power) {
    union { float number; uint32_t bits; } moved;
    float n, r, s;
    moved.number = a * 1.44269504f + 12582912.0f;
    n = moved.number - 12582912.0f;
    moved.bits = (moved.bits << 23) + 0x3f800000u;
    *power = moved.number;
    r = a - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    s = 0.00138888889f + r * 0.000198412698f;
    s = 0.00833333333f + r * s;
    s = 0.0416666667f + r * s;
    s = 0.166666667f + r * s;
    s = 0.5f + r * s;
    return r + r * r * s;
}
"""
TANH = """\
/* E / (E + 2) with E = exp(2 a) - 1, which is as exact near 0 as elsewhere. */
static inline float STEM_tanh(float a) {
    const float b = STEM_within(a, 0x41133333u); /* 9.2, from where on it is 1 */
    float power, e;
    const float rest = STEM_parts(b + b, &power);
    e = power * rest + (power - 1.0f);
    return STEM_or_nan(e / (e + 2.0f), a);
}
"""
EXP = """\
/* exp(a / 2) squared, so that infinity and 0 are reached. */
static inline float STEM_exp(float a) {
    float power, root;
    const float rest = STEM_parts(STEM_within(a * 0.5f, 0x42ae0000u), &power); /* 87 */
    root = power + power * rest;
    return STEM_or_nan(root * root, a);
}
"""
PRODUCT = """\
/* y[0 .. N] += x[0 .. K] W, lines of W one after another: four of them at a time. */
static void STEM_product(int K, int N, const float *restrict x, const float *restrict W, float *restrict y) {
    int k;
    for (k = 0; k + 4 <= K; k += 4, W += 4 * (long)N) {
        const float a = x[k], b = x[k + 1], c = x[k + 2], d = x[k + 3];
        for (int j = 0; j < N; j++)
            y[j] = y[j] + a * W[j] + b * W[N + j] + c * W[2 * N + j] + d * W[3 * N + j];
    }
    for (; k < K; k++, W += N) {
        const float a = x[k];
        for (int j = 0; j < N; j++) y[j] = y[j] + a * W[j];
    }
}
"""
NARROW = """\
/* The same with W of int8 and a scale for each column: 64 columns at a time are added up before they are scaled. */
static void STEM_product8(int K, int N, const float *restrict x, const int8_t *restrict W,
                          const float *restrict scale, float *restrict y) {
    int k;
    for (int from = 0; from < N; from += 64) {
        const int columns = N - from < 64 ? N - from : 64;
        const int8_t *w = W + from;
        float sum[64];
        for (int j = 0; j < 64; j++) sum[j] = 0.0f;
        for (k = 0; k + 4 <= K; k += 4, w += 4 * (long)N) {
            const float a = x[k], b = x[k + 1], c = x[k + 2], d = x[k + 3];
            for (int j = 0; j < columns; j++)
                sum[j] = sum[j] + a * (float)w[j] + b * (float)w[N + j] + c * (float)w[2 * N + j]
                         + d * (float)w[3 * N + j];
        }
        for (; k < K; k++, w += N) {
            const float a = x[k];
            for (int j = 0; j < columns; j++) sum[j] = sum[j] + a * (float)w[j];
        }
        for (int j = 0; j < columns; j++) y[from + j] = y[from + j] + sum[j] * scale[from + j];
    }
}
"""
PICKED = """\
/* y += a line of a matrix. */
static void STEM_pick(int N, const float *restrict line, float *restrict y) {
    for (int j = 0; j < N; j++) y[j] = y[j] + line[j];
}
"""
PICKED_NARROW = """\
/* The same of int8; apart is 0 where all of the line has one scale. */
static void STEM_pick8(int N, const int8_t *restrict line, const float *restrict scale, int apart, float *restrict y) {
    for (int j = 0; j < N; j++) y[j] = y[j] + (float)line[j] * scale[j * apart];
}
"""
SYMBOLS = """\
int STEM_encode(uint32_t code) {
    for (int j = 1; j < UPPER_SYMBOLS; j++)
        if (STEM_symbols[j] == code) return j;
    return 0;
}

int STEM_decode(int index, char *utf8) {
    const uint32_t code = STEM_symbols[index];
    if (code < 0x80u) {
        utf8[0] = (char)code;
        return 1;
    }
    if (code < 0x800u) {
        utf8[0] = (char)(0xc0u | (code >> 6));
        utf8[1] = (char)(0x80u | (code & 0x3fu));
        return 2;
    }
    if (code < 0x10000u) {
        utf8[0] = (char)(0xe0u | (code >> 12));
        utf8[1] = (char)(0x80u | ((code >> 6) & 0x3fu));
        utf8[2] = (char)(0x80u | (code & 0x3fu));
        return 3;
    }
    utf8[0] = (char)(0xf0u | (code >> 18));
    utf8[1] = (char)(0x80u | ((code >> 12) & 0x3fu));
    utf8[2] = (char)(0x80u | ((code >> 6) & 0x3fu));
    utf8[3] = (char)(0x80u | (code & 0x3fu));
    return 4;
}
"""
DRAW = """\
int STEM_draw(const float *y, float temperature, uint32_t *seed) {
    int best = 1;
    float total = 0.0f, left;
    for (int j = 2; j < UPPER_OUTPUTS; j++)
        if (y[j] > y[best]) best = j;
    if (!(temperature > 0.0f)) return best;
    for (int j = 1; j < UPPER_OUTPUTS; j++) total += STEM_exp((y[j] - y[best]) / temperature);
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    left = (float)(*seed >> 8) / 16777216.0f * total;
    for (int j = 1; j < UPPER_OUTPUTS; j++) {
        left -= STEM_exp((y[j] - y[best]) / temperature);
        if (left < 0.0f) return j;
    }
    return best;
}
"""
