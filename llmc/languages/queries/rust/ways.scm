(if_expression condition: (_) @test consequence: (_) @then) @if
(match_expression value: (_) @head body: (_) @body) @switch
(match_arm pattern: (_) @head) @case
(let_declaration alternative: (_) @body) @when
(for_expression body: (_) @body) @when
(while_expression body: (_) @body) @when

(let_declaration pattern: (identifier) @bind)
(let_declaration pattern: (_ (identifier) @bind))
(for_expression pattern: (identifier) @bind)
(for_expression pattern: (tuple_pattern (identifier) @bind))
(let_condition pattern: (_ (identifier) @bind))
(match_pattern (tuple_struct_pattern (identifier) @bind))
(mut_pattern (identifier) @bind)
(field_pattern (mutable_specifier) name: (shorthand_field_identifier) @bind)
