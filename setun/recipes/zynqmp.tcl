
create_bd_cell -type ip -vlnv xilinx.com:ip:zynq_ultra_ps_e ps
apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e \
    -config {apply_board_preset "1"} [get_bd_cells ps]
set_property -dict [list \
    CONFIG.PSU__USE__M_AXI_GP0 $mailbox \
    CONFIG.PSU__MAXIGP0__DATA_WIDTH {32} \
    CONFIG.PSU__USE__M_AXI_GP1 {0} \
    CONFIG.PSU__USE__M_AXI_GP2 {0} \
    CONFIG.PSU__USE__S_AXI_GP2 {1} \
    CONFIG.PSU__SAXIGP2__DATA_WIDTH $data_bits \
    CONFIG.PSU__FPGA_PL0_ENABLE {1} \
    CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $clock_mhz \
] [get_bd_cells ps]
if {!$mailbox} {
    set_property -dict {
        CONFIG.PSU__UART0__PERIPHERAL__ENABLE {1} CONFIG.PSU__UART0__PERIPHERAL__IO {EMIO}
    } [get_bd_cells ps]
}
clocked ps/pl_clk0 ps/pl_resetn0
connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins ps/saxihp0_fpd_aclk]
connect_bd_intf_net [get_bd_intf_pins bus/M00_AXI] [get_bd_intf_pins ps/S_AXI_HP0_FPD]
if {$mailbox} {
    mailbox ps/M_AXI_HPM0_FPD ps/maxihpm0_fpd_aclk ps/pl_clk0 ps/Data
} else {
    connect_bd_net [get_bd_pins ps/emio_uart0_txd] [get_bd_pins setun/rx]
    connect_bd_net [get_bd_pins setun/tx] [get_bd_pins ps/emio_uart0_rxd]
}
address ps/SAXIGP2/HP0_DDR_LOW
