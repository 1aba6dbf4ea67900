// Runs the chip and carries bytes between its UART pins and a pseudo-terminal.
//
// usage: chip [--waves FILE] [--max-cycles N] [--idle-cycles N] [--memory PATH=FILE]...
// stdout: "port /dev/pts/N" once ready, "status CYCLES FRAMING_ERRORS" when stdin says "status",
// "end CYCLES FRAMING_ERRORS" last. Exits when stdin ends, on SIGTERM and after the last cycle.

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#ifdef SETUN_CXXRTL
#include "cxxrtl_chip.h"
#else
#include "verilator_chip.h"
#endif
#include "uart.h"

namespace {

constexpr uint64_t SLICE = 2048;           // cycles between looks at the outside world
constexpr size_t OUT_LIMIT = 16u << 20;    // bytes kept for a host that does not read
constexpr size_t IN_LIMIT = 4096;          // bytes taken ahead of the chip

volatile sig_atomic_t terminated = 0;
void on_terminate(int) { terminated = 1; }

double now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

struct Port {
    int master = -1, slave = -1;
    std::string name;

    Port() {
        master = posix_openpt(O_RDWR | O_NOCTTY);
        if (master < 0 || grantpt(master) || unlockpt(master)) fail("cannot open a pseudo-terminal");
        const char *path = ptsname(master);
        if (!path) fail("cannot name the pseudo-terminal");
        name = path;
        // Held open so that a host may close and reopen the port: without any holder the master
        // reads EIO and the raw mode set here is lost.
        slave = open(path, O_RDWR | O_NOCTTY);
        termios mode;
        if (slave < 0 || tcgetattr(slave, &mode)) fail("cannot open the pseudo-terminal");
        cfmakeraw(&mode);
        if (tcsetattr(slave, TCSANOW, &mode)) fail("cannot set the pseudo-terminal raw");
        fcntl(master, F_SETFL, O_NONBLOCK);
    }
    [[noreturn]] static void fail(const char *what) {
        throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
    }
    size_t unread() const {
        int n = 0;
        return ioctl(slave, FIONREAD, &n) == 0 && n > 0 ? size_t(n) : 0;
    }
};

struct Options {
    std::string waves;
    uint64_t max_cycles = ~uint64_t(0), idle_cycles = 2000000;
    std::vector<std::string> memories;
};

class Simulation {
public:
    Simulation(const Options &options, int argc, char **argv)
        : options(options), chip(argc, argv, options.waves) {
        for (const std::string &memory : options.memories) {
            const size_t at = memory.find('=');
            if (at == std::string::npos) throw std::runtime_error("--memory takes PATH=FILE");
            chip.load(memory.substr(0, at), memory.substr(at + 1));
        }
    }

    void run() {
        // The chip is out of reset, and its receiver has seen an idle line, before a byte can come.
        uart.run(chip, options.max_cycles < SLICE ? options.max_cycles : SLICE);
        std::printf("port %s\n", port.name.c_str());
        std::fflush(stdout);
        double slice_seconds = 0;
        while (!terminated && exchange(patience(slice_seconds))) {
            if (uart.received.size() - sent >= OUT_LIMIT) continue;
            if (uart.cycles >= options.max_cycles) {
                drain();
                break;
            }
            const uint64_t left = options.max_cycles - uart.cycles;
            const double start = now();
            uart.run(chip, left < SLICE ? left : SLICE);
            slice_seconds = now() - start;
        }
        chip.finish();
        report("end");
    }

private:
    // Milliseconds to wait for the host before the next slice. A chip that is silent may still
    // be computing, so it first keeps a quarter of the speed and only much later nearly stops.
    int patience(double slice_seconds) const {
        if (uart.received.size() - sent >= OUT_LIMIT) return 100;
        if (uart.busy() || uart.quiet < options.idle_cycles) return 0;
        const double factor = uart.quiet < 10 * options.idle_cycles ? 3e3 : 5e4;
        const double wait = slice_seconds * factor;
        return wait < 1 ? 1 : wait > 100 ? 100 : int(wait);
    }

    // One look at both pipes; false once the parent is gone.
    bool exchange(int timeout) {
        const bool full = uart.pending() >= IN_LIMIT;
        const bool backlog = sent < uart.received.size();
        pollfd fds[2] = {{0, POLLIN, 0}, {port.master, 0, 0}};
        if (!full) fds[1].events |= POLLIN;
        if (backlog) fds[1].events |= POLLOUT;
        const int ready = poll(fds, 2, timeout);
        if (ready < 0) return errno == EINTR;
        if (ready == 0) return true;
        if (fds[0].revents && !control()) return false;
        if (fds[1].revents & POLLIN) {
            unsigned char buffer[IN_LIMIT];
            const ssize_t n = read(port.master, buffer, sizeof buffer);
            if (n > 0) uart.send(buffer, size_t(n));
        }
        if (fds[1].revents & POLLOUT) deliver();
        return true;
    }

    void deliver() {
        while (sent < uart.received.size()) {
            const ssize_t n = write(port.master, uart.received.data() + sent,
                                    uart.received.size() - sent);
            if (n <= 0) break;
            sent += size_t(n);
        }
        if (sent == uart.received.size() || sent > (1u << 20)) {
            uart.received.erase(0, sent);
            sent = 0;
        }
    }

    bool control() {
        char buffer[256];
        const ssize_t n = read(0, buffer, sizeof buffer);
        if (n <= 0) return n < 0 && errno == EINTR;
        for (ssize_t i = 0; i < n; i++) {
            if (buffer[i] != '\n') {
                if (command.size() < 64) command += buffer[i];
                continue;
            }
            if (command == "status") report("status");
            command.clear();
        }
        return true;
    }

    // Closing the master discards what the host has not read yet.
    void drain() {
        const double deadline = now() + 2;
        while (!terminated && now() < deadline && (sent < uart.received.size() || port.unread()))
            if (!exchange(10)) break;
    }

    void report(const char *word) {
        std::printf("%s %llu %llu\n", word, (unsigned long long)uart.cycles,
                    (unsigned long long)uart.framing_errors);
        std::fflush(stdout);
    }

    const Options options;
    Chip chip;
    Uart<SETUN_DIVISOR> uart;
    Port port;
    size_t sent = 0;
    std::string command;
};

Options parse(int argc, char **argv) {
    Options options;
    for (int i = 1; i < argc; i += 2) {
        const std::string name = argv[i];
        if (i + 1 >= argc) throw std::runtime_error(name + " takes a value");
        const char *value = argv[i + 1];
        if (name == "--waves") options.waves = value;
        else if (name == "--max-cycles") options.max_cycles = std::strtoull(value, nullptr, 10);
        else if (name == "--idle-cycles") options.idle_cycles = std::strtoull(value, nullptr, 10);
        else if (name == "--memory") options.memories.push_back(value);
        else throw std::runtime_error("unknown option " + name);
    }
    return options;
}

}  // namespace

int main(int argc, char **argv) {
    struct sigaction action = {};
    action.sa_handler = on_terminate;
    sigaction(SIGTERM, &action, nullptr);
    // Ctrl-C reaches the whole foreground group; the parent decides when this chip ends.
    signal(SIGINT, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    try {
        Simulation(parse(argc, argv), argc, argv).run();
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
