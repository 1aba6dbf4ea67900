
create_bd_cell -type ip -vlnv xilinx.com:ip:processing_system7 ps
apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 \
    -config {make_external "FIXED_IO, DDR" apply_board_preset "1" Master "Disable" Slave "Disable"} \
    [get_bd_cells ps]
set_property -dict [list \
    CONFIG.PCW_USE_M_AXI_GP0 $mailbox \
    CONFIG.PCW_USE_S_AXI_HP0 {1} \
    CONFIG.PCW_S_AXI_HP0_DATA_WIDTH $data_bits \
    CONFIG.PCW_EN_CLK0_PORT {1} \
    CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ $clock_mhz \
    CONFIG.PCW_EN_RST0_PORT {1} \
] [get_bd_cells ps]
if {!$mailbox} {
    set_property -dict {CONFIG.PCW_UART0_PERIPHERAL_ENABLE {1} CONFIG.PCW_UART0_UART0_IO {EMIO}} \
        [get_bd_cells ps]
}
clocked ps/FCLK_CLK0 ps/FCLK_RESET0_N
connect_bd_net [get_bd_pins ps/FCLK_CLK0] [get_bd_pins ps/S_AXI_HP0_ACLK]
connect_bd_intf_net [get_bd_intf_pins bus/M00_AXI] [get_bd_intf_pins ps/S_AXI_HP0]
if {$mailbox} {
    mailbox ps/M_AXI_GP0 ps/M_AXI_GP0_ACLK ps/FCLK_CLK0 ps/Data
} else {
    connect_bd_net [get_bd_pins ps/UART0_TX] [get_bd_pins setun/rx]
    connect_bd_net [get_bd_pins setun/tx] [get_bd_pins ps/UART0_RX]
}
address ps/S_AXI_HP0/HP0_DDR_LOWOCM
