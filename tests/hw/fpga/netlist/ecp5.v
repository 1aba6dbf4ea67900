// Block RAM and multiplier of an ECP5 (Lattice FPGA-TN-02204, FPGA-TN-02205), as far as Yosys uses
// them. A parameter that is not here stops the simulator.

// Two ports over 2048 bytes of nine bits. Words of 1, 2 and 4 bits lie in the low eight bits of a
// byte; the word of address 0 is in the lowest bits. Words of 36 bits are 18 of port A and, above
// them, 18 of port B. Both ports have one clock. What a port reads while the other writes it is
// undefined: here it is the complement of what was there.
module DP16KD(
  input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
  input DIA3, DIA2, DIA1, DIA0,
  input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
  input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
  output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5,
  output DOA4, DOA3, DOA2, DOA1, DOA0,
  input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
  input DIB3, DIB2, DIB1, DIB0,
  input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
  input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
  output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
  output DOB4, DOB3, DOB2, DOB1, DOB0
);
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
  parameter [127:0] WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
  parameter [127:0] REGMODE_A = "NOREG", REGMODE_B = "NOREG";
  parameter [127:0] RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC";
  parameter [127:0] CSDECODE_A = "0b000", CSDECODE_B = "0b000";
  parameter [127:0] CLKAMUX = "CLKA", CLKBMUX = "CLKB", GSR = "ENABLED";
  parameter [319:0] INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0;
  parameter [319:0] INITVAL_04 = 0, INITVAL_05 = 0, INITVAL_06 = 0, INITVAL_07 = 0;
  parameter [319:0] INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0;
  parameter [319:0] INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0, INITVAL_0F = 0;
  parameter [319:0] INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0, INITVAL_13 = 0;
  parameter [319:0] INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0;
  parameter [319:0] INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0;
  parameter [319:0] INITVAL_1C = 0, INITVAL_1D = 0, INITVAL_1E = 0, INITVAL_1F = 0;
  parameter [319:0] INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0;
  parameter [319:0] INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0;
  parameter [319:0] INITVAL_28 = 0, INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0;
  parameter [319:0] INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0;
  parameter [319:0] INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0;
  parameter [319:0] INITVAL_34 = 0, INITVAL_35 = 0, INITVAL_36 = 0, INITVAL_37 = 0;
  parameter [319:0] INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0;
  parameter [319:0] INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0;
  localparam [20479:0] INIT = {
    INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39,
    INITVAL_38, INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32,
    INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B,
    INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24,
    INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F, INITVAL_1E, INITVAL_1D,
    INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16,
    INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10, INITVAL_0F,
    INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
    INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01,
    INITVAL_00
  };

  wire [35:0] di = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6,
                    DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
                    DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6,
                    DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [13:0] ada = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2,
                     ADA1, ADA0};
  wire [13:0] adb = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2,
                     ADB1, ADB0};
  reg [35:0] qa = 0, qb = 0, ra = 0, rb = 0;
  wire [35:0] oa = REGMODE_A == "OUTREG" ? ra : qa, ob = REGMODE_B == "OUTREG" ? rb : qb;
  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5,
          DOA4, DOA3, DOA2, DOA1, DOA0} = DATA_WIDTH_B == 36 ? ob[17:0] : oa[17:0];
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
          DOB4, DOB3, DOB2, DOB1, DOB0} = DATA_WIDTH_B == 36 ? ob[35:18] : ob[17:0];

  reg [8:0] bytes [0:2047];
  integer i;
  initial for (i = 0; i < 2048; i = i + 1) bytes[i] = INIT[20 * (i / 2) + 9 * (i % 2) +: 9];

  // First of the bytes that a word of this width touches.
  function [10:0] first(input integer width, input [13:0] address);
    first = width == 36 ? {address[13:5], 2'b0} : width == 18 ? {address[13:4], 1'b0}
          : address[13:3];
  endfunction
  // Place of a word of at most nine bits in its byte.
  function [2:0] place(input integer width, input [13:0] address);
    place = width == 4 ? {address[2], 2'b0} : width == 2 ? {address[2:1], 1'b0}
          : width == 1 ? address[2:0] : 0;
  endfunction
  // Bits that are written, of the bytes from `first` on.
  function [35:0] mask(input integer width, input [13:0] address);
    mask = width >= 18
      ? {{9{width == 36 && address[3]}}, {9{width == 36 && address[2]}}, {9{address[1]}},
         {9{address[0]}}}
      : ((36'd1 << width) - 1) << place(width, address);
  endfunction
  function [35:0] data(input integer width, input [13:0] address, input [35:0] given);
    data = width >= 18 ? given : (given & ((36'd1 << width) - 1)) << place(width, address);
  endfunction

  wire on_a = CEA && {CSA2, CSA1, CSA0} == 0, on_b = CEB && {CSB2, CSB1, CSB0} == 0;
  wire write_a = on_a && WEA, write_b = on_b && WEB;
  wire [10:0] at_a = first(DATA_WIDTH_A, ada), at_b = first(DATA_WIDTH_B, adb);
  wire [35:0] mask_a = write_a ? mask(DATA_WIDTH_A, ada) : 0;
  wire [35:0] mask_b = write_b ? mask(DATA_WIDTH_B, adb) : 0;
  wire [35:0] data_a = data(DATA_WIDTH_A, ada, di);
  wire [35:0] data_b = data(DATA_WIDTH_B, adb, {18'd0, di[35:18]});

  // Four bytes from `at` on; wrong where the other port writes.
  function [35:0] found(input [10:0] at, input [10:0] other, input [35:0] written);
    integer k;
    reg [10:0] apart;
    for (k = 0; k < 4; k = k + 1) begin
      apart = at + k[10:0] - other;
      found[9 * k +: 9] = bytes[at + k[10:0]] ^ (apart < 4 ? written[9 * apart[1:0] +: 9] : 0);
    end
  endfunction
  function [35:0] shown(input integer width, input [13:0] address, input [35:0] four);
    shown = (four >> place(width, address)) & ((36'd1 << width) - 1);
  endfunction

  wire [35:0] old_a = found(at_a, at_b, mask_b), old_b = found(at_b, at_a, mask_a);
  wire [35:0] now_a = WRITEMODE_A == "WRITETHROUGH"
    ? (old_a & ~mask_a) | (data_a & mask_a) : old_a;
  wire [35:0] now_b = WRITEMODE_B == "WRITETHROUGH"
    ? (old_b & ~mask_b) | (data_b & mask_b) : old_b;
  wire read_a = on_a && !(write_a && WRITEMODE_A == "NORMAL");
  wire read_b = on_b && !(write_b && WRITEMODE_B == "NORMAL");

  integer a, b;
  always @(posedge CLKA) begin
    for (a = 0; a < 4; a = a + 1)
      if (mask_a[9 * a +: 9] != 0)
        bytes[at_a + a[10:0]] <= (bytes[at_a + a[10:0]] & ~mask_a[9 * a +: 9])
                               | (data_a[9 * a +: 9] & mask_a[9 * a +: 9]);
    if (RSTA) ra <= 0;
    else if (OCEA) ra <= qa;
    if (RSTA) qa <= 0;
    else if (read_a) qa <= shown(DATA_WIDTH_A, ada, now_a);
  end
  always @(posedge CLKB) begin
    for (b = 0; b < 4; b = b + 1)
      if (mask_b[9 * b +: 9] != 0)
        bytes[at_b + b[10:0]] <= (bytes[at_b + b[10:0]] & ~mask_b[9 * b +: 9])
                               | (data_b[9 * b +: 9] & mask_b[9 * b +: 9]);
    if (RSTB) rb <= 0;
    else if (OCEB) rb <= qb;
    if (RSTB) qb <= 0;
    else if (read_b) qb <= shown(DATA_WIDTH_B, adb, now_b);
  end
endmodule

// Combinational product; port C and the chains between multipliers are not used.
module MULT18X18D(
  input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
  input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
  input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
  output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
  output P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
  wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  wire signed [35:0] x = {{18{SIGNEDA & A17}}, a}, y = {{18{SIGNEDB & B17}}, b};
  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
          P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = x * y;
endmodule
