(if_statement condition: (_) @test.then) @if
(elif_clause . (_) @test.then) @elif
(else_clause) @else
(list . (_) @test.then "&&") @if
(list . (_) @test "||") @if
(for_statement body: (_) @body) @when
(c_style_for_statement body: (_) @body) @when
(while_statement body: (_) @body) @when
(case_statement value: (_) @head) @switch
(case_item value: (_) @head) @case

(declaration_command "local" (variable_assignment name: (variable_name) @bind))
(declaration_command "declare" (variable_assignment name: (variable_name) @bind))
(declaration_command "local" (variable_name) @bind)
