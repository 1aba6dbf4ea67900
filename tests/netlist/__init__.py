"""Chips as Yosys leaves them: netlists of a vendor's cells, and models of those cells."""
