from gradgen.lower.lowering import lower
