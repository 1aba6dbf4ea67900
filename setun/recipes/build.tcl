# From the project that design.tcl leaves to setun.bit, or an error that says what is wrong.
open_project project/setun.xpr
launch_runs impl_1 -to_step write_bitstream -jobs 4
wait_on_run impl_1
if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} {
    error "impl_1: must run to its end; its log is project/setun.runs/impl_1/runme.log"
}
open_run impl_1
report_utilization -file utilization.txt
report_timing_summary -file timing.txt
foreach way {max min} {
    set slack [get_property SLACK [get_timing_paths -delay_type $way]]
    if {$slack < 0} {
        error "timing ($way): must be met; slack is $slack ns; a slower clock or fewer lanes"
    }
}
file copy -force project/setun.runs/impl_1/system_wrapper.bit setun.bit
write_hw_platform -fixed -force -include_bit -file setun.xsa
puts "setun.bit: timing met"
