(if_statement condition: (_) @test consequence: (_) @then) @if
(for_statement body: (_) @body) @when
(while_statement body: (_) @body) @when
(switch_statement condition: (_) @head body: (_) @body) @switch
(case_statement value: (_) @head) @case
(preproc_if condition: (_) @head) @compiled
(preproc_ifdef name: (_) @head) @compiled

(init_declarator declarator: (identifier) @bind)
(init_declarator declarator: (_ (identifier) @bind))
(declaration declarator: (identifier) @bind)
(declaration declarator: (_ declarator: (identifier) @bind))
