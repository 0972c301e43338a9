(lambda_expression) @function
(class_specifier body: (_)) @class
(trailing_return_type (_) @trailing)
(function_definition declarator: (reference_declarator) @pointer)
(operator_cast type: (_) @result)
(operator_cast declarator: (abstract_pointer_declarator) @pointer)
(operator_cast declarator: (abstract_pointer_declarator (abstract_pointer_declarator) @pointer))
(operator_cast declarator: (abstract_reference_declarator) @pointer)
(operator_cast declarator: (abstract_function_declarator (parameter_list) @parameters))
(operator_cast declarator: (_ (abstract_function_declarator (parameter_list) @parameters)))
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

(call_expression function: (template_function (template_argument_list) @call.types))
(call_expression function: (field_expression
  field: (template_method (template_argument_list) @call.types)))
(qualified_identifier name: (template_function (template_argument_list) @call.types))
(new_expression type: (template_type (template_argument_list) @call.types))
(qualified_identifier name: (template_type (template_argument_list) @call.types))
(field_initializer (template_method (template_argument_list) @call.types))
