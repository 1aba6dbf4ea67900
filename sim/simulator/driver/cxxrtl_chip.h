// The chip as compiled by CXXRTL. Memories are filled through its debug items.
#pragma once

#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>

#include "chip.h"
#if SETUN_WAVES
#include <cxxrtl/cxxrtl_vcd.h>
#endif

class Chip {
public:
    Chip(int, char **, const std::string &waves) {
        top.debug_info(&items, nullptr, "");
        top.p_rx.set<bool>(true);
        top.p_clk.set<bool>(false);
#if SETUN_WAVES
        if (!waves.empty()) {
            file.open(waves, std::ios::binary);
            if (!file) throw std::runtime_error("cannot write " + waves);
            vcd.timescale(1, "ns");
            vcd.add_without_memories(items);
        }
#else
        if (!waves.empty()) throw std::runtime_error("compiled without waves");
#endif
    }

    // Hexadecimal words, one a line, from address 0.
    void load(const std::string &path, const std::string &name) {
        if (!items.count(path)) throw std::runtime_error("no memory " + path);
        const cxxrtl::debug_item &item = items.at(path).at(0);
        if (item.type != CXXRTL_MEMORY) throw std::runtime_error(path + " is no memory");
        std::ifstream words(name);
        if (!words) throw std::runtime_error("cannot read " + name);
        const size_t chunks = (item.width + 31) / 32;
        std::string word;
        for (size_t i = 0; i < item.depth && words >> word; i++)
            for (size_t c = 0; c < chunks; c++) {
                const size_t end = word.size() > 8 * c ? word.size() - 8 * c : 0;
                const size_t begin = end > 8 ? end - 8 : 0;
                item.curr[i * chunks + c] =
                    end ? uint32_t(std::stoul(word.substr(begin, end - begin), nullptr, 16)) : 0;
            }
    }
    void rx(bool level) { top.p_rx.set<bool>(level); }
    bool tx() const { return top.p_tx.get<bool>(); }
    void cycle() {
        top.p_clk.set<bool>(true);
        level();
        top.p_clk.set<bool>(false);
#if SETUN_WAVES || SETUN_FAST || !SETUN_FLAT
        level();
#else
        // Nothing in the chip acts on the falling edge: forget it instead of evaluating. Only a
        // flat chip keeps the clock's last level in one place.
        top.prev_p_clk = top.p_clk;
#endif
    }
    void finish() {
#if SETUN_WAVES
        if (file.is_open()) file.close();
#endif
    }

private:
    // Half a cycle; a fast clock rises at its beginning and falls.
    void level() {
#if SETUN_FAST
        top.p_fast__clk.set<bool>(true);
        top.step();
        dump();
        top.p_fast__clk.set<bool>(false);
#endif
        top.step();
        dump();
    }
    void dump() {
#if SETUN_WAVES
        if (!file.is_open()) return;
        vcd.sample(time++);
        file << vcd.buffer;
        vcd.buffer.clear();
#endif
    }

    cxxrtl_design::p_setun__bench top;
    cxxrtl::debug_items items;
#if SETUN_WAVES
    cxxrtl::vcd_writer vcd;
    std::ofstream file;
    uint64_t time = 0;
#endif
};
