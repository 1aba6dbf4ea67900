"""A core for small FPGAs: one float datapath, one array row group, a microprogram over both."""
