"""fp16, bf16 and int8 graphs: written, rounded and verified."""
