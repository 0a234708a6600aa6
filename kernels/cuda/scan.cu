// One step of a stage of a layer's cell, forward and backward: what stands between one product and the next.
//
// A block has one row's units, or some of them: block k has row k / tiles, and there the units from
// (k % tiles) blockDim.x on.  Of a cell that needs whole rows it has all, and thread k treats every blockDim.x-th unit
// from k on.  Arrays are contiguous, rows of the batch one after another, but for h, h1 and dy, whose rows are ldh, ld1
// and ldy entries apart, and z, whose rows are row_z apart, 0 where one serves all; of several arrays of one kind each
// begins ``line`` entries after the one before.  A row whose length is at most t has ended: it keeps its state, and its
// gradient passes straight through.  Pointers that a cell does not need are null.
//
// H is how many units there are, R how wide h is: H, or another number.  What is as wide as h is ``narrow``.  S is what
// numbers are stored as, F what they are computed in: float for __half, which is for inference alone.  A Stage comes
// with the cell's equations, which ``emitting.py`` writes.

__device__ inline bool ended(const i64* lengths, i64 row, i64 t) { return lengths && t >= lengths[row]; }

// G holds P = x W + b on entry, of all gates, and what is saved on return.  Q is the stage's product, for each of its
// gates, or (R) with a matrix of its own, which becomes h1.
template <class Stage, typename S, typename F>
__global__ void step(S* G, const S* Q, const S* v, const S* h, i64 ldh, const S* c, i64 line_c, const i64* lengths,
                     i64 t, i64 H, i64 R, i64 tiles, S* u, S* h1, i64 ld1, S* c1, S* a, S* m, i64 line, S* s, i64 line_s,
                     const S* z, i64 row_z, i64 line_z, const S* w, i64 line_w) {
    i64 row = blockIdx.x / tiles, first = blockIdx.x % tiles * blockDim.x + threadIdx.x, own = row * H;
    i64 next = tiles * blockDim.x, columns = Stage::matrix ? R : Stage::gates * H;
    if (ended(lengths, row, t)) {
        for (i64 j = first; j < R && Stage::last; j += next) h1[row * ld1 + j] = h[row * ldh + j];
        for (i64 j = first; j < H; j += next) {
            for (int k = 0; k < Stage::others && Stage::last; k++) c1[k * line + own + j] = c[k * line_c + own + j];
            if (!Stage::last) a[Stage::number * line + own + j] = S(F(0));
        }
        return;
    }
    Row<S> r = {G + own * Stage::all, Q + row * columns, v, u + own * Stage::apart, h + row * ldh, h1 + row * ld1, c + own,
                c1 + own, a + own, m + own, s + row, z + row * row_z, w, H, line_c, line, line_s, line_z, line_w};
    if (Stage::whole_rows || first < H) Stage::template step<F>(r, first);
    for (i64 j = first; j < R; j += next) Stage::template narrow_step<F>(r, j);
}

// back is what the first stage's product sends back to h from the step after; dh is what that step sent directly, and on
// return what this one does; so is dc.  f is what goes from stage to stage, and through what the product of the stage
// after sends back.  dq is what is multiplied with U where that is not dp, or with a matrix; dw is of per-unit weights.
template <class Stage, typename S, typename F>
__global__ void unstep(S* G, S* u, const S* h, i64 ldh, S* h1, i64 ld1, const S* c, i64 line_c, S* c1, S* a, S* m,
                       i64 line, S* s, i64 line_s, const S* z, i64 row_z, i64 line_z, const S* w, i64 line_w, const S* dy,
                       i64 ldy, const S* back, const S* through, const i64* lengths, i64 t, i64 H, i64 R, i64 tiles,
                       S* dh, S* dc, S* f, i64 line_d, S* dp, S* dq, S* dw) {
    i64 row = blockIdx.x / tiles, first = blockIdx.x % tiles * blockDim.x + threadIdx.x, own = row * H;
    i64 next = tiles * blockDim.x, columns = Stage::apart ? Stage::all * H : R;
    Back<S> b = {dy ? dy + row * ldy : dy, back ? back + row * R : back, through + own, dh + row * R, dc + own, f + own,
                 dp + own * Stage::all, dq + row * columns, dw + own * Stage::units, line_d};
    if (ended(lengths, row, t)) {
        if constexpr (Stage::last) {
            for (i64 j = first; j < R; j += next) {
                dh[row * R + j] = S(arrived<F>(b, j));
                if (Stage::matrix) b.dq[j] = S(F(0));
            }
            for (i64 j = first; j < H; j += next) {
                for (int k = 0; k < Stage::all; k++) b.dp[k * H + j] = S(F(0));
                for (int k = 0; k < Stage::all && Stage::apart; k++) b.dq[k * H + j] = S(F(0));
                for (int k = 0; k < Stage::units; k++) b.dw[k * H + j] = S(F(0));
            }
        }
        return;
    }
    Row<S> r = {G + own * Stage::all, nullptr, nullptr, u + own * Stage::apart, h + row * ldh, h1 + row * ld1, c + own,
                c1 + own, a + own, m + own, s + row, z + row * row_z, w, H, line_c, line, line_s, line_z, line_w};
    if (Stage::whole_rows || first < H) Stage::template unstep<F>(r, b, first);
    for (i64 j = first; j < R; j += next) Stage::template narrow_unstep<F>(r, b, j);
}
