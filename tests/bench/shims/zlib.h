// Stands in for zlib where Verilator's FST writer wants it. The writer keeps whichever is smaller,
// the compressed block or the plain one: answering with a longer one keeps the plain one.
#pragma once
#include <cstring>

typedef unsigned char Bytef;
typedef unsigned long uLong;
typedef unsigned long uLongf;
constexpr int Z_OK = 0;

inline uLong compressBound(uLong size) { return size + 16; }

inline int compress2(Bytef* to, uLongf* room, const Bytef* from, uLong size, int) {
    std::memcpy(to, from, size);
    std::memset(to + size, 0, *room - size);
    return Z_OK;
}
