// Clipping and optimisers over the flat vectors, without the host: whether a step is taken is decided on the device.
typedef long long i64;

// The threads' sums, added up pairwise: the total, to each of them.  Blocks have THREADS threads.
constexpr int THREADS = 256;

__device__ inline double total(double sum) {
    __shared__ double sums[THREADS];
    int k = threadIdx.x;
    sums[k] = sum;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (k < half) sums[k] += sums[k + half];
        __syncthreads();
    }
    return sums[0];
}

// The sum of squares of each block's share of g, to sums, one number a block.
template <typename F> __global__ void squares(const F* g, i64 n, double* sums) {
    double sum = 0;
    for (i64 k = i64(blockIdx.x) * THREADS + threadIdx.x; k < n; k += i64(gridDim.x) * THREADS) {
        double x = g[k];
        sum += x * x;
    }
    sum = total(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// From those sums the gradients' norm, and the scale that clips it to ``clip`` (0: none); -1 where it is not finite,
// which stops the update.  ``first`` keeps the number of the first step that was stopped; before, it is 0.
__global__ void verdict(const double* sums, i64 n, double clip, i64 step, double* norm, double* scale, i64* first) {
    double sum = 0;
    for (i64 k = threadIdx.x; k < n; k += THREADS) sum += sums[k];
    sum = total(sum);
    if (threadIdx.x) return;
    bool finite = sum <= 1.7976931348623157e308;  // false for infinity and NaN
    *norm = sqrt(sum);
    *scale = !finite ? -1 : clip > 0 && *norm > clip ? clip / *norm : 1;
    if (!finite && *first == 0) *first = step;
}

// w -= rate scale g;  g = 0.
template <typename F> __global__ void descend(F* w, F* g, i64 n, double rate, const double* scale) {
    i64 k = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k >= n) return;
    if (*scale >= 0) w[k] -= F(rate * *scale) * g[k];
    g[k] = 0;
}

// Adam's step and g = 0: decay times w is added to the gradient, w is multiplied by shrink; rate is lr / (1 - beta1ᵗ),
// correction 1 / (1 - beta2ᵗ).
template <typename F>
__global__ void adam(F* w, F* g, F* m, F* v, i64 n, double decay, double shrink, double beta1, double beta2, double rate,
                     double correction, double eps, const double* scale) {
    i64 k = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k >= n) return;
    if (*scale >= 0) {
        F gradient = g[k] * F(*scale) + w[k] * F(decay);
        m[k] = m[k] * F(beta1) + F(1 - beta1) * gradient;
        v[k] = v[k] * F(beta2) + F(1 - beta2) * gradient * gradient;
        w[k] = w[k] * F(shrink) - F(rate) * m[k] / (sqrt(v[k] * F(correction)) + F(eps));
    }
    g[k] = 0;
}
