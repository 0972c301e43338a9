(for_range_loop body: (_) @body) @when
(try_statement body: (_) @body) @try
(catch_clause body: (_) @body) @catch
(for_range_loop declarator: (identifier) @bind)
