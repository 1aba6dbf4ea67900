# setun.bit into the first FPGA on the JTAG cable; gone with the power.
open_hw_manager
connect_hw_server
open_hw_target
set bits [get_hw_devices -filter {PART =~ xc*}]
if {[llength $bits] == 0} { error "FPGA: must be on the cable and have power" }
set device [lindex $bits 0]
set_property PROGRAM.FILE [file normalize setun.bit] $device
program_hw_devices $device
puts "setun.bit: is in $device"
