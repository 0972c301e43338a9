(if_statement condition: (_) @test consequence: (_) @then) @if
(for_statement body: (_) @body) @when
(enhanced_for_statement body: (_) @body) @when
(while_statement body: (_) @body) @when
(switch_expression condition: (_) @head body: (_) @body) @switch
(switch_block_statement_group (switch_label) @head) @case
(switch_rule (switch_label) @head) @case
(try_statement body: (_) @body) @try
(try_with_resources_statement body: (_) @body) @try
(catch_clause body: (_) @body) @catch
(finally_clause) @finally

(local_variable_declaration declarator: (variable_declarator name: (identifier) @bind))
(enhanced_for_statement name: (identifier) @bind)
(catch_formal_parameter name: (identifier) @bind)
(resource name: (identifier) @bind)
(inferred_parameters (identifier) @bind)
