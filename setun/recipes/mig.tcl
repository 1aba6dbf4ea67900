
create_bd_cell -type ip -vlnv xilinx.com:ip:mig_7series ddr
apply_bd_automation -rule xilinx.com:bd_rule:mig_7series \
    -config {Board_Interface "ddr3_sdram"} [get_bd_cells ddr]
# The automation leaves ports for clocks and reset that the board feeds through clk_wiz here.
foreach port [get_bd_ports -quiet {sys_clk_i clk_ref_i sys_rst}] { delete_bd_objs $port }
create_bd_cell -type ip -vlnv xilinx.com:ip:clk_wiz clocks
set_property -dict {
    CONFIG.CLK_IN1_BOARD_INTERFACE sys_clock
    CONFIG.RESET_BOARD_INTERFACE reset
    CONFIG.RESET_TYPE ACTIVE_LOW
    CONFIG.RESET_PORT resetn
    CONFIG.CLKOUT1_REQUESTED_OUT_FREQ 166.667
    CONFIG.CLKOUT2_USED true
    CONFIG.CLKOUT2_REQUESTED_OUT_FREQ 200.000
} [get_bd_cells clocks]
apply_bd_automation -rule xilinx.com:bd_rule:board \
    -config {Board_Interface "sys_clock"} [get_bd_pins clocks/clk_in1]
apply_bd_automation -rule xilinx.com:bd_rule:board \
    -config {Board_Interface "reset"} [get_bd_pins clocks/resetn]
connect_bd_net [get_bd_pins clocks/clk_out1] [get_bd_pins ddr/sys_clk_i]
connect_bd_net [get_bd_pins clocks/clk_out2] [get_bd_pins ddr/clk_ref_i]
connect_bd_net [get_bd_pins clocks/locked] [get_bd_pins ddr/sys_rst]
clocked ddr/ui_clk clocks/locked
connect_bd_net [get_bd_pins ddr/mmcm_locked] [get_bd_pins reset/dcm_locked]
connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins ddr/aresetn]
connect_bd_intf_net [get_bd_intf_pins bus/M00_AXI] [get_bd_intf_pins ddr/S_AXI]
uart_outside
address ddr/memmap/memaddr
