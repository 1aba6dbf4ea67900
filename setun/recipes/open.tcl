
create_project setun project -part $part -force
set known [lsort -dictionary [get_board_parts -quiet "$board_part:*"]]
if {[llength $known] == 0} {
    set fix "install its files with Tools, Vivado Store, Boards"
    if {$store ne ""} { append fix " (xhub::install \[xhub::get_xitems *${store}*\])" }
    error "board $board_part: not known to this Vivado; $fix"
}
set_property board_part [lindex $known end] [current_project]
set_property ip_repo_paths [file normalize .] [current_project]
update_ip_catalog
create_bd_design system
create_bd_cell -type ip -vlnv setun:ip:setun_axi:1.0 setun
create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect bus
set_property -dict {CONFIG.NUM_SI 1 CONFIG.NUM_MI 1} [get_bd_cells bus]
create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset
set_property CONFIG.C_EXT_RESET_HIGH 0 [get_bd_cells reset]
connect_bd_intf_net [get_bd_intf_pins setun/m_axi] [get_bd_intf_pins bus/S00_AXI]

# Connects the chip, its bus and its reset to a clock and to a pin that says the clock is good.
proc clocked {clock good} {
    foreach pin {setun/aclk bus/aclk reset/slowest_sync_clk} {
        connect_bd_net [get_bd_pins $clock] [get_bd_pins $pin]
    }
    connect_bd_net [get_bd_pins $good] [get_bd_pins reset/ext_reset_in]
    connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins setun/aresetn]
    connect_bd_net [get_bd_pins reset/interconnect_aresetn] [get_bd_pins bus/aresetn]
}

# Leads the UART to the pins of pins.xdc.
proc uart_outside {} {
    create_bd_port -dir I rx
    create_bd_port -dir O tx
    connect_bd_net [get_bd_ports rx] [get_bd_pins setun/rx]
    connect_bd_net [get_bd_pins setun/tx] [get_bd_ports tx]
}

# Leads the chip's mailbox to a port of the processor, in a page of the processor's space.
proc mailbox {port port_clock clock space} {
    global registers_offset registers_bytes
    create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect control
    set_property -dict {CONFIG.NUM_SI 1 CONFIG.NUM_MI 1} [get_bd_cells control]
    connect_bd_net [get_bd_pins $clock] [get_bd_pins $port_clock]
    connect_bd_net [get_bd_pins $clock] [get_bd_pins control/aclk]
    connect_bd_net [get_bd_pins reset/interconnect_aresetn] [get_bd_pins control/aresetn]
    connect_bd_intf_net [get_bd_intf_pins $port] [get_bd_intf_pins control/S00_AXI]
    connect_bd_intf_net [get_bd_intf_pins control/M00_AXI] [get_bd_intf_pins setun/s_axi]
    assign_bd_address -offset $registers_offset -range $registers_bytes \
        -target_address_space [get_bd_addr_spaces $space] [get_bd_addr_segs setun/s_axi/reg0] -force
}

proc address {segment} {
    global segment_offset segment_bytes
    assign_bd_address -offset $segment_offset -range $segment_bytes \
        -target_address_space [get_bd_addr_spaces setun/m_axi] [get_bd_addr_segs $segment] -force
}
