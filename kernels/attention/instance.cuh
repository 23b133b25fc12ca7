// The kernels of one dtype and one padded head size. kernel.toml says which there are; the build
// writes a source file for each, so that they compile side by side:
//
//   #define MMEDGE_NUMBER Fp16                                       (or Bf16)
//   #define MMEDGE_HEAD 64                                           (the padded head size)
//   #define MMEDGE_FORWARD_TILES(TILE) TILE(128, 64) TILE(64, 64)    (the preferred one first)
//   #define MMEDGE_DECODE_TILES(TILE) TILE(16, 64) TILE(64, 64)
//   #include "instance.cuh"
#include "forward.cuh"
#include "variants.cuh"

namespace {

template <int ROWS, int KEYS, bool SPLIT>
constexpr Variant make_variant() {
  using Plain = TileShape<MMEDGE_NUMBER, MMEDGE_HEAD, ROWS, KEYS, false, SPLIT>;
  using Biased = TileShape<MMEDGE_NUMBER, MMEDGE_HEAD, ROWS, KEYS, true, SPLIT>;
  static_assert(ROWS % 16 == 0 && KEYS % 16 == 0, "a tile is made of 16x16 fragments");
  return {SPLIT, ROWS, KEYS, Plain::THREADS, Plain::SHARED_BYTES, attend<Plain>, attend<Biased>};
}

#define FORWARD_VARIANT(rows, keys) make_variant<rows, keys, false>(),
#define DECODE_VARIANT(rows, keys) make_variant<rows, keys, true>(),

const Variant variants[] = {MMEDGE_FORWARD_TILES(FORWARD_VARIANT)
                                MMEDGE_DECODE_TILES(DECODE_VARIANT)};

enum { Fp16_DTYPE = MMEDGE_FP16, Bf16_DTYPE = MMEDGE_BF16 };
#define JOIN_TEXT(a, b) a##b
#define JOIN(a, b) JOIN_TEXT(a, b)

Instance instance = {JOIN(MMEDGE_NUMBER, _DTYPE),
                     MMEDGE_HEAD,
                     variants,
                     static_cast<int>(sizeof variants / sizeof variants[0]),
                     merge_parts<MMEDGE_NUMBER>,
                     nullptr};
const Registration registration(instance);

}  // namespace
