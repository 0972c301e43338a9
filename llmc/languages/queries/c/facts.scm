(function_definition declarator: (function_declarator
  parameters: (parameter_list (variadic_parameter) @parameter @parameter.rest)))
(function_definition declarator: (pointer_declarator declarator: (function_declarator
  parameters: (parameter_list (variadic_parameter) @parameter @parameter.rest))))
(function_definition declarator: (function_declarator
  parameters: (parameter_list (identifier) @parameter @parameter.name)))
