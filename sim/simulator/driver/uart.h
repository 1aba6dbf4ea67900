// UART 8N1 at the chip's pins, one step per clock cycle.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

template <uint32_t DIVISOR>
class Uart {
    static_assert(DIVISOR >= 2, "a bit lasts at least two cycles");

public:
    uint64_t cycles = 0;          // since power-on
    uint64_t quiet = 0;           // since a byte last moved, either way, to within one slice
    uint64_t framing_errors = 0;  // bytes from the chip without a stop bit; dropped
    std::string received;         // from the chip; the owner takes bytes off the front

    void send(const unsigned char *data, size_t n) {
        queue.append(reinterpret_cast<const char *>(data), n);
    }
    size_t pending() const { return queue.size() - head; }
    bool busy() const { return send_count || receive_count || pending(); }

    template <class C>
    void run(C &chip, uint64_t n) {
        if (!send_count) {
            next_byte(chip);
            if (send_count) send_count++;  // the first cycle of the bit counts too
        }
        bool active = send_count;
        for (uint64_t i = 0; i < n; i++) {
            if (send_count && --send_count == 0) next_bit(chip);
            chip.cycle();
            const bool level = chip.tx();
            if (receive_count) {
                if (--receive_count == 0) sample(level);
            } else if (level) {
                line_break = false;
            } else if (!line_break) {
                receive_count = DIVISOR + DIVISOR / 2;
                bits = 0;
                active = true;
            }
        }
        cycles += n;
        quiet = active || busy() ? 0 : quiet + n;
    }

private:
    template <class C>
    void next_byte(C &chip) {
        if (head == queue.size()) return;
        frame = 0x100u | static_cast<unsigned char>(queue[head++]);
        if (head == queue.size() || head >= 4096) {
            queue.erase(0, head);
            head = 0;
        }
        frame_bits = 9;
        chip.rx(false);
        send_count = DIVISOR;
    }

    template <class C>
    void next_bit(C &chip) {
        if (frame_bits == 0) {
            next_byte(chip);
            return;
        }
        chip.rx(frame & 1);
        frame >>= 1;
        frame_bits--;
        send_count = DIVISOR;
    }

    void sample(bool level) {
        if (bits < 8) {
            shift = (shift >> 1) | (level ? 0x80u : 0u);
            bits++;
            receive_count = DIVISOR;
        } else if (level) {
            received += static_cast<char>(shift);
        } else {
            framing_errors++;
            line_break = true;
        }
    }

    uint32_t send_count = 0, receive_count = 0, frame = 0, frame_bits = 0, bits = 0, shift = 0;
    bool line_break = false;
    std::string queue;
    size_t head = 0;
};
