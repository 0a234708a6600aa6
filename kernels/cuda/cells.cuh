// The equations of minirnn/cells.py on one unit of one row: twins with the same names, order and numbers.
//
// A cell's step finds p, the input's part of its gates' arguments, in G, gates H apart, and q = h U in Q likewise; it
// leaves the gates in G.  Its unstep writes dp and dq, the gradients of p and q, and the direct path to dh and dc.
// Every pointer is to a row; j is the unit.  Both read all that they need of a unit before they write any of it, so
// c1 may be c, and h1 may be h.
//
//     v       the bias of the GRU's product u = h U_n + bn
//     h, c    the state before the step;  h1, c1  the state after
//     m       tanh(c1)
//     dh1     what comes to h1 from the layer above and from the step after
//
// S is what numbers are stored as, F what they are computed in: float for __half, which is for inference alone.
#pragma once
#ifdef __CUDACC__
#include <cuda_fp16.h>
#endif

typedef long long i64;

template <typename F> __device__ inline F sigmoid(F a) { return F(0.5) * tanh(F(0.5) * a) + F(0.5); }

struct TanhCell {
    static constexpr int gates = 1;

    template <typename F, typename S>
    __device__ static void step(S* G, const S* Q, const S* v, S* u, const S* h, const S* c, S* h1, S* c1, S* m, i64 H, i64 j) {
        h1[j] = S(tanh(F(G[j]) + F(Q[j])));  // (1) (2)
    }

    template <typename F, typename S>
    __device__ static void unstep(const S* G, const S* u, const S* h, const S* h1, const S* c, const S* m, F dh1, S* dh,
                                  S* dc, S* dp, S* dq, i64 H, i64 j) {
        F h1_ = F(h1[j]);
        dp[j] = S(dh1 * (1 - h1_ * h1_));  // (2) (1)
        dh[j] = S(F(0));
    }
};

struct ReluCell {
    static constexpr int gates = 1;

    template <typename F, typename S>
    __device__ static void step(S* G, const S* Q, const S* v, S* u, const S* h, const S* c, S* h1, S* c1, S* m, i64 H, i64 j) {
        F a = F(G[j]) + F(Q[j]);          // (1)
        h1[j] = S(a <= 0 ? F(0) : a);     // (2): NaN is passed on
        G[j] = S(a);
    }

    template <typename F, typename S>
    __device__ static void unstep(const S* G, const S* u, const S* h, const S* h1, const S* c, const S* m, F dh1, S* dh,
                                  S* dc, S* dp, S* dq, i64 H, i64 j) {
        dp[j] = S(F(G[j]) <= 0 ? F(0) : dh1);  // (2) (1)
        dh[j] = S(F(0));
    }
};

struct GRUCell {
    static constexpr int gates = 3;

    template <typename F, typename S>
    __device__ static void step(S* G, const S* Q, const S* v, S* u, const S* h, const S* c, S* h1, S* c1, S* m, i64 H, i64 j) {
        F r = sigmoid(F(G[j]) + F(Q[j]));             // (1)
        F z = sigmoid(F(G[H + j]) + F(Q[H + j]));     // (2)
        F u_ = F(Q[2 * H + j]) + F(v[j]);             // (3)
        F n = tanh(F(G[2 * H + j]) + r * u_);         // (4)
        h1[j] = S((1 - z) * n + z * F(h[j]));         // (5)
        u[j] = S(u_);
        G[j] = S(r);
        G[H + j] = S(z);
        G[2 * H + j] = S(n);
    }

    template <typename F, typename S>
    __device__ static void unstep(const S* G, const S* u, const S* h, const S* h1, const S* c, const S* m, F dh1, S* dh,
                                  S* dc, S* dp, S* dq, i64 H, i64 j) {
        F r = F(G[j]), z = F(G[H + j]), n = F(G[2 * H + j]);
        F dn = dh1 * (1 - z);            // (5)
        F dz = dh1 * (F(h[j]) - n);      // (5)
        dh[j] = S(dh1 * z);              // (5)
        F da_n = dn * (1 - n * n);       // (4)
        F dr = da_n * F(u[j]);           // (4)
        F du = da_n * r;                 // (4)
        F da_z = dz * z * (1 - z);       // (2)
        F da_r = dr * r * (1 - r);       // (1)
        dp[j] = dq[j] = S(da_r);
        dp[H + j] = dq[H + j] = S(da_z);
        dp[2 * H + j] = S(da_n);
        dq[2 * H + j] = S(du);           // (3)
    }
};

struct LSTMCell {
    static constexpr int gates = 4;

    template <typename F, typename S>
    __device__ static void step(S* G, const S* Q, const S* v, S* u, const S* h, const S* c, S* h1, S* c1, S* m, i64 H, i64 j) {
        F i = sigmoid(F(G[j]) + F(Q[j]));                  // (1)
        F f = sigmoid(F(G[H + j]) + F(Q[H + j]));          // (2)
        F g = tanh(F(G[2 * H + j]) + F(Q[2 * H + j]));     // (3)
        F o = sigmoid(F(G[3 * H + j]) + F(Q[3 * H + j]));  // (4)
        F c1_ = f * F(c[j]) + i * g;                       // (5)
        F m_ = tanh(c1_);                                  // (6)
        G[j] = S(i);
        G[H + j] = S(f);
        G[2 * H + j] = S(g);
        G[3 * H + j] = S(o);
        c1[j] = S(c1_);
        m[j] = S(m_);
        h1[j] = S(o * m_);                                 // (7)
    }

    template <typename F, typename S>
    __device__ static void unstep(const S* G, const S* u, const S* h, const S* h1, const S* c, const S* m, F dh1, S* dh,
                                  S* dc, S* dp, S* dq, i64 H, i64 j) {
        F i = F(G[j]), f = F(G[H + j]), g = F(G[2 * H + j]), o = F(G[3 * H + j]), m_ = F(m[j]);
        F d_o = dh1 * m_;                            // (7)
        F dm = dh1 * o;                              // (7)
        F dc1 = F(dc[j]) + dm * (1 - m_ * m_);       // (6)
        F di = dc1 * g;                              // (5)
        F dg = dc1 * i;                              // (5)
        F df = dc1 * F(c[j]);                        // (5)
        dc[j] = S(dc1 * f);                          // (5)
        dp[3 * H + j] = S(d_o * o * (1 - o));        // (4)
        dp[2 * H + j] = S(dg * (1 - g * g));         // (3)
        dp[H + j] = S(df * f * (1 - f));             // (2)
        dp[j] = S(di * i * (1 - i));                 // (1)
        dh[j] = S(F(0));
    }
};
