// What Verilator's FST writer needs of zlib, for machines without its headers: a valid stream of
// stored blocks (RFC 1950, RFC 1951 section 3.2.4). The writer keeps the raw bytes if smaller.
#pragma once

#include <cstdint>
#include <cstring>

typedef unsigned char Bytef;
typedef unsigned long uLong;
typedef unsigned long uLongf;
#define Z_OK 0
#define Z_BUF_ERROR (-5)

inline uLong compressBound(uLong n) { return n + 5 * (n / 65535 + 1) + 6; }

inline int compress2(Bytef *out, uLongf *out_size, const Bytef *in, uLong n, int) {
    if (*out_size < compressBound(n)) return Z_BUF_ERROR;
    Bytef *p = out;
    uint32_t a = 1, b = 0;
    for (uLong i = 0; i < n; i++) {
        a = (a + in[i]) % 65521;
        b = (b + a) % 65521;
    }
    *p++ = 0x78;
    *p++ = 0x01;
    uLong left = n;
    do {
        const uLong size = left < 65535 ? left : 65535;
        left -= size;
        *p++ = left == 0;
        *p++ = Bytef(size);
        *p++ = Bytef(size >> 8);
        *p++ = Bytef(~size);
        *p++ = Bytef(~size >> 8);
        std::memcpy(p, in, size);
        p += size;
        in += size;
    } while (left);
    const uint32_t sum = (b << 16) | a;
    for (int shift = 24; shift >= 0; shift -= 8) *p++ = Bytef(sum >> shift);
    *out_size = uLongf(p - out);
    return Z_OK;
}
