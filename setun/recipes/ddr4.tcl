
create_bd_cell -type ip -vlnv xilinx.com:ip:ddr4 ddr
set_property -dict [list \
    CONFIG.C0_DDR4_BOARD_INTERFACE {ddr4_sdram_c0} \
    CONFIG.C0_CLOCK_BOARD_INTERFACE {default_300mhz_clk0} \
    CONFIG.ADDN_UI_CLKOUT1_FREQ_HZ [expr {round($clock_mhz)}] \
] [get_bd_cells ddr]
apply_bd_automation -rule xilinx.com:bd_rule:board \
    -config {Board_Interface "ddr4_sdram_c0"} [get_bd_intf_pins ddr/C0_DDR4]
apply_bd_automation -rule xilinx.com:bd_rule:board \
    -config {Board_Interface "default_300mhz_clk0"} [get_bd_intf_pins ddr/C0_SYS_CLK]
create_bd_cell -type ip -vlnv xilinx.com:ip:xlconstant never
set_property CONFIG.CONST_VAL 0 [get_bd_cells never]
connect_bd_net [get_bd_pins never/dout] [get_bd_pins ddr/sys_rst]
create_bd_cell -type ip -vlnv xilinx.com:ip:util_vector_logic good
set_property -dict {CONFIG.C_OPERATION not CONFIG.C_SIZE 1} [get_bd_cells good]
connect_bd_net [get_bd_pins ddr/c0_ddr4_ui_clk_sync_rst] [get_bd_pins good/Op1]
# The memory's side of the bus and the controller run on its own clock.
set_property CONFIG.NUM_CLKS 2 [get_bd_cells bus]
connect_bd_net [get_bd_pins ddr/c0_ddr4_ui_clk] [get_bd_pins bus/aclk1]
clocked ddr/addn_ui_clkout1 good/Res
create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset ddr_reset
set_property CONFIG.C_EXT_RESET_HIGH 0 [get_bd_cells ddr_reset]
connect_bd_net [get_bd_pins ddr/c0_ddr4_ui_clk] [get_bd_pins ddr_reset/slowest_sync_clk]
connect_bd_net [get_bd_pins good/Res] [get_bd_pins ddr_reset/ext_reset_in]
connect_bd_net [get_bd_pins ddr_reset/peripheral_aresetn] [get_bd_pins ddr/c0_ddr4_aresetn]
connect_bd_intf_net [get_bd_intf_pins bus/M00_AXI] [get_bd_intf_pins ddr/C0_DDR4_S_AXI]
uart_outside
address ddr/C0_DDR4_MEMORY_MAP/C0_DDR4_ADDRESS_BLOCK
