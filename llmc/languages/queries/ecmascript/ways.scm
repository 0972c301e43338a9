(if_statement condition: (_) @test consequence: (_) @then) @if
(ternary_expression condition: (_) @test consequence: (_) @then) @if
(for_statement body: (_) @body) @when
(for_in_statement body: (_) @body) @when
(while_statement body: (_) @body) @when
(switch_statement value: (_) @head body: (_) @body) @switch
(switch_case value: (_) @head) @case
(switch_default) @case
(try_statement body: (_) @body) @try
(catch_clause body: (_) @body) @catch
(finally_clause) @finally

(variable_declarator name: (identifier) @bind)
(variable_declarator name: (_ (shorthand_property_identifier_pattern) @bind))
(variable_declarator name: (_ (pair_pattern value: (identifier) @bind)))
(variable_declarator name: (array_pattern (identifier) @bind))
(function_declaration name: (identifier) @bind)
(class_declaration name: (_) @bind)
(catch_clause parameter: (identifier) @bind)
(for_in_statement left: (identifier) @bind)
