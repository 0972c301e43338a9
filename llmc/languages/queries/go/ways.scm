(if_statement condition: (_) @test consequence: (_) @then) @if
(for_statement body: (_) @body) @when
(expression_switch_statement value: (_) @head) @switch
(expression_case value: (_) @head) @case
(type_switch_statement value: (_) @head) @switch
(type_case type: (_) @head) @case
(communication_case communication: (_) @head) @case
(default_case) @case

(short_var_declaration left: (expression_list (identifier) @bind))
(var_spec name: (identifier) @bind)
(const_spec name: (identifier) @bind)
(range_clause left: (expression_list (identifier) @bind))
(function_declaration result: (parameter_list (parameter_declaration name: (identifier) @bind)))
(method_declaration result: (parameter_list (parameter_declaration name: (identifier) @bind)))
