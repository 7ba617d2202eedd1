// The table of this instruction set.
const cpu::Ops kOps = {
    .quant = {quant_ops<Act8>(), quant_ops<Act16>()},
    .float_panels = kFloatPanels,
    .float_columns = kFloatColumns,
    .float_tile = float_tile,
    .keys_transposed = keys_transposed,
    .values_padded = values_padded,
    .attention_tile = attention_tile,
    .store_f16 = store_f16,
    .rms_norm = rms_norm,
    .silu_mul = silu_mul,
    .add = add_rows,
    .arg_max = arg_max,
    .rope = rope_row,
};
