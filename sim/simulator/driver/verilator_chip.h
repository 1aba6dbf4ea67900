// The chip as compiled by Verilator. Memories load themselves by $readmemh from the folder run in.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

#include "Vchip.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_fst_c.h"
#endif

class Chip {
public:
    Chip(int argc, char **argv, const std::string &waves) {
        context.commandArgs(argc, argv);
#if VM_TRACE
        context.traceEverOn(true);
#endif
        top.reset(new Vchip{&context});
        top->clk = 0;
        top->rx = 1;
#if VM_TRACE
        if (!waves.empty()) {
            trace.reset(new VerilatedFstC);
            top->trace(trace.get(), 99);
            trace->open(waves.c_str());
            if (!trace->isOpen()) throw std::runtime_error("cannot write " + waves);
        }
#else
        if (!waves.empty()) throw std::runtime_error("compiled without waves");
#endif
        top->eval();
        dump();
    }
    ~Chip() { finish(); }

    void load(const std::string &, const std::string &) {
        throw std::runtime_error("memories come from the folder this runs in");
    }
    void rx(bool level) { top->rx = level; }
    bool tx() const { return top->tx; }
    void cycle() {
        top->clk = 1;
        level();
        top->clk = 0;
        level();
    }
    void finish() {
        if (!top) return;
        top->final();
#if VM_TRACE
        if (trace) trace->close();
        trace.reset();
#endif
        top.reset();
    }

private:
    // Half a cycle; a fast clock rises at its beginning and falls.
    void level() {
#if SETUN_FAST
        top->fast_clk = 1;
        top->eval();
        dump();
        top->fast_clk = 0;
#endif
        top->eval();
        dump();
    }
    void dump() {
#if VM_TRACE
        if (trace) trace->dump(time++);
#endif
    }

    VerilatedContext context;
    std::unique_ptr<Vchip> top;
#if VM_TRACE
    std::unique_ptr<VerilatedFstC> trace;
    uint64_t time = 0;
#endif
};
