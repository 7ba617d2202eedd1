# Decoders are exact bit by bit: a product and a sum round separately on every processor.
target_compile_options(tensor PRIVATE -ffp-contract=off)
