// What Verilator's FST writer needs of LZ4, for machines without its headers: a greedy compressor
// writing the LZ4 block format (lz4_Block_format.md: tokens, literals, 16-bit offsets).
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

inline int LZ4_compressBound(int n) { return n + n / 255 + 16; }

namespace setun_lz4 {

inline uint8_t *length(uint8_t *p, size_t n) {
    for (; n >= 255; n -= 255) *p++ = 255;
    *p++ = uint8_t(n);
    return p;
}

// One sequence; `match` 0 means the last one, which has literals only.
inline uint8_t *sequence(uint8_t *p, const uint8_t *literals, size_t n, size_t match, size_t offset) {
    const size_t extra = match ? match - 4 : 0;
    *p++ = uint8_t((n < 15 ? n : 15) << 4 | (extra < 15 ? extra : 15));
    if (n >= 15) p = length(p, n - 15);
    if (n) std::memcpy(p, literals, n);
    p += n;
    if (!match) return p;
    *p++ = uint8_t(offset);
    *p++ = uint8_t(offset >> 8);
    return extra >= 15 ? length(p, extra - 15) : p;
}

}  // namespace setun_lz4

inline int LZ4_compress_default(const char *in, char *out, int size, int capacity) {
    if (capacity < LZ4_compressBound(size)) return 0;
    const uint8_t *s = reinterpret_cast<const uint8_t *>(in);
    uint8_t *p = reinterpret_cast<uint8_t *>(out);
    const size_t n = size_t(size);
    std::vector<uint32_t> seen(1u << 12, UINT32_MAX);
    size_t anchor = 0, i = 0;
    // The format ends with five literals and starts no match in the last twelve bytes.
    while (i + 12 < n) {
        uint32_t word, other = 0;
        std::memcpy(&word, s + i, 4);
        uint32_t &slot = seen[(word * 2654435761u) >> 20];
        const uint32_t at = slot;
        slot = uint32_t(i);
        if (at != UINT32_MAX) std::memcpy(&other, s + at, 4);
        if (at == UINT32_MAX || i - at > 65535 || other != word) {
            i++;
            continue;
        }
        size_t match = 4;
        while (i + match < n - 5 && s[at + match] == s[i + match]) match++;
        p = setun_lz4::sequence(p, s + anchor, i - anchor, match, i - at);
        i += match;
        anchor = i;
    }
    p = setun_lz4::sequence(p, s + anchor, n - anchor, 0, 0);
    return int(p - reinterpret_cast<uint8_t *>(out));
}
