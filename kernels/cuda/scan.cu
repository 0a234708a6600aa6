// One step of a layer, forward and backward: what stands between one product with U and the next.
//
// A block has one row's units, or some of them: block k has row k / tiles, and there the units from
// (k % tiles) blockDim.x on.  Rows of h, h1 and dy are ldh, ld1 and ldy entries apart; all other arrays are contiguous,
// rows of the batch one after another.  A row whose length is at most t has ended: it keeps its state, and its gradient
// passes straight through.  Pointers that a cell does not need are null.
#include "cells.cuh"

__device__ inline bool ended(const i64* lengths, i64 row, i64 t) { return lengths && t >= lengths[row]; }

// G holds P = x W + b on entry and the gates on return; Q is h U.
template <class Cell, typename S, typename F>
__global__ void step(S* G, const S* Q, const S* v, const S* h, i64 ldh, const S* c, const i64* lengths, i64 t, i64 H,
                     i64 tiles, S* u, S* h1, i64 ld1, S* c1, S* m) {
    i64 row = blockIdx.x / tiles, j = blockIdx.x % tiles * blockDim.x + threadIdx.x, own = row * H;
    if (j >= H) return;
    if (ended(lengths, row, t)) {
        h1[row * ld1 + j] = h[row * ldh + j];
        if (c) c1[own + j] = c[own + j];
        return;
    }
    Cell::template step<F>(G + own * Cell::gates, Q + own * Cell::gates, v, u + own, h + row * ldh, c + own,
                           h1 + row * ld1, c1 + own, m + own, H, j);
}

// back is what the product with U sends back to h from the step after; dh is what that step sent directly, and on
// return what this one does; so is dc.  dq is dp for a cell to which p and q matter only as their sum.
template <class Cell, typename S, typename F>
__global__ void unstep(const S* G, const S* u, const S* h, i64 ldh, const S* h1, i64 ld1, const S* c, const S* m,
                       const S* dy, i64 ldy, const S* back, const i64* lengths, i64 t, i64 H, i64 tiles, S* dh, S* dc,
                       S* dp, S* dq) {
    i64 row = blockIdx.x / tiles, j = blockIdx.x % tiles * blockDim.x + threadIdx.x, own = row * H;
    if (j >= H) return;
    F dh1 = F(dh[own + j]);
    if (back) dh1 += F(back[own + j]);
    if (dy) dh1 += F(dy[row * ldy + j]);
    if (ended(lengths, row, t)) {
        dh[own + j] = S(dh1);
        for (int k = 0; k < Cell::gates; k++) {
            i64 at = own * Cell::gates + k * H + j;
            dp[at] = dq[at] = S(F(0));
        }
        return;
    }
    Cell::template unstep<F>(G + own * Cell::gates, u + own, h + row * ldh, h1 + row * ld1, c + own, m + own, dh1,
                             dh + own, dc + own, dp + own * Cell::gates, dq + own * Cell::gates, H, j);
}
