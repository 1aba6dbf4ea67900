"""Infrastructure of the unit benches: build, drive, compare, keep waves.

`runner.run_bench` converts a component to Verilog, compiles it, and runs a cocotb module against
it under pytest. Inside the simulator `context` hands over parameters, arrays and the seed;
`streams` drives `amaranth.lib.stream` ports with stalls; `mismatch` words what differs.
`pipeline.check` does all of it for units without handshake, `pipeline.Bundle` for several at once.
"""
