// CUDA's words with a meaning on a processor: the same sources run here, one thread for each of a block's, blocks one
// after another.
//
// What this does not show: races between blocks, CUDA's own libm, denormals flushed to zero.  With SERIAL a block's
// threads run one after another, for kernels without barriers: the same numbers, a thousand times as fast.
#pragma once
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __shared__ static  // shared by a block's threads, and used again by the next block
using __half = _Float16;
using std::exp;
using std::sqrt;
using std::tanh;

struct Place {
    unsigned x = 0;
};
inline thread_local Place threadIdx, blockIdx;
inline Place blockDim, gridDim;

#ifdef SERIAL
template <class Kernel> void on_cpu(unsigned blocks, unsigned threads, Kernel kernel) {
    gridDim.x = blocks, blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++) kernel();
}
#else
inline std::barrier<>* everyone;
inline void __syncthreads() { everyone->arrive_and_wait(); }

template <class Kernel> void on_cpu(unsigned blocks, unsigned threads, Kernel kernel) {
    gridDim.x = blocks, blockDim.x = threads;
    std::barrier<> meeting(threads), next(threads);  // within the kernel, and between two blocks
    everyone = &meeting;
    std::vector<std::thread> team;
    for (unsigned k = 0; k < threads; k++)
        team.emplace_back([=, &next] {
            threadIdx.x = k;
            for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++) {
                kernel();
                next.arrive_and_wait();  // the next block begins when all of this one have ended
            }
        });
    for (auto& thread : team) thread.join();
}
#endif
