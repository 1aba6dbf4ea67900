// Stands in for the lz4 library where Verilator's FST writer wants it: stores blocks as literals,
// which the LZ4 block format allows and every reader accepts.
#pragma once
#include <cstring>

inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

inline int LZ4_compress_default(const char* from, char* to, int size, int) {
    char* p = to;
    *p++ = static_cast<char>(size < 15 ? size << 4 : 0xF0);
    if (size >= 15) {
        int rest = size - 15;
        for (; rest >= 255; rest -= 255) *p++ = static_cast<char>(255);
        *p++ = static_cast<char>(rest);
    }
    std::memcpy(p, from, size);
    return static_cast<int>(p - to) + size;
}
