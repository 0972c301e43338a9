(if_statement condition: (_) @test consequence: (_) @then) @if
(elif_clause condition: (_) @test consequence: (_) @then) @elif
(for_statement body: (_) @body) @when
(while_statement body: (_) @body) @when
(case_clause consequence: (_) @body) @when
(with_statement body: (_) @body) @with
(try_statement body: (_) @body) @try
(except_clause (block) @body) @catch
(finally_clause) @finally

(assignment left: (identifier) @bind)
(assignment left: (pattern_list (identifier) @bind))
(augmented_assignment left: (identifier) @bind)
(named_expression name: (identifier) @bind)
(for_statement left: (identifier) @bind)
(for_statement left: (pattern_list (identifier) @bind))
(as_pattern_target (identifier) @bind)
(import_from_statement name: (dotted_name . (identifier) @bind .))
(function_definition name: (identifier) @bind)
(class_definition name: (identifier) @bind)
(aliased_import alias: (identifier) @bind)
