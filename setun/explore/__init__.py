"""The design space: chips estimated, the best few placed and routed, on many cores or machines."""
