regenerate_bd_layout
validate_bd_design
save_bd_design
make_wrapper -files [get_files system.bd] -top -import
add_files -fileset constrs_1 -norecurse pins.xdc
set_property top system_wrapper [current_fileset]
update_compile_order -fileset sources_1
