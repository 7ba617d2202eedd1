// The table of this instruction set.
const cpu::Ops kOps = {
    .quant = {quant_ops<Act8>(), quant_ops<Act16>()},
    .float_panels = kFloatPanels,
    .float_columns = kFloatColumns,
    .float_tile = float_tile,
    .query_bytes = query_bytes,
    .prepare_query = prepare_query,
    .attention_work_floats = attention_work_floats,
    .attention_tile = attention_tile,
    .store_key = store_key,
    .store_value = store_value,
    .rms_norm = rms_norm,
    .silu_mul = silu_mul,
    .add = add_rows,
    .arg_max = arg_max,
    .rope = rope_row,
    .dot_chains = dot_chains,
};
