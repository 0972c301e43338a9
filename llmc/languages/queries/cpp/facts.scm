(lambda_expression) @function
(class_specifier body: (_)) @class
(trailing_return_type (_) @trailing)
(function_definition declarator: (reference_declarator) @pointer)
(base_class_clause [(type_identifier) (qualified_identifier) (template_type)] @base)

(function_definition declarator: (reference_declarator (function_declarator
  parameters: (parameter_list) @parameters)))
(function_definition declarator: (reference_declarator (function_declarator
  parameters: (parameter_list (parameter_declaration) @parameter))))
(function_definition declarator: (reference_declarator (function_declarator
  parameters: (parameter_list (optional_parameter_declaration) @parameter))))
(function_definition declarator: (function_declarator
  parameters: (parameter_list (optional_parameter_declaration) @parameter)))
(function_definition declarator: (function_declarator
  parameters: (parameter_list (variadic_parameter_declaration) @parameter @parameter.rest)))
(function_definition declarator: (pointer_declarator declarator: (function_declarator
  parameters: (parameter_list (optional_parameter_declaration) @parameter))))
(parameter_declaration declarator: (reference_declarator (identifier) @parameter.name))
(optional_parameter_declaration declarator: (identifier) @parameter.name)
(optional_parameter_declaration declarator: (_ (identifier) @parameter.name))
(optional_parameter_declaration default_value: (_) @parameter.default)
(variadic_parameter_declaration declarator: (_ (identifier) @parameter.name))

(throw_statement) @raise
(throw_statement (call_expression function: [(identifier) (qualified_identifier)] @raise.error))
(throw_statement (call_expression
  arguments: (argument_list . (string_literal) @raise.message)))
